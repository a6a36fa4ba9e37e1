//! Whether a service that runs is ready.

use super::{Event, Post};
use crate::config::{Alive, Ready};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// From one check to the next until the service is ready: what clients wait for, so it is short.
const EAGER: Duration = Duration::from_millis(10);
/// Programs are started for their checks: not so often.
const EAGER_EXEC: Duration = Duration::from_millis(50);
/// From one check to the next of a service that is ready.
const STEADY: Duration = Duration::from_secs(1);
/// From one check to the next of a service that was ready.
const WORRIED: Duration = Duration::from_millis(200);
/// So many failures in a row make a service unready.
const FAILURES: u32 = 2;
/// A check that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Checks for as long as it is let to. Services that say themselves when they are ready are not checked.
pub(crate) async fn watch(ready: Ready, post: Post) {
    let eager = match ready {
        Ready::Exec(_) => EAGER_EXEC,
        Ready::Http(_) | Ready::Tcp(_) => EAGER,
        Ready::Notify => return,
    };
    while !check(&ready, PATIENCE).await {
        sleep(eager).await;
    }
    loop {
        post.say(Event::Ready).await;
        let mut failures = 0;
        while failures < FAILURES {
            sleep(STEADY).await;
            failures = if check(&ready, PATIENCE).await { 0 } else { failures + 1 };
        }
        post.say(Event::Unready).await;
        while !check(&ready, PATIENCE).await {
            sleep(WORRIED).await;
        }
    }
}

/// Looks whether a service is well for as long as it is let to, or until it is not.
pub(crate) async fn watch_alive(alive: Alive, post: Post) {
    let mut failures = 0;
    while failures < alive.failures {
        sleep(alive.interval).await;
        failures = if check(&alive.check, alive.timeout).await { 0 } else { failures + 1 };
    }
    let check = text(&alive.check);
    post.say(Event::Hung { why: format!("its check ({check}) has failed {failures} times in a row") }).await;
}

/// Looks once. What takes longer than `patience` has failed.
pub(crate) async fn check(ready: &Ready, patience: Duration) -> bool {
    let result = match ready {
        Ready::Http(uri) => timeout(patience, http(uri)).await,
        Ready::Tcp(address) => timeout(patience, tcp(address)).await,
        Ready::Exec(command) => timeout(patience, exec(command)).await,
        Ready::Notify => return true,
    };
    result.ok().flatten().is_some()
}

/// A check for a person to read.
pub(crate) fn text(ready: &Ready) -> String {
    match ready {
        Ready::Http(uri) => uri.to_string(),
        Ready::Tcp(address) => format!("tcp {address}"),
        Ready::Exec(command) => command.join(" "),
        Ready::Notify => "notify".to_owned(),
    }
}

async fn tcp(address: &str) -> Option<()> {
    TcpStream::connect(address).await.ok().map(drop)
}

/// One connection for each check, and only the answer's head is read: nothing that a service sends can fill anything.
async fn http(uri: &http::Uri) -> Option<()> {
    let authority = uri.authority()?;
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::get(path)
        .header(http::header::HOST, authority.as_str())
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .ok()?;
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // The connection may end with the answer in hand.
        _ = connection => answer.await,
    };
    let answer = answer.ok()?;
    (answer.status().as_u16() < 400).then_some(())
}

async fn exec(command: &[String]) -> Option<()> {
    let (program, args) = command.split_first()?;
    let mut check = Command::new(program);
    check.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    check.status().await.ok()?.success().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    /// A server that answers each connection so, and keeps it open.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                open.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn http_is_ready_by_its_status() {
        let cases = [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK", true),
            ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n", false),
            // A body without an end is not read.
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", true),
            ("garbage\r\n\r\n", false),
        ];
        for (answer, expected) in cases {
            let uri = format!("http://{}/monitor.aspx?mod=NONE", server(answer).await).parse().unwrap();
            assert_eq!(check(&Ready::Http(uri), PATIENCE).await, expected, "{answer}");
        }
    }

    #[tokio::test]
    async fn tcp_is_ready_when_it_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(check(&Ready::Tcp(address.clone()), PATIENCE).await);
        drop(listener);
        assert!(!check(&Ready::Tcp(address), PATIENCE).await);
    }

    #[tokio::test]
    async fn a_program_is_ready_by_its_exit_status() {
        let exec = |words: &[&str]| Ready::Exec(words.iter().map(ToString::to_string).collect());
        assert!(check(&exec(&["true"]), PATIENCE).await);
        assert!(!check(&exec(&["false"]), PATIENCE).await);
        assert!(!check(&exec(&["/no/such/program"]), PATIENCE).await);
    }

    #[tokio::test]
    async fn it_is_unready_after_failures_in_a_row_and_ready_again_after_one_success() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("up");
        let command = ["test", "-e", file.to_str().unwrap()];
        let (to, mut events) = mpsc::channel(8);
        let post = Post { service: 0, life: 1, to };
        let watch = tokio::spawn(watch(Ready::Exec(command.iter().map(ToString::to_string).collect()), post));
        for (up, event) in [(true, Event::Ready), (false, Event::Unready), (true, Event::Ready)] {
            if up {
                std::fs::write(&file, "").unwrap();
            } else {
                std::fs::remove_file(&file).unwrap();
            }
            assert_eq!(events.recv().await.unwrap().event, event);
        }
        watch.abort();
    }
}
