//! What of the simulated application lasts: answers of any length, long polls, and WebSockets that repeat what they hear.

use super::{CTI_HEADER, SIDE_HEADER};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};

/// Where WebSockets are: each is told the side and the state of its CTI, and then what it says itself.
pub const SOCKET: &str = "/socket";
/// Where a page is whose script tells, on its console, how its WebSocket fares.
pub const PAGE: &str = "/page";
pub(super) const PAGE_TEXT: &str = include_str!("page.html");
/// RFC 6455 section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest payload of one frame.
const PAYLOAD_MAX: u64 = 16 << 20;
const TOO_BIG: u16 = 1009;
/// The longest answer, and the longest wait for one.
const BYTES_MAX: usize = 64 << 20;
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// What a request's query asks for: `bytes=1048576`, `wait=10s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// An answer of so many bytes.
    pub bytes: Option<usize>,
    /// The answer shall wait so long for news that there are none.
    pub wait: Option<Duration>,
}

impl Wish {
    pub(super) fn of(query: &str) -> Wish {
        let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let wait = value("wait").and_then(|wait| humantime::parse_duration(wait).ok());
        Wish {
            bytes: value("bytes").and_then(|bytes| bytes.parse().ok()).map(|bytes: usize| bytes.min(BYTES_MAX)),
            wait: wait.map(|wait| wait.min(WAIT_MAX)),
        }
    }
}

/// A text of that length, in which a lost or doubled part is seen.
#[must_use]
pub fn text(bytes: usize) -> String {
    let mut text: String = (0..bytes.div_ceil(8)).map(|number| format!("{number:07};")).collect();
    text.truncate(bytes);
    text
}

/// Agrees on a WebSocket, which goes on by itself; none: it is not asked for one.
pub(super) fn socket(request: &mut Request<Incoming>, side: &str, state: &str) -> Option<Response<Full<Bytes>>> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()));
    let agreed = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .header(SIDE_HEADER, side)
        .header(CTI_HEADER, state)
        .body(Full::default())
        .ok()?;
    let upgrade = hyper::upgrade::on(request);
    let greeting = format!("side {side}, CTI {state}");
    tokio::task::spawn_local(async move {
        if let Ok(upgraded) = upgrade.await {
            // A client that breaks off, or that cannot be read, ends its own connection only.
            let _ = repeat(BufStream::new(TokioIo::new(upgraded)), &greeting).await;
        }
    });
    Some(agreed)
}

/// A frame's parts that matter here.
struct Frame {
    /// With the bit that says that a message ends here.
    first: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

async fn repeat(mut socket: impl AsyncReadExt + AsyncWriteExt + Unpin, greeting: &str) -> io::Result<()> {
    say(&mut socket, 0x81, greeting.as_bytes()).await?;
    loop {
        let frame = match hear(&mut socket).await {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                say(&mut socket, 0x88, &TOO_BIG.to_be_bytes()).await?;
                return socket.shutdown().await;
            }
            heard => heard?,
        };
        match frame.opcode() {
            8 => {
                say(&mut socket, 0x88, &frame.payload).await?;
                return socket.shutdown().await;
            }
            9 => say(&mut socket, 0x8a, &frame.payload).await?,
            10 => {}
            _ => say(&mut socket, frame.first, &frame.payload).await?,
        }
    }
}

async fn say(socket: &mut (impl AsyncWriteExt + Unpin), first: u8, payload: &[u8]) -> io::Result<()> {
    socket.write_u8(first).await?;
    match payload.len() {
        length @ 0..=125 => socket.write_all(&length.to_be_bytes()[7..]).await?,
        length @ 126..=0xffff => {
            socket.write_u8(126).await?;
            socket.write_all(&length.to_be_bytes()[6..]).await?;
        }
        length => {
            socket.write_u8(127).await?;
            socket.write_all(&length.to_be_bytes()).await?;
        }
    }
    socket.write_all(payload).await?;
    socket.flush().await
}

async fn hear(socket: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Frame> {
    let (first, second) = (socket.read_u8().await?, socket.read_u8().await?);
    let length = match second & 0x7f {
        126 => u64::from(socket.read_u16().await?),
        127 => socket.read_u64().await?,
        length => u64::from(length),
    };
    if length > PAYLOAD_MAX {
        return Err(ErrorKind::FileTooLarge.into());
    }
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        socket.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    socket.read_exact(&mut payload).await?;
    payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
    Ok(Frame { first, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_wished() {
        assert_eq!(Wish::of("bytes=7&wait=3s"), Wish { bytes: Some(7), wait: Some(Duration::from_secs(3)) });
        assert_eq!(Wish::of("mod=FT&bytes=x&wait=soon"), Wish::default());
        assert_eq!(text(20), "0000000;0000001;0000");
    }

    #[tokio::test]
    async fn what_is_heard_is_said_again_in_frames_of_the_same_kind() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let serving = tokio::spawn(async move { repeat(server, "side a").await });
        assert_eq!(hear(&mut client).await.unwrap().payload, b"side a");
        for length in [0, 125, 126, 65_535, 65_536] {
            say(&mut client, 0x01, &vec![7; length]).await.unwrap();
            let frame = hear(&mut client).await.unwrap();
            assert_eq!((frame.first, frame.payload), (0x01, vec![7; length]));
        }
        say(&mut client, 0x89, b"there?").await.unwrap();
        let pong = hear(&mut client).await.unwrap();
        assert_eq!((pong.first, &pong.payload[..]), (0x8a, &b"there?"[..]));
        say(&mut client, 0x88, &[3, 0xe9]).await.unwrap();
        let close = hear(&mut client).await.unwrap();
        assert_eq!((close.first, &close.payload[..]), (0x88, &[3, 0xe9][..]));
        serving.await.unwrap().unwrap();
        assert!(hear(&mut client).await.is_err(), "it has ended");
    }
}
