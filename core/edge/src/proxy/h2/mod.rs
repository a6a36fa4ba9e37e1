//! HTTP/2 with clients: many requests on one connection, each of which goes the way of any other.
//!
//! The h2 crate keeps the protocol, and bounds what a peer may send before anybody looks at it: header lists, CONTINUATION
//! frames, streams that are reset before they were taken, empty frames. What it does not bound is looked at in `flood`.

mod flood;

pub(super) use flood::Flood;

use super::client::Client;
use super::head::FIELDS_MAX;
use super::pair::{PairProxy, PoolId};
use super::settings::ListenSettings;
use h2::Reason;
use http::Method;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession};
use pingora_core::protocols::{Digest, GetProxyDigest, GetSocketDigest, Ssl};
use pingora_http::ResponseHeader;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

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

/// How long a client has, after GOAWAY, to close.
const FAREWELL: Duration = Duration::from_secs(2);

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
    let flooded = client.becomes_http2();
    let digest = Arc::new(Digest {
        ssl_digest: client.get_ssl_digest(),
        timing_digest: Vec::new(),
        proxy_digest: client.get_proxy_digest(),
        socket_digest: client.get_socket_digest(),
    });
    let handshake = server::handshake(Box::new(client), Some(options(&settings)));
    let Ok(Ok(mut connection)) = timeout(settings.head_timeout, handshake).await else { return };
    let closed = closing.clone();
    let mut requests = JoinSet::new();
    let (mut malformed, mut idle_since) = (0, Instant::now());
    // Set when the client has been told that it is over.
    let mut farewell: Option<Instant> = None;
    loop {
        let (leaving, idle) = (farewell.is_some(), requests.is_empty());
        let last = farewell.unwrap_or(idle_since + settings.idle_timeout);
        tokio::select! {
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => match accepted {
                Ok(Some(H2Accept::Session(request))) => {
                    let (pair, closed) = (Arc::clone(&pair), closed.clone());
                    requests.spawn(serve(request, pair, pool, settings, closed));
                }
                Ok(Some(H2Accept::Rejected)) => {
                    malformed += 1;
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
            Some(_) = requests.join_next() => {
                idle_since = Instant::now();
                // Its answer is still to be taken.
                farewell = farewell.map(|_| idle_since + FAREWELL);
            }
            _ = closing.wait_for(|closing| *closing), if !leaving => {
                connection.graceful_shutdown();
                farewell = Some(Instant::now() + FAREWELL);
            }
            () = flooded.notified(), if !leaving => {
                tracing::info!(pair = pair.name(), "a client floods its HTTP/2 connection, which is ended");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                farewell = Some(Instant::now() + FAREWELL);
            }
            () = sleep_until(last), if idle => match farewell {
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
    // They see that their client is gone.
    while requests.join_next().await.is_some() {}
}

async fn serve(
    mut request: HttpSession,
    pair: Arc<PairProxy>,
    pool: PoolId,
    settings: ListenSettings,
    closing: watch::Receiver<bool>,
) {
    let refused = match request.req_header() {
        header if [Method::TRACE, Method::CONNECT].contains(&header.method) => Some(405),
        header if header.headers.len() > FIELDS_MAX => Some(431),
        _ => None,
    };
    if let Some(status) = refused {
        let answer = ResponseHeader::build(status, None).map(Box::new);
        let answered = answer.and_then(|answer| request.write_response_header(answer, true));
        return answered.unwrap_or_else(|error| tracing::debug!(%error, "a refusal could not be written"));
    }
    let mut session = ServerSession::new_http2(request);
    session.set_write_timeout(Some(settings.write_timeout));
    session.set_total_drain_timeout(Some(settings.head_timeout));
    pair.http(pool).process_new_http(session, &closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_known_by_all_of_its_bytes() {
        assert_eq!(begins(b""), None);
        assert_eq!(begins(b"PRI * HTTP/2.0\r\n"), None);
        assert_eq!(begins(b"POST / HTTP/1.1\r\n"), Some(false));
        assert_eq!(begins(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Some(false));
        assert_eq!(begins(PREFACE), Some(true));
        assert_eq!(begins(&[PREFACE, b"more"].concat()), Some(true));
    }
}
