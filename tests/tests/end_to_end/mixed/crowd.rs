//! Clients of every kind at once, each of which writes down what becomes of it and comes back.

use crate::network::VIP;
use lockstep_demo::app::{self, SOCKET};
use lockstep_policy::{Side, Sides};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

/// Far longer than anything here takes, but for what is meant to last.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who could not come in tries again after so long.
const AGAIN: Duration = Duration::from_millis(50);
/// What a download brings.
const DOWNLOAD: usize = 1 << 20;

/// How something that lasted has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Fin,
    Reset,
    /// After a Close frame of that code.
    Told(u16),
    /// In a way that nobody may see.
    Odd(String),
}

/// What the crowd has seen.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// WebSockets that a side has greeted, and that are open.
    pub sockets: Sides<usize>,
    /// Streams that a side has answered, and that are open.
    pub lines: Sides<usize>,
    /// How often something has ended how: by its port, and the side that it was at.
    pub ends: BTreeMap<(u16, Side, End), usize>,
    /// Long polls that were answered.
    pub polls: Sides<usize>,
    pub downloads: Sides<usize>,
    /// What went wrong, in words.
    pub failures: BTreeMap<String, usize>,
}

impl Book {
    /// How something at that port and side has ended, and how often.
    pub fn ends_at(&self, port: u16, side: Side) -> BTreeMap<End, usize> {
        let here = self.ends.iter().filter(|((at, of, _), _)| (*at, *of) == (port, side));
        here.map(|((_, _, end), count)| (end.clone(), *count)).collect()
    }
}

/// All of them. They leave when it is dropped.
pub struct Crowd {
    runtime: Runtime,
    book: Arc<Mutex<Book>>,
}

impl Crowd {
    pub fn new() -> Crowd {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Crowd { runtime, book: Arc::default() }
    }

    /// What has been seen until now.
    pub fn book(&self) -> Book {
        read(&self.book).clone()
    }

    /// WebSockets at that port of the VIP, which say something now and then.
    pub fn sockets(&self, count: usize, port: u16) {
        self.come(count, move |book| socket(book, port));
    }

    /// Streams at that port of the VIP, on each of which one request is made.
    pub fn lines(&self, count: usize, port: u16) {
        self.come(count, move |book| line(book, port));
    }

    /// Long polls: requests that are answered after that time, one after the other.
    pub fn polls(&self, count: usize, wait: Duration) {
        self.come(count, move |book| poll(book, wait));
    }

    /// Downloads, one after the other.
    pub fn downloads(&self, count: usize) {
        self.come(count, download);
    }

    fn come<F: Future<Output = ()> + Send + 'static>(
        &self,
        count: usize,
        life: impl Fn(Arc<Mutex<Book>>) -> F + Send + Sync + 'static,
    ) {
        let life = Arc::new(life);
        for _ in 0..count {
            let (book, life) = (Arc::clone(&self.book), Arc::clone(&life));
            self.runtime.spawn(async move {
                // Not all in the same instant.
                sleep(Duration::from_millis(fastrand::u64(..500))).await;
                loop {
                    life(Arc::clone(&book)).await;
                }
            });
        }
    }
}

fn read(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(book: &Mutex<Book>, what: &str, error: &io::Error) {
    *read(book).failures.entry(format!("{what}: {error}")).or_default() += 1;
}

type Stream = BufStream<TcpStream>;

async fn connect(port: u16) -> io::Result<Stream> {
    let socket = TcpStream::connect(SocketAddr::new(VIP, port)).await?;
    socket.set_nodelay(true)?;
    Ok(BufStream::new(socket))
}

/// The head of an answer.
struct Head {
    status: u16,
    fields: BTreeMap<String, String>,
}

impl Head {
    fn side(&self) -> io::Result<Side> {
        let side = self.fields.get(app::SIDE_HEADER).and_then(|side| side.parse().ok());
        let side = side.ok_or_else(|| io::Error::other("no side has answered"))?;
        if self.fields.get(app::CTI_HEADER).is_none_or(|cti| cti != "active") {
            return Err(io::Error::other("I2: the side that has answered was not active"));
        }
        Ok(side)
    }
}

async fn ask(stream: &mut Stream, path: &str, more: &str) -> io::Result<Head> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: pair\r\n{more}\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if timeout(PATIENCE, stream.read_line(&mut line)).await?? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let fields = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Head { status: status.ok_or(ErrorKind::InvalidData)?, fields })
}

/// A good answer.
struct Page {
    side: Side,
    body: Vec<u8>,
    /// The connection ends with it.
    is_last: bool,
}

async fn get(stream: &mut Stream, path: &str) -> io::Result<Page> {
    let head = ask(stream, path, "").await?;
    let length = head.fields.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.ok_or_else(|| io::Error::other("an answer without a length"))?];
    timeout(PATIENCE, stream.read_exact(&mut body)).await??;
    let is_last = head.fields.get("connection").is_some_and(|connection| connection == "close");
    match head.status {
        200 => Ok(Page { side: head.side()?, body, is_last }),
        status => Err(io::Error::other(format!("status {status}: {}", String::from_utf8_lossy(&body)))),
    }
}

/// One after the other, on one connection as long as that holds.
async fn poll(book: Arc<Mutex<Book>>, wait: Duration) {
    let path = format!("/poll?wait={}ms", wait.as_millis());
    let polled = async {
        let mut stream = connect(80).await?;
        loop {
            let page = get(&mut stream, &path).await?;
            read(&book).polls[page.side] += 1;
            if page.is_last {
                return Ok(());
            }
        }
    };
    let ended: io::Result<()> = polled.await;
    if let Err(error) = ended {
        failed(&book, "a long poll", &error);
        sleep(AGAIN).await;
    }
}

async fn download(book: Arc<Mutex<Book>>) {
    let wanted = app::text(DOWNLOAD).into_bytes();
    let downloaded = async {
        let mut stream = connect(80).await?;
        loop {
            let page = get(&mut stream, &format!("/file?bytes={DOWNLOAD}")).await?;
            if page.body != wanted {
                return Err(io::Error::other("another file than was asked for"));
            }
            read(&book).downloads[page.side] += 1;
            if page.is_last {
                return Ok(());
            }
        }
    };
    let ended: io::Result<()> = downloaded.await;
    if let Err(error) = ended {
        failed(&book, "a download", &error);
        sleep(AGAIN).await;
    }
}

/// One life of a stream: it is answered once, and then only there.
async fn line(book: Arc<Mutex<Book>>, port: u16) {
    let begun = async {
        let mut stream = connect(port).await?;
        let side = get(&mut stream, "/line").await?.side;
        Ok((stream, side))
    };
    let begun: io::Result<(Stream, Side)> = begun.await;
    match begun {
        Ok((mut stream, side)) => {
            read(&book).lines[side] += 1;
            let end = end_of(stream.read(&mut [0]).await.map(|read| match read {
                0 => End::Fin,
                _ => End::Odd("a word that nobody asked for".to_owned()),
            }));
            let mut book = read(&book);
            book.lines[side] -= 1;
            *book.ends.entry((port, side, end)).or_default() += 1;
        }
        // While the pair changes sides a stream may be closed before anybody has answered on it.
        Err(_) => sleep(AGAIN).await,
    }
}

fn end_of(end: io::Result<End>) -> End {
    end.unwrap_or_else(|error| match error.kind() {
        ErrorKind::ConnectionReset => End::Reset,
        ErrorKind::UnexpectedEof => End::Fin,
        _ => End::Odd(error.to_string()),
    })
}

/// One life of a WebSocket.
async fn socket(book: Arc<Mutex<Book>>, port: u16) {
    let begun = async {
        let mut stream = connect(port).await?;
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let head = ask(&mut stream, SOCKET, fields).await?;
        if head.status != 101 {
            return Err(io::Error::other(format!("status {}", head.status)));
        }
        let greeting = hear(&mut stream).await?.1;
        let side = head.side()?;
        match greeting == format!("side {side}, CTI active").as_bytes() {
            true => Ok((stream, side)),
            false => Err(io::Error::other("another side's greeting")),
        }
    };
    let begun: io::Result<(Stream, Side)> = begun.await;
    let (mut stream, side) = match begun {
        Ok(begun) => begun,
        Err(error) if error.to_string().starts_with("I2") => return failed(&book, "a WebSocket", &error),
        Err(_) => return sleep(AGAIN).await,
    };
    read(&book).sockets[side] += 1;
    let end = end_of(talk(&mut stream).await);
    let mut book = read(&book);
    book.sockets[side] -= 1;
    *book.ends.entry((port, side, end)).or_default() += 1;
}

/// Says something now and then, until it is closed.
async fn talk(stream: &mut Stream) -> io::Result<End> {
    let mut said = 0u32;
    loop {
        tokio::select! {
            something = stream.fill_buf() => drop(something?),
            () = sleep(Duration::from_millis(fastrand::u64(500..1500))) => {
                said += 1;
                say(stream, 1, format!("word {said}").as_bytes()).await?;
            }
        }
        match hear(stream).await? {
            (8, code) => {
                let code = code.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                say(stream, 8, &code.to_be_bytes()).await?;
                return Ok(match timeout(PATIENCE, stream.read(&mut [0])).await? {
                    Ok(0) => End::Told(code),
                    other => End::Odd(format!("{other:?} after a Close of {code}")),
                });
            }
            (1, word) if word == format!("word {said}").as_bytes() => {}
            other => return Ok(End::Odd(format!("{other:?} instead of word {said}"))),
        }
    }
}

/// Opcode and payload.
async fn hear(stream: &mut Stream) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let length = match stream.read_u8().await? {
        length @ 0..=125 => usize::from(length),
        126 => usize::from(stream.read_u16().await?),
        _ => return Err(io::Error::other("a frame that is longer than any that was asked for")),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((first & 0x0f, payload))
}

async fn say(stream: &mut Stream, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let length = u8::try_from(payload.len()).map_err(io::Error::other)?;
    let mask = fastrand::u32(..).to_be_bytes();
    let masked = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]);
    let frame: Vec<u8> = [0x80 | opcode, 0x80 | length].into_iter().chain(mask).chain(masked).collect();
    stream.write_all(&frame).await?;
    stream.flush().await
}
