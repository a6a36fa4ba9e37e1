//! One HTTP request on a connection of its own, for what does more than ask: bounded in bytes, and closed after it.

use super::connect::Stream;
use super::judge::{self, BODY_MAX, Finding};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lockstep_policy::event::Verdict;

/// Who asks.
pub(super) const AGENT: &str = concat!("lockstep/", env!("CARGO_PKG_VERSION"));

/// Sends a text and takes the whole answer: its status, its head and its body.
pub(super) async fn post(
    stream: Stream,
    host: &str,
    path: &str,
    text: String,
) -> Result<(u16, HeaderMap, Vec<u8>), Finding> {
    let request = head(Request::post(path), host).header("content-type", "text/xml; charset=utf-8");
    let request = request.body(Full::from(text)).map_err(|error| unmade(&error))?;
    exchange(stream, request, async |answer: Response<Incoming>| {
        let (answer, body) = answer.into_parts();
        Ok((answer.status.as_u16(), answer.headers, read(body, BODY_MAX).await?))
    })
    .await
}

pub(super) fn head(request: http::request::Builder, host: &str) -> http::request::Builder {
    request.header("host", host).header("user-agent", AGENT).header("connection", "close")
}

pub(super) fn unmade(error: &http::Error) -> Finding {
    Finding::new(Verdict::Wrong, 0, format!("no request can be made of it: {error}"))
}

pub(super) async fn exchange<T>(
    stream: Stream,
    request: Request<Full<Bytes>>,
    judge: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Finding>,
) -> Result<T, Finding> {
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(BODY_MAX)
        .max_headers(100)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| judge::not_http(&error))?;
    // The connection is driven beside the request, and dropped with it: a late or endless answer binds nothing.
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| judge::not_http(&error))?;
        judge(answer).await
    };
    tokio::pin!(answered, connection);
    tokio::select! {
        biased;
        finding = &mut answered => finding,
        // The connection is over; what it still held for us is in the answer's own channel.
        _ = &mut connection => answered.await,
    }
}

/// As much of a body as tells whether it begins with a text of this length, and a little more for people to read.
pub(super) async fn read(mut body: Incoming, wanted: usize) -> Result<Vec<u8>, Finding> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| judge::not_http(&error))?;
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if text.trim_ascii_start().len() >= wanted || text.len() > BODY_MAX {
            break;
        }
    }
    text.truncate(BODY_MAX);
    Ok(text)
}
