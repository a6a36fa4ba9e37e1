//! One probe on one new connection: bounded in time and in bytes.

use super::judge::{self, BODY_MAX, Finding};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lockstep_policy::action::{HttpProbe, ProbeKind};
use lockstep_policy::event::Verdict;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

pub(super) async fn probe(kind: &ProbeKind, server: SocketAddr, timeout: Duration) -> Finding {
    let began = Instant::now();
    let asked = async {
        match kind {
            ProbeKind::Http(http) => ask(http, server).await,
            ProbeKind::Tcp { port } => connect(server, *port).await.map(|_| Finding::good(0, "")),
            ProbeKind::Icmp(_) | ProbeKind::Agent(_) | ProbeKind::Xmpp(_) | ProbeKind::Cti(_) => {
                Err(Finding::new(Verdict::Silent, 0, "this edge does not know the probe"))
            }
        }
    };
    let silent = || Finding::new(Verdict::Silent, 0, format!("no answer within {timeout:?}"));
    let found = match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(finding) | Err(finding)) => finding,
        Err(_) => silent(),
    };
    Finding { latency: began.elapsed(), ..found }
}

async fn connect(server: SocketAddr, port: u16) -> Result<TcpStream, Finding> {
    let port = if port == 0 { server.port() } else { port };
    let stream = TcpStream::connect((server.ip(), port)).await.map_err(|error| judge::broken(&error))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn ask(http: &HttpProbe, server: SocketAddr) -> Result<Finding, Finding> {
    let stream = connect(server, http.port).await?;
    let host = if http.host.is_empty() { server.to_string() } else { http.host.clone() };
    let request = Request::get(&http.path)
        .header("host", host)
        .header("user-agent", concat!("lockstep/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Finding::new(Verdict::Wrong, 0, format!("no request can be made of it: {error}")))?;
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_buf_size(BODY_MAX)
        .max_headers(100)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| judge::not_http(&error))?;
    // The connection is driven beside the request, and dropped with it: a late or endless answer binds nothing.
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| judge::not_http(&error))?;
        let status = answer.status().as_u16();
        if !judge::status_is_good(http, status) {
            return Ok(Finding::new(Verdict::Wrong, status, format!("status {status}")));
        }
        if http.body.is_empty() {
            return Ok(Finding::good(status, ""));
        }
        let text = read(answer.into_body(), http.body.len()).await?;
        Ok(judge::body(http, status, &text))
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
async fn read(mut body: Incoming, wanted: usize) -> Result<Vec<u8>, Finding> {
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
