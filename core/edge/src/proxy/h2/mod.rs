//! HTTP/2 with clients: many requests on one connection, each of which goes the way of any other: carried by ourselves (`stream`), or
//! by pingora where it has a body, or what else is rare.
//!
//! The h2 crate keeps the protocol, and bounds what a peer may send before anybody looks at it: header lists, CONTINUATION
//! frames, streams that are reset before they were taken, empty frames. What it does not bound is looked at in `flood`.

mod flood;
mod stream;
mod told;
mod upload;

pub(super) use upload::Upload;

use super::answer::Answer;
use super::client::Client;
use super::exchange::Alarm;
use super::head::{FIELDS_MAX, TOO_LARGE};
use super::pair::{PairProxy, PoolId};
use super::seen::refused_over_http2;
use super::settings::ListenSettings;
use super::shelter::Guest;
use flood::Flood;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::Reason;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, RETRY_AFTER};
use lockstep_wire::clock;
use pingora_core::Result;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession};
use pingora_core::protocols::{Digest, GetProxyDigest, GetSocketDigest, Ssl};
use pingora_http::{RequestHeader, ResponseHeader};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use told::Told;

/// How each connection begins (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests of one connection at once.
const STREAMS: u32 = 128;

/// Requests of one connection that pingora may refuse as malformed.
const MALFORMED: usize = 32;

/// What a client may send of one body before it is taken, and of all bodies of its connection: bodies that wait for a side
/// do not keep those that need not.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// What may wait of one answer until the client takes it.
const SEND_BUFFER: usize = 128 * 1024;

/// What is kept of requests for the next ones of their connection: for so many at once.
const KITS: usize = 8;

/// How long a client has, after GOAWAY, to close.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a client's connection looks at while HTTP/2 passes over it.
#[derive(Debug)]
pub(super) struct Frames {
    flood: Flood,
    told: Told,
    found: Arc<Found>,
}

/// What was found. Bytes pass while the connection is polled, and it is looked at by who does that: nobody needs to be woken.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The client sends more of what is costly than it may.
    flooded: AtomicBool,
    /// So often it was told of a fault of its own, and nobody has counted it yet.
    faults: AtomicUsize,
}

impl Found {
    fn is_something(&self) -> bool {
        self.flooded.load(Relaxed) || self.faults.load(Relaxed) > 0
    }
}

impl Frames {
    pub(super) fn new(found: &Arc<Found>) -> Frames {
        Frames { flood: Flood::new(Instant::now()), told: Told::default(), found: Arc::clone(found) }
    }

    /// Bytes have come from the client.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        if self.flood.sees(bytes, Instant::now()) {
            self.found.flooded.store(true, Relaxed);
        }
    }

    /// Bytes were written to it.
    pub(super) fn went(&mut self, bytes: &[u8]) {
        let faults = self.told.follows(bytes);
        if faults > 0 {
            self.found.faults.fetch_add(faults, Relaxed);
        }
    }
}

/// Whether a connection begins as HTTP/2 does; `None`: too few bytes to say.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    let length = bytes.len().min(PREFACE.len());
    (bytes[..length] != PREFACE[..length]).then_some(false).or((bytes.len() >= PREFACE.len()).then_some(true))
}

fn options(settings: &ListenSettings) -> H2Options {
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// One client's connection, from its preface to its end.
pub(super) async fn converse(
    mut client: Client,
    pair: Arc<PairProxy>,
    pool: PoolId,
    settings: ListenSettings,
    mut closing: watch::Receiver<bool>,
) {
    let found = client.becomes_http2();
    let asker = Asker { address: client.address(), guest: client.guest() };
    let digest = Arc::new(Digest {
        ssl_digest: client.get_ssl_digest(),
        timing_digest: Vec::new(),
        proxy_digest: client.get_proxy_digest(),
        socket_digest: client.get_socket_digest(),
    });
    let handshake = server::handshake(Box::new(client), Some(options(&settings)));
    let Ok(Ok(mut connection)) = timeout(settings.head_timeout, handshake).await else { return };
    let closed = closing.clone();
    let mut is_closing = pin!(async {
        // A sender that is gone closes the listener as well.
        let _ = closing.wait_for(|closing| *closing).await;
    });
    let forward = pair.forward(pool);
    // Those that we carry run within this task: whatever one of them writes leaves with the next turn of the connection.
    let (mut ours, mut pingoras) = (FuturesUnordered::new(), JoinSet::new());
    let mut kits = Vec::new();
    let mut alarm = Alarm::default();
    let (mut malformed, mut idle_since) = (0, Instant::now());
    let malformed_is_seen = |count| {
        for _ in 0..count {
            refused_over_http2(pair.shared(), asker.address, None, "what the client sent is malformed");
        }
    };
    // Set when the client has been told that it is over.
    let mut farewell: Option<Instant> = None;
    // Faults that were found and are seen already.
    let mut known = 0;
    loop {
        let faults = found.faults.swap(0, Relaxed);
        malformed_is_seen(faults.saturating_sub(known));
        known = known.saturating_sub(faults);
        if found.flooded.swap(false, Relaxed) && farewell.is_none() {
            tracing::info!(pair = pair.name(), "a client floods its HTTP/2 connection, which is ended");
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            farewell = Some(Instant::now() + FAREWELL);
        }
        let (leaving, idle) = (farewell.is_some(), pingoras.is_empty() && ours.is_empty());
        let last = farewell.unwrap_or(idle_since + settings.idle_timeout);
        let mut is_over = |now: Instant| {
            idle_since = now;
            // Its answer is still to be taken.
            farewell = farewell.map(|_| now + FAREWELL);
        };
        tokio::select! {
            // What has been written before is what the connection sends.
            biased;
            Some(kit) = ours.next() => {
                if kits.len() < KITS {
                    kits.push(kit);
                }
                is_over(Instant::now());
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => match accepted {
                Ok(Some(H2Accept::Session(request))) => {
                    let Some(request) = admit(request, &pair, &settings, &asker) else { continue };
                    if stream::is_for(&request, pair.shared()) {
                        let kit = kits.pop().unwrap_or_default();
                        // In a box: it is large, and would be moved more than once.
                        ours.push(Box::pin(stream::carry(request, kit, forward, &settings, &closed)));
                    } else {
                        pingoras.spawn(serve(request, Arc::clone(&pair), pool, settings, closed.clone(), asker.address));
                    }
                }
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
                    malformed_is_seen(1);
                    // Most of these are told so by a reset, which is found on its way, too.
                    known += 1;
                    if malformed >= MALFORMED && !leaving {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                        farewell = Some(Instant::now() + FAREWELL);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(pair = pair.name(), %error, "a client's HTTP/2 connection has ended");
                    break;
                }
            },
            () = poll_fn(|_| if found.is_something() { Poll::Ready(()) } else { Poll::Pending }) => {}
            Some(_) = pingoras.join_next() => is_over(Instant::now()),
            () = &mut is_closing, if !leaving => {
                connection.graceful_shutdown();
                farewell = Some(Instant::now() + FAREWELL);
            }
            () = poll_fn(|cx| alarm.poll(cx, last)), if idle => match farewell {
                // It does not even close.
                Some(_) => break,
                None => {
                    connection.graceful_shutdown();
                    farewell = Some(Instant::now() + FAREWELL);
                }
            },
        }
    }
    drop(connection);
    malformed_is_seen(found.faults.swap(0, Relaxed).saturating_sub(known));
    // They see that their client is gone.
    while ours.next().await.is_some() {}
    while pingoras.join_next().await.is_some() {}
}

/// Whose a connection is.
struct Asker {
    address: Option<SocketAddr>,
    guest: Option<Arc<Guest>>,
}

/// A request that goes on, in a form that servers of HTTP/1 understand.
fn admit(mut request: HttpSession, pair: &PairProxy, settings: &ListenSettings, asker: &Asker) -> Option<HttpSession> {
    if let Some(answer) = refusal(request.req_header(), settings, asker) {
        refused_over_http2(pair.shared(), asker.address, Some(answer.status), &answer.text);
        refuse(&mut request, &answer).unwrap_or_else(|error| tracing::debug!(%error, "a refusal could not be written"));
        return None;
    }
    let joined = join_cookies(request.req_header_mut());
    debug_assert!(joined.is_ok(), "what came as values are values together");
    Some(request)
}

/// Has a request carried by pingora.
async fn serve(
    mut request: HttpSession,
    pair: Arc<PairProxy>,
    pool: PoolId,
    settings: ListenSettings,
    closing: watch::Receiver<bool>,
    client: Option<SocketAddr>,
) {
    let upload = (!request.is_body_empty()).then(|| Upload::new(&settings));
    let header = request.req_header_mut();
    // A call of gRPC says nothing for as long as it likes.
    let paced = upload.as_ref().filter(|_| !is_grpc(header)).cloned();
    if let Some(upload) = upload {
        header.extensions_mut().insert(upload);
    }
    let mut session = ServerSession::new_http2(request);
    session.set_write_timeout(Some(settings.write_timeout));
    session.set_total_drain_timeout(Some(settings.head_timeout));
    let served = pair.http(pool).process_new_http(session, &closing);
    let Some(upload) = paced else { return drop(served.await) };
    tokio::select! {
        _ = served => {}
        () = upload.is_late(&settings) => refused_over_http2(pair.shared(), client, None, "the request's body came too slowly"),
    }
}

/// What is answered to a request that no server is to see.
fn refusal(header: &RequestHeader, settings: &ListenSettings, asker: &Asker) -> Option<Answer> {
    if let Some(Err(retry_after)) = asker.guest.as_ref().map(|guest| guest.asks(clock::now())) {
        return Some(Answer::too_often(retry_after));
    }
    if [Method::TRACE, Method::CONNECT].contains(&header.method) {
        return Some(Answer::new(405, "TRACE and CONNECT are not served"));
    }
    if header.headers.len() > FIELDS_MAX {
        return Some(Answer::new(431, "the request has more than 100 header fields"));
    }
    let length = header.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > settings.body_bytes).then_some(TOO_LARGE)
}

fn refuse(request: &mut HttpSession, answer: &Answer) -> Result<()> {
    let mut head = ResponseHeader::build(answer.status, None)?;
    if let Some(seconds) = answer.seconds() {
        head.insert_header(RETRY_AFTER, seconds)?;
    }
    request.write_response_header(Box::new(head), true)
}

/// RFC 9113 section 8.2.3: what a client has sent in parts is one field to servers of HTTP/1.
fn join_cookies(header: &mut RequestHeader) -> Result<()> {
    let parts: Vec<&[u8]> = header.headers.get_all(COOKIE).iter().map(|part| part.as_bytes()).collect();
    if parts.len() < 2 {
        return Ok(());
    }
    let joined = parts.join(&b"; "[..]);
    header.insert_header(COOKIE, joined)
}

fn is_grpc(header: &RequestHeader) -> bool {
    header.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_came_in_parts_are_one_field() {
        let mut header = RequestHeader::build("GET", b"/", None).unwrap();
        for cookie in ["a=1", "b=2; c=3"] {
            header.append_header(COOKIE, cookie).unwrap();
        }
        join_cookies(&mut header).unwrap();
        let fields: Vec<_> = header.headers.get_all(COOKIE).iter().collect();
        assert_eq!(fields, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn a_preface_is_known_by_all_of_its_bytes() {
        assert_eq!(begins(b""), None);
        assert_eq!(begins(b"PRI * HTTP/2.0\r\n"), None);
        assert_eq!(begins(b"POST / HTTP/1.1\r\n"), Some(false));
        assert_eq!(begins(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Some(false));
        assert_eq!(begins(PREFACE), Some(true));
        assert_eq!(begins(&[PREFACE, b"more"].concat()), Some(true));
    }

    /// Frames are followed the same, however the bytes are cut.
    #[test]
    fn fuzz_frames() {
        let frame = |kind: u8, payload: &[u8]| {
            [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, 1], payload].concat()
        };
        let some =
            [frame(4, &[]), frame(3, &[0, 0, 0, 1]), frame(6, &[7; 8]), frame(7, &[0, 0, 0, 1, 0, 0, 0, 11])].concat();
        let many = [PREFACE, &frame(3, &[0, 0, 0, 8]).repeat(40)].concat();
        lockstep_fuzz::run("http2_frames", &[&some, &many], &[&frame(3, &[0, 0, 0, 1]), &[0, 0x40, 0]], |bytes| {
            let now = Instant::now();
            let seen = |step: usize| {
                let (mut flood, mut told) = (Flood::new(now), Told::default());
                let too_much = bytes.chunks(step).fold(false, |before, part| before | flood.sees(part, now));
                (too_much, bytes.chunks(step).map(|part| told.follows(part)).sum::<usize>())
            };
            let at_once = seen(bytes.len().max(1));
            assert!(at_once == seen(1) && at_once == seen(5));
            lockstep_fuzz::became((at_once.0, at_once.1.min(9)))
        });
    }
}
