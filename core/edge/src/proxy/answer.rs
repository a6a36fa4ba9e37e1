//! What the edge itself says when no server can: a status, a sentence, and an end of the connection.

use super::notice::Notice;
use super::request::Fields;
use bytes::Bytes;
use http::Method;
use lockstep_policy::Side;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use std::borrow::Cow;
use std::io;
use std::time::Duration;

/// An answer of the edge's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: Cow<'static, str>,
    pub(super) retry_after: Option<Duration>,
    /// Where the client is sent.
    pub(super) location: Option<String>,
}

/// An answer, as it is given.
pub(super) struct Said {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Said {
    /// For pingora, and for HTTP/2.
    pub(super) fn head(&self) -> Result<ResponseHeader> {
        let mut header = ResponseHeader::build(self.status, Some(self.fields.len() + 2))?;
        for (name, value) in &self.fields {
            header.insert_header(*name, value.as_str())?;
        }
        Ok(header)
    }

    /// What follows the head; nothing where only that was asked for.
    pub(super) fn body(self, is_head: bool) -> Bytes {
        if is_head { Bytes::new() } else { self.body }
    }

    /// For HTTP/1, and how much of it is body. The connection ends with it.
    pub(super) fn into_wire(self, is_head: bool) -> (Vec<u8>, u64) {
        let status = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let mut wire = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in &self.fields {
            wire.extend([*name, ": ", value, "\r\n"]);
        }
        let date = get_cached_date();
        wire.extend(["Date: ", date.to_str().unwrap_or_default(), "\r\nConnection: close\r\n\r\n"]);
        let body = self.body(is_head);
        ([wire.as_bytes(), &body].concat(), body.len() as u64)
    }
}

/// An answer on its way through an error: what a client's connection found wrong with a body, pingora hands on as an error of
/// reading.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.text)]
pub(super) struct Refused(Answer);

impl Refused {
    pub(super) fn error(answer: Answer) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Refused(answer))
    }

    fn of(error: &Error) -> Option<&Answer> {
        let cause = error.root_cause().downcast_ref::<io::Error>()?;
        cause.get_ref()?.downcast_ref::<Refused>().map(|refused| &refused.0)
    }
}

impl Answer {
    pub(super) const fn new(status: u16, text: &'static str) -> Answer {
        Answer { status, text: Cow::Borrowed(text), retry_after: None, location: None }
    }

    /// 503, with the time after which it is worth another try.
    pub(super) const fn unavailable(text: &'static str, retry_after: Duration) -> Answer {
        Answer { status: 503, text: Cow::Borrowed(text), retry_after: Some(retry_after), location: None }
    }

    /// 429, with the time after which it is worth another try.
    pub(super) const fn too_often(retry_after: Duration) -> Answer {
        let text = "requests come from your address more often than they may";
        Answer { status: 429, text: Cow::Borrowed(text), retry_after: Some(retry_after), location: None }
    }

    /// Sends the client elsewhere for this once (RFC 9110 sections 15.4.3 and 15.4.8).
    pub(super) fn elsewhere(method: &Method, location: String) -> Answer {
        let status = if *method == Method::GET || *method == Method::HEAD { 302 } else { 307 };
        Answer {
            status,
            text: Cow::Borrowed("the active side answers there"),
            retry_after: None,
            location: Some(location),
        }
    }

    /// What to say after an error for which no answer was chosen yet; `None` when the client is gone.
    pub(super) fn to(error: &Error, method: &Method, side: Option<Side>) -> Option<Answer> {
        if let Some(refused) = Refused::of(error) {
            return Some(refused.clone());
        }
        let side = side.map_or_else(|| "the pair".to_owned(), |side| format!("side {side}"));
        let (status, text) = match (error.esource(), error.etype()) {
            (_, ErrorType::HTTPStatus(status)) => (*status, "the request is not acceptable".to_owned()),
            (ErrorSource::Downstream, ErrorType::ReadTimedout) => {
                (408, "the request's body did not come in time".to_owned())
            }
            (ErrorSource::Downstream, ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed) => {
                return None;
            }
            (ErrorSource::Downstream, _) => (400, "the request is malformed".to_owned()),
            (ErrorSource::Upstream, ErrorType::ReadTimedout) => {
                (504, format!("{side} did not answer in time{}", not_again(method)))
            }
            (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader) => {
                (502, format!("what {side} answered is no HTTP{}", not_again(method)))
            }
            (ErrorSource::Upstream, _) => {
                (502, format!("the connection to {side} ended before its answer came{}", not_again(method)))
            }
            (ErrorSource::Internal | ErrorSource::Unset, _) => {
                (500, "the edge could not handle the request".to_owned())
            }
        };
        Some(Answer { status, text: Cow::Owned(text), retry_after: None, location: None })
    }

    /// `Retry-After`.
    pub(super) fn seconds(&self) -> Option<u64> {
        self.retry_after.map(whole_seconds)
    }

    fn body(&self) -> String {
        format!("{}\n", self.text)
    }

    /// What a request is answered; with the notice's status and page, where there is one.
    pub(super) fn said(&self, request: &impl Fields, notice: Option<&Notice>) -> Said {
        let accept = std::str::from_utf8(request.value("accept")).ok().filter(|accept| !accept.is_empty());
        let page = notice.and_then(|notice| notice.page(accept));
        let plain = || ("text/plain; charset=utf-8".to_owned(), Bytes::from(self.body()));
        let (content_type, body) = page.map_or_else(plain, |page| (page.content_type.clone(), page.body.clone()));
        let mut fields = vec![("Content-Type", content_type), ("Content-Length", body.len().to_string())];
        if notice.is_some_and(|notice| notice.pages.len() > 1) {
            fields.push(("Vary", "Accept".to_owned()));
        }
        if let Some(location) = &self.location {
            fields.push(("Location", location.clone()));
        }
        fields.push(("Cache-Control", "no-store".to_owned()));
        if let Some(seconds) = notice.map(|notice| whole_seconds(notice.retry_after)).or(self.seconds()) {
            fields.push(("Retry-After", seconds.to_string()));
        }
        Said { status: notice.map_or(self.status, |notice| notice.status), fields, body }
    }

    /// Answers a request that pingora has read.
    pub(super) async fn give(&self, session: &mut Session, notice: Option<&Notice>) -> Result<()> {
        let said = self.said(session, notice);
        let header = said.head()?;
        // It also ends the connection after the answer, and says so.
        session.downstream_session.write_error_response(header, said.body).await
    }

    /// The answer to a request that never got as far as pingora.
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let status = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.body();
        let retry_after = self.seconds().map(|after| format!("Retry-After: {after}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\n{retry_after}Connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

fn not_again(method: &Method) -> String {
    if method.is_idempotent() {
        String::new()
    } else {
        format!("; it may have been carried out, and {method} is not sent twice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_that_failed_is_told_that_it_is_not_sent_twice() {
        let error = Error::new_up(ErrorType::ConnectionClosed);
        let post = Answer::to(&error, &Method::POST, Some(Side::A)).unwrap();
        assert_eq!(post.status, 502);
        assert_eq!(
            post.text,
            "the connection to side a ended before its answer came; it may have been carried out, and POST is not sent twice"
        );
        let get = Answer::to(&error, &Method::GET, Some(Side::A)).unwrap();
        assert_eq!(get.text, "the connection to side a ended before its answer came");
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        let wire = Answer::unavailable("not now", Duration::from_millis(1500)).to_wire();
        let wire = String::from_utf8(wire).unwrap();
        assert!(wire.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{wire}");
        assert!(wire.contains("\r\nRetry-After: 2\r\n"), "{wire}");
        assert!(wire.ends_with("\r\n\r\nnot now\n"), "{wire}");
    }
}
