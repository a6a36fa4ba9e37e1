//! A request's head, judged as raw bytes and before pingora sees it. Touches no socket.
//!
//! Pingora takes heads of up to 1 MB, forwards HTTP/1.1 without `Host` and TRACE, and strips `Content-Length` beside
//! `Transfer-Encoding` before anybody can refuse it. What is let through here, it reads in the same way.

use super::answer::Answer;
use httparse::{Header, Request, Status};

/// Header fields in one head.
pub(super) const FIELDS_MAX: usize = 100;

/// A whole head that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length, with the empty line at its end.
    pub(super) length: usize,
    pub(super) body: Body,
}

/// What follows a head on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes, and then the next request.
    Length(u64),
    /// Chunks, or another protocol: where it ends, pingora finds out.
    Unknown,
}

/// Judges what has come so far: `Ok(None)` while the head is not whole.
pub(super) fn judge(bytes: &[u8]) -> Result<Option<Head>, Answer> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Complete(length)) => Ok(Some(Head { length, body: check(&request)? })),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Answer::new(431, "the request has more than 100 header fields")),
        Err(_) => Err(Answer::new(400, "this is no HTTP/1.1 request")),
    }
}

/// The answer to a head that is longer than it may be.
pub(super) const TOO_LONG: Answer = Answer::new(431, "the request's head is too long");

/// The answer to a head that is not whole in time.
pub(super) const TOO_SLOW: Answer = Answer::new(408, "the request's head did not come in time");

fn check(request: &Request<'_, '_>) -> Result<Body, Answer> {
    let version_1_1 = request.version == Some(1);
    match request.method {
        Some("TRACE") => return Err(Answer::new(405, "TRACE is not served")),
        Some("CONNECT") => return Err(Answer::new(405, "CONNECT is not served")),
        _ => {}
    }
    let hosts = named(request.headers, "host").count();
    if hosts > 1 || (hosts == 0 && version_1_1) {
        return Err(Answer::new(400, "an HTTP/1.1 request has exactly one Host header field"));
    }
    let length = length(request.headers)?;
    let mut codings = named(request.headers, "transfer-encoding");
    match (codings.next(), length) {
        (Some(_), Some(_)) => Err(Answer::new(400, "a request has Content-Length or Transfer-Encoding, not both")),
        (Some(_), None) if !version_1_1 => Err(Answer::new(400, "an HTTP/1.0 request has no Transfer-Encoding")),
        (Some(coding), None) if !coding.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() => {
            Err(Answer::new(501, "the only Transfer-Encoding that is served is chunked"))
        }
        (Some(_), None) => Ok(Body::Unknown),
        (None, _) if named(request.headers, "upgrade").next().is_some() => Ok(Body::Unknown),
        (None, length) => Ok(Body::Length(length.unwrap_or(0))),
    }
}

fn length(fields: &[Header<'_>]) -> Result<Option<u64>, Answer> {
    const BAD: Answer = Answer::new(400, "Content-Length is one decimal number");
    let mut lengths = named(fields, "content-length");
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() || length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or(BAD)
}

fn named<'a>(fields: &'a [Header<'a>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(bytes: &str) -> u16 {
        judge(bytes.as_bytes()).unwrap_err().status
    }

    fn body(bytes: &str) -> Body {
        judge(bytes.as_bytes()).unwrap().unwrap().body
    }

    #[test]
    fn a_whole_head_passes_with_what_follows_it() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let two = format!("{head}GET /next");
        assert_eq!(judge(two.as_bytes()).unwrap(), Some(Head { length: head.len(), body: Body::Length(0) }));
        assert_eq!(body("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n"), Body::Length(7));
        assert_eq!(body("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"), Body::Unknown);
        assert_eq!(body("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"), Body::Unknown);
        assert_eq!(body("GET / HTTP/1.0\r\n\r\n"), Body::Length(0));
    }

    #[test]
    fn half_a_head_is_waited_for() {
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        assert_eq!(judge(b"").unwrap(), None);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert_eq!(status("\x16\x03\x01\x02\0\x01\0"), 400);
        assert_eq!(status("hello\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/3.0\r\n\r\n"), 400);
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400);
    }

    #[test]
    fn one_host_and_no_trace() {
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(status("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 405);
    }

    #[test]
    fn a_body_has_one_clear_end() {
        let with = |fields: &str| status(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        assert_eq!(with("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400);
        assert_eq!(with("Content-Length: 1\r\nContent-Length: 1"), 400);
        assert_eq!(with("Content-Length: +1"), 400);
        assert_eq!(with("Content-Length: 99999999999999999999999"), 400);
        assert_eq!(with("Transfer-Encoding: gzip, chunked"), 501);
        assert_eq!(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 501);
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn fields_are_counted() {
        let many = "a: b\r\n".repeat(FIELDS_MAX);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
    }
}
