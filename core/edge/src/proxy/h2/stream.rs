//! A request of HTTP/2 that we carry ourselves (`exchange`): one without a body, which most are.

use crate::proxy::answer::Said;
use crate::proxy::exchange::{self, Alarm, AnswerHead, Asked, Framing, Portion, Taker, gone};
use crate::proxy::outline::{Line, Outline, Span};
use crate::proxy::pace::Pace;
use crate::proxy::pair::Shared;
use crate::proxy::passage::Forward;
use crate::proxy::settings::ListenSettings;
use crate::proxy::stream::Between;
use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::Version;
use http::header::{EXPECT, HOST};
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::watch;
use tokio::time::timeout;

/// A longer head is not kept for the next one.
const HEAD_MAX: usize = 4 * 1024;

/// What is used again by one request of a connection after the other.
#[derive(Debug, Default)]
pub(super) struct Kit {
    asked: Asked,
    alarm: Alarm,
}

/// Whether a request is carried here.
pub(super) fn is_for(request: &HttpSession, pair: &Shared) -> bool {
    let header = request.req_header();
    request.is_body_empty()
        && exchange::is_for_pair(pair)
        && exchange::is_plain_target(header.raw_path())
        && !header.headers.contains_key(EXPECT)
}

/// Carries a request, from its head to its answer's last byte.
pub(super) async fn carry(
    request: HttpSession,
    mut kit: Kit,
    forward: &Forward,
    limits: &ListenSettings,
    closing: &watch::Receiver<bool>,
) -> Kit {
    translate(request.req_header(), &mut kit.asked);
    let taking = Pace::of(limits.answer_rate);
    let mut stream = Stream { request, body: None, head: None, alarm: kit.alarm, taking };
    let (_, mut asked) = exchange::carry(&mut stream, kit.asked, forward, limits, closing).await;
    if asked.head.capacity() > HEAD_MAX {
        asked.head = BytesMut::new();
    }
    Kit { asked, alarm: stream.alarm }
}

/// A head as HTTP/1 has it: whom the request is for is said in a field (RFC 9113 section 8.3.1).
fn translate(header: &RequestHeader, asked: &mut Asked) {
    let Asked { head, outline, .. } = asked;
    head.clear();
    outline.method = Span::behind(head, header.method.as_str().as_bytes());
    outline.target = Span::behind(head, header.raw_path());
    // What HTTP/1.1 has and HTTP/2 has not: chunks, and heads before the answer's.
    outline.version_1_1 = false;
    outline.lines.clear();
    let authority = header.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        outline.lines.push(Line::behind(head, b"Host", authority));
    }
    for (name, value) in &header.headers {
        if name != HOST || authority.is_none() {
            outline.lines.push(Line::behind(head, name.as_str().as_bytes(), value.as_bytes()));
        }
    }
}

/// The stream of a request, which is given its answer.
struct Stream {
    request: HttpSession,
    /// Where the body goes, once the head has gone.
    body: Option<SendStream<Bytes>>,
    /// Goes with the first of the body.
    head: Option<Box<ResponseHeader>>,
    alarm: Alarm,
    /// How fast the answer must be taken.
    taking: Pace,
}

impl Stream {
    /// Ready with so many bytes that can be sent of those that are left.
    fn poll_room(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<usize>> {
        let Some(body) = &mut self.body else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        body.reserve_capacity(left);
        while body.capacity() == 0 {
            match body.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Pending => {
                    let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "the client takes its answer too slowly");
                    return self.taking.poll_late(cx).map(|()| Err(too_slow()));
                }
            }
        }
        Poll::Ready(Ok(body.capacity().min(left)))
    }

    fn send(&mut self, data: &[u8], end: bool) -> io::Result<()> {
        let Some(body) = &mut self.body else { return Err(io::ErrorKind::NotConnected.into()) };
        body.send_data(Bytes::copy_from_slice(data), end).map_err(io::Error::other)?;
        self.taking.came(data.len(), usize::MAX);
        Ok(())
    }
}

impl Taker for Stream {
    fn version(&self, _: &Outline) -> Version {
        Version::HTTP_2
    }

    fn address(&self) -> Option<SocketAddr> {
        self.request.client_addr()?.as_inet().copied()
    }

    fn listener(&self) -> Option<SocketAddr> {
        self.request.server_addr()?.as_inet().copied()
    }

    fn is_encrypted(&self) -> bool {
        self.request.digest().is_some_and(|digest| digest.ssl_digest.is_some())
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let reset = match &mut self.body {
            Some(body) => body.poll_reset(cx).map_err(io::Error::other),
            None => Pin::new(&mut self.request.idle()).poll(cx).map_err(io::Error::other),
        };
        reset.map(|reset| gone(reset.map(|_| ())))
    }

    fn is_told(&mut self, head: &mut AnswerHead<'_>, out: Framing, _: bool, _: &mut Vec<u8>) -> Result<()> {
        self.head = Some(head.for_http2(out)?);
        Ok(())
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, portion: &mut Portion<'_>) -> Poll<io::Result<()>> {
        let mut is_over = false;
        if let Some(head) = self.head.take() {
            is_over = portion.end && portion.data().is_empty();
            self.request.write_response_header(head, is_over).map_err(io::Error::other)?;
            self.body = self.request.take_response_body_writer();
        } else if portion.end && portion.data().is_empty() {
            self.send(b"", true)?;
            is_over = true;
        }
        while !is_over && !portion.data().is_empty() {
            let data = portion.data();
            let room = ready!(self.poll_room(cx, data.len()))?;
            is_over = portion.end && room == data.len();
            self.send(&data[..room], is_over)?;
            portion.goes(room);
        }
        Poll::Ready(Ok(()))
    }

    fn takes_bytes(&self) -> bool {
        false
    }

    fn poll_move(&mut self, _: &mut Context<'_>, _: &mut Between) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    async fn is_refused(&mut self, said: Said, is_head: bool, limits: &ListenSettings) -> Option<u64> {
        self.head = Some(Box::new(said.head().ok()?));
        let body = said.body(is_head);
        let mut portion = Portion::of_body(&body);
        let given = poll_fn(|cx| self.poll_give(cx, &mut portion));
        matches!(timeout(limits.write_timeout, given).await, Ok(Ok(()))).then_some(body.len() as u64)
    }

    /// The stream is reset: that tells it from a whole answer in any case.
    fn break_off(&mut self, _: bool) {
        self.request.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::outline::values;

    #[test]
    fn whom_a_request_is_for_stands_in_one_field() {
        let mut header = RequestHeader::build("GET", b"/a?b", None).unwrap();
        header.append_header("Host", "another").unwrap();
        header.append_header("Accept", "*/*").unwrap();
        let mut asked = Asked::default();
        translate(&header, &mut asked);
        let hosts =
            |asked: &Asked| values(&asked.outline.lines, &asked.head, "host").map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(hosts(&asked), [b"another"], "without an authority it is what the field says");
        header.set_uri("https://pair/a?b".parse().unwrap());
        translate(&header, &mut asked);
        assert_eq!(hosts(&asked), [b"pair"]);
        assert_eq!(asked.outline.target.within(&asked.head), b"/a?b");
        assert_eq!(asked.outline.method.within(&asked.head), b"GET");
        assert_eq!(asked.outline.lines.len(), 2);
    }
}
