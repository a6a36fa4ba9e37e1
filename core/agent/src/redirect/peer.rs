//! Whether the other side is active, asked of its agent's own listener.
//!
//! A node knows its own role only. It does not send clients to the other one because it is not active itself: both may
//! think so of each other, and clients would go round. The other side says yes only while it would pass requests on.

use super::body::Body;
use super::standing::Standing;
use crate::config::Active;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// `OPTIONS *` with the pair's name in this field asks a listener, and is never passed on.
const ASK: HeaderName = HeaderName::from_static("lockstep-serves");
const YES: HeaderValue = HeaderValue::from_static("yes");
const NO: HeaderValue = HeaderValue::from_static("no");
/// A side that does not answer by then is not known to be active.
const PATIENCE: Duration = Duration::from_millis(300);
/// What was found out is believed for so long.
const BELIEVED: Duration = Duration::from_millis(500);

/// What is known of the other side.
#[derive(Debug)]
pub(super) struct Peer {
    pair: String,
    /// Until when it is believed, in nanoseconds, and, in the last bit, what.
    known: AtomicU64,
    /// One asks at a time.
    turnstile: Semaphore,
}

impl Peer {
    pub(super) fn new(pair: &str) -> Peer {
        Peer { pair: pair.to_owned(), known: AtomicU64::new(0), turnstile: Semaphore::new(1) }
    }

    /// Whether the other side serves, as far as is known.
    pub(super) async fn serves(&self, active: &Active) -> bool {
        if let Some(known) = self.known(clock::now()) {
            return known;
        }
        let _turn = self.turnstile.acquire().await;
        if let Some(known) = self.known(clock::now()) {
            return known;
        }
        let said = timeout(PATIENCE, ask(&active.ask, &self.pair)).await.map_err(io::Error::from).and_then(|said| said);
        let serves = said.unwrap_or_else(|error| {
            tracing::debug!(ask = active.ask, %error, "the other side does not say whether it is active");
            false
        });
        self.known.store((clock::now() + BELIEVED).0 & !1 | u64::from(serves), SeqCst);
        serves
    }

    fn known(&self, now: At) -> Option<bool> {
        let known = self.known.load(SeqCst);
        (now.0 < known).then_some(known & 1 == 1)
    }

    /// The answer to who asks whether this node serves; none when the request is no such question.
    pub(super) fn answer(&self, standing: &Standing, asked: (&Method, &Uri, &HeaderMap)) -> Option<Response<Body>> {
        let (method, uri, fields) = asked;
        let pair = fields.get(ASK).filter(|_| method == Method::OPTIONS && uri.path() == "*")?;
        let serves = pair.as_bytes() == self.pair.as_bytes() && standing.serves(clock::now());
        let mut answer = Response::new(Body::own(String::new()));
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer.headers_mut().insert(ASK, if serves { YES } else { NO });
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(answer)
    }
}

async fn ask(address: &str, pair: &str) -> io::Result<bool> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let handshake = Builder::new().handshake(TokioIo::new(stream));
    let (mut requests, connection) = handshake.await.map_err(io::Error::other)?;
    // It ends with `requests`.
    tokio::spawn(connection);
    let request = Request::options("*").header(HOST, address).header(ASK, pair).body(Empty::<Bytes>::new());
    let answer = requests.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    Ok(answer.status() == StatusCode::NO_CONTENT && answer.headers().get(ASK) == Some(&YES))
}
