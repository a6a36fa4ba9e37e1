//! Metrics for whoever asks, on an address of their own: one short connection for each scrape, every byte and second of it bounded.

use super::CONTENT_TYPE;
use crate::admin::server::Edge;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Scrapes at once; who comes beyond that waits in the backlog.
const AT_ONCE: usize = 8;
/// The longest request.
const HEAD_MAX: usize = 8 << 10;
/// From a connection to the end of its answer.
const LONGEST: Duration = Duration::from_secs(10);
/// How long we wait after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers until `closing` is true.
pub(crate) async fn serve(listener: TcpListener, edge: Arc<Edge>, mut closing: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // Nobody closes the semaphore.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let edge = Arc::clone(&edge);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(LONGEST, answer(socket, &edge)).await;
            drop(place);
        });
    }
}

async fn answer(mut socket: TcpStream, edge: &Edge) {
    let mut head = Vec::new();
    let asked = loop {
        match asked(&head) {
            Asked::More if head.len() < HEAD_MAX => {}
            asked => break asked,
        }
        match (&mut socket).take((HEAD_MAX - head.len()) as u64).read_buf(&mut head).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    };
    let answer = match asked {
        Asked::Metrics => match edge.metrics().await {
            Ok(text) => reply("200 OK", CONTENT_TYPE, &text),
            Err(refusal) => reply("503 Service Unavailable", "text/plain", &format!("{}\n", refusal.1)),
        },
        Asked::Other => reply("404 Not Found", "text/plain", "only GET /metrics is answered here\n"),
        Asked::More | Asked::Nonsense => reply("400 Bad Request", "text/plain", "this is no request\n"),
    };
    if socket.write_all(answer.as_bytes()).await.is_ok() {
        let _ = socket.shutdown().await;
        // What the client has still sent must not reset the connection before it has read its answer.
        let mut rest = [0; 1024];
        while matches!(socket.read(&mut rest).await, Ok(1..)) {}
    }
}

/// What somebody asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics,
    Other,
    Nonsense,
    /// The head is not whole yet.
    More,
}

fn asked(head: &[u8]) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => Asked::More,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.map(|path| path.split('?').next().unwrap_or_default());
            if (request.method, path) == (Some("GET"), Some("/metrics")) { Asked::Metrics } else { Asked::Other }
        }
        Err(_) => Asked::Nonsense,
    }
}

fn reply(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_metrics_are_answered() {
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), Asked::Metrics);
        assert_eq!(asked(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n"), Asked::Metrics);
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\nHost"), Asked::More);
        assert_eq!(asked(b""), Asked::More);
        for other in ["POST /metrics", "GET /v1/status", "GET /metricsx", "GET http://x/metrics"] {
            assert_eq!(asked(format!("{other} HTTP/1.1\r\n\r\n").as_bytes()), Asked::Other, "{other}");
        }
        assert_eq!(asked(b"\x16\x03\x01"), Asked::Nonsense);
    }
}
