//! Streams: TCP connections that are passed on as they are.

mod announced;
mod course;
mod on_switch;
mod sockets;
mod wait;

use super::rig::{PATIENCE, eventually};
use lockstep_edge::config::OnSwitch;
use lockstep_edge::proxy::{ListenSettings, Listener, PairProxy, ProxyEvent, ProxySettings, StreamSettings};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a connection ended, seen from one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The other end has said all.
    Fin,
    Reset,
}

/// What a server saw of one connection.
#[derive(Clone, Debug, Default)]
struct Seen {
    bytes: Vec<u8>,
    end: Option<End>,
}

/// A server. It begins with its name, then it repeats what it hears; when the other half ends, it says `.` and ends.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accept: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str, at: &str) -> Server {
        let listener = TcpListener::bind(at).await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Seen>>>::default());
        let all = Arc::clone(&seen);
        let accept = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Seen::default());
                    all.len() - 1
                };
                tokio::spawn(repeat(name, socket, Arc::clone(&all), number));
            }
        });
        Server { address, seen, accept }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections that have not ended.
    fn open(&self) -> usize {
        self.seen().iter().filter(|seen| seen.end.is_none()).count()
    }

    fn ends(&self) -> Vec<End> {
        self.seen().iter().filter_map(|seen| seen.end).collect()
    }
}

async fn repeat(name: &'static str, mut socket: TcpStream, all: Arc<Mutex<Vec<Seen>>>, number: usize) {
    let mut bytes = vec![0; 64 * 1024];
    let mut end = End::Fin;
    if socket.write_all(name.as_bytes()).await.is_ok() {
        loop {
            match socket.read(&mut bytes).await {
                Ok(0) => break drop(socket.write_all(b".").await),
                Ok(read) => {
                    all.lock().unwrap()[number].bytes.extend_from_slice(&bytes[..read]);
                    if socket.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                }
                Err(_) => break end = End::Reset,
            }
        }
    }
    all.lock().unwrap()[number].end = Some(end);
}

/// A pair with a listener for streams.
struct Rig {
    a: Server,
    b: Server,
    pair: Arc<PairProxy>,
    at: SocketAddr,
    events: Arc<Mutex<Vec<ProxyEvent>>>,
    _closing: watch::Sender<bool>,
}

fn word(on_switch: OnSwitch) -> StreamSettings {
    StreamSettings { on_switch, finish_within: Duration::from_secs(3600), ..StreamSettings::default() }
}

impl Rig {
    async fn new(streams: StreamSettings) -> Rig {
        Rig::with(streams, ProxySettings::default(), |listener| listener).await
    }

    async fn with(
        streams: StreamSettings,
        settings: ProxySettings,
        listener: impl FnOnce(Listener) -> Listener,
    ) -> Rig {
        let (a, b) = (Server::start("a", "127.0.0.1:0").await, Server::start("b", "[::1]:0").await);
        let servers = Sides { a: vec![a.address.to_string()], b: vec![b.address.to_string()] };
        Rig::of(a, b, servers, streams, settings, listener)
    }

    fn of(
        a: Server,
        b: Server,
        servers: Sides<Vec<String>>,
        streams: StreamSettings,
        settings: ProxySettings,
        listener: impl FnOnce(Listener) -> Listener,
    ) -> Rig {
        let events = Arc::<Mutex<Vec<ProxyEvent>>>::default();
        let told = Arc::clone(&events);
        let pair = PairProxy::new("pair", servers, settings, move |event| told.lock().unwrap().push(event));
        let listener = listener(Listener::bind("[::1]:0".parse().unwrap(), ListenSettings::default()).unwrap());
        let (at, (closing, closed)) = (listener.address(), watch::channel(false));
        tokio::spawn(listener.pass_streams(Arc::clone(&pair), pair.pool("").unwrap(), streams, closed));
        pair.serve_until(At(u64::MAX));
        Rig { a, b, pair, at, events, _closing: closing }
    }

    fn route(&self, epoch: u64, kind: RouteKind) {
        self.pair.set_route(Route { epoch: Epoch(epoch), kind });
    }

    fn serve(&self, side: Side, epoch: u64) {
        self.route(epoch, RouteKind::Serve(side));
    }

    fn hold(&self, epoch: u64) {
        self.route(epoch, RouteKind::Hold);
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.at).await.unwrap())
    }

    /// One that has been greeted by its server, of this name.
    async fn greeted_by(&self, name: &str) -> Client {
        let mut client = self.connect().await;
        client.hears(name).await;
        client
    }

    /// Whether no stream is left at a side.
    fn is_left(&self, side: Side) -> bool {
        let server = if side == Side::A { &self.a } else { &self.b };
        server.open() == 0 && self.pair.streams_at(side) == 0
    }
}

struct Client(TcpStream);

impl Client {
    async fn says(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn hears(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut heard)).await.expect("it is told in time");
        assert!(read.is_ok(), "{read:?} instead of {text}");
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    /// All until the end, and how it ends.
    async fn rest(&mut self) -> (String, End) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("it ends in time");
        let end = match read {
            Ok(_) => End::Fin,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("{error}"),
        };
        (String::from_utf8_lossy(&rest).into_owned(), end)
    }

    async fn ends_with(&mut self, text: &str, end: End) {
        assert_eq!(self.rest().await, (text.to_owned(), end));
    }
}
