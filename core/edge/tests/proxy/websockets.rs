//! What becomes of a WebSocket whose side loses the role: the listener's word, and what both ends are told. A cut always wins.

use super::rig::{PATIENCE, eventually};
use lockstep_edge::config::OnSwitch;
use lockstep_edge::proxy::{ListenSettings, Listener, PairProxy, Pool, ProxySettings, SessionSettings};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::action::Share;
use lockstep_policy::{At, Epoch, Side, Sides};
use lockstep_wire::clock;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const SERVICE_RESTART: u16 = 1012;
const GOING_AWAY: u16 = 1001;
const ASK: &str = "GET /socket HTTP/1.1\r\nHost: pair\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// How a connection ends, seen from one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

/// What comes over a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Text(String),
    Close(u16),
    End(End),
    /// The connection ended within a frame.
    Broken,
}

/// One end of a WebSocket, which reads every byte itself.
struct Socket {
    tcp: TcpStream,
    /// Clients mask what they say.
    masks: bool,
}

impl Socket {
    async fn says(&mut self, opcode: u8, payload: &[u8]) {
        let bytes = frame(opcode, payload, self.masks);
        self.tcp.write_all(&bytes).await.unwrap();
    }

    async fn text(&mut self, text: &str) {
        self.says(TEXT, text.as_bytes()).await;
    }

    async fn closes(&mut self, code: u16) {
        self.says(CLOSE, &code.to_be_bytes()).await;
    }

    async fn hears(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.next()).await.expect("something comes in time")
    }

    async fn next(&mut self) -> Heard {
        let first = match self.tcp.read_u8().await {
            Ok(first) => first,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Heard::End(End::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Heard::End(End::Reset),
            Err(error) => panic!("{error}"),
        };
        match self.rest_of_frame(first).await {
            Ok(heard) => heard,
            Err(_) => Heard::Broken,
        }
    }

    async fn rest_of_frame(&mut self, first: u8) -> std::io::Result<Heard> {
        let second = self.tcp.read_u8().await?;
        assert_eq!(second & 0x80 != 0, !self.masks, "clients mask what they say, and nobody else does");
        let length = match second & 0x7f {
            126 => usize::from(self.tcp.read_u16().await?),
            127 => usize::try_from(self.tcp.read_u64().await?).unwrap(),
            length => usize::from(length),
        };
        let mut mask = [0; 4];
        if second & 0x80 != 0 {
            self.tcp.read_exact(&mut mask).await?;
        }
        let mut payload = vec![0; length];
        self.tcp.read_exact(&mut payload).await?;
        payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
        Ok(match first & 0x0f {
            CLOSE => Heard::Close(u16::from_be_bytes([payload[0], payload[1]])),
            TEXT => Heard::Text(String::from_utf8(payload).unwrap()),
            other => panic!("opcode {other}"),
        })
    }

    /// What comes until the end.
    async fn rest(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            all.push(self.hears().await);
            if matches!(all.last(), Some(Heard::End(_) | Heard::Broken)) {
                return all;
            }
        }
    }
}

fn frame(opcode: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = [7, 1, 0x80, 0xff];
    let flag = if masked { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | opcode];
    match u8::try_from(payload.len()) {
        Ok(short @ ..=125) => bytes.push(flag | short),
        _ => {
            bytes.push(flag | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend(mask);
    }
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| if masked { byte ^ mask[at % 4] } else { *byte }));
    bytes
}

/// A pair; side A's server takes WebSockets, and each test is that server.
struct Rig {
    server: TcpListener,
    pair: Arc<PairProxy>,
    at: SocketAddr,
    _closing: watch::Sender<bool>,
}

impl Rig {
    async fn new(on_switch: OnSwitch) -> Rig {
        Rig::with(on_switch, Duration::from_secs(3600), None).await
    }

    async fn with(on_switch: OnSwitch, finish_within: Duration, sessions: Option<SessionSettings>) -> Rig {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let servers = Sides { a: vec![server.local_addr().unwrap().to_string()], b: vec!["127.0.0.1:1".to_owned()] };
        let pools = vec![Pool { name: String::new(), servers }];
        let pair = PairProxy::with_pools("pair", pools, sessions, ProxySettings::default(), |_| ());
        let settings = ListenSettings { on_switch, finish_within, ..ListenSettings::default() };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), settings).unwrap();
        let (at, (closing, closed)) = (listener.address(), watch::channel(false));
        tokio::spawn(listener.serve(Arc::clone(&pair), closed));
        pair.serve_until(At(u64::MAX));
        Rig { server, pair, at, _closing: closing }
    }

    fn route(&self, epoch: u64, kind: RouteKind) {
        self.pair.set_route(Route { epoch: Epoch(epoch), kind });
    }

    /// Side A has the role in epoch 1, and a WebSocket.
    async fn open(&self) -> (Socket, Socket) {
        self.route(1, RouteKind::Serve(Side::A));
        self.connect().await
    }

    /// A client's end, and the server's.
    async fn connect(&self) -> (Socket, Socket) {
        let mut client = TcpStream::connect(self.at).await.unwrap();
        client.write_all(ASK.as_bytes()).await.unwrap();
        let (mut server, _) = self.server.accept().await.unwrap();
        head(&mut server).await;
        server.write_all(AGREED.as_bytes()).await.unwrap();
        let answer = head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        (Socket { tcp: client, masks: true }, Socket { tcp: server, masks: false })
    }

    async fn nothing_left(&self) {
        eventually("no connection to the side is left", || self.pair.totals().links == 0).await;
    }
}

/// Reads one head, and nothing behind it.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Bytes pass both ways.
async fn converse(client: &mut Socket, server: &mut Socket) {
    client.text("hello").await;
    assert_eq!(server.hears().await, Heard::Text("hello".to_owned()));
    let long = "w".repeat(70_000);
    server.text(&long).await;
    assert_eq!(client.hears().await, Heard::Text(long));
}

const CLOSED_IN_ORDER: [Heard; 2] = [Heard::Close(SERVICE_RESTART), Heard::End(End::Fin)];

#[tokio::test]
async fn close_tells_both_ends_why_and_ends_them_in_order() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    converse(&mut client, &mut server).await;
    rig.route(2, RouteKind::Hold);
    rig.pair.drained(Side::A).await;
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
    // What it says before it answers still reaches the server, and its answer does not.
    client.text("one more thing").await;
    client.closes(SERVICE_RESTART).await;
    assert_eq!(server.hears().await, Heard::Text("one more thing".to_owned()));
    assert_eq!(server.hears().await, Heard::Close(GOING_AWAY));
    // What the server says behind the client's Close is for nobody.
    server.text("what nobody hears").await;
    server.closes(GOING_AWAY).await;
    assert_eq!(server.rest().await, [Heard::End(End::Fin)]);
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn a_close_stands_between_two_frames() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    let long = "w".repeat(300_000);
    let bytes = frame(TEXT, long.as_bytes(), false);
    let (first, rest) = bytes.split_at(200_001);
    server.tcp.write_all(first).await.unwrap();
    let mut heard = vec![0; 100_000];
    client.tcp.read_exact(&mut heard).await.unwrap();
    rig.route(2, RouteKind::Hold);
    client.text("still there").await;
    assert_eq!(server.hears().await, Heard::Text("still there".to_owned()));
    server.tcp.write_all(&[rest, &frame(TEXT, b"too late", false)].concat()).await.unwrap();
    let mut end = vec![0; bytes.len() - heard.len()];
    client.tcp.read_exact(&mut end).await.unwrap();
    assert!([heard, end].concat() == bytes, "the frame is whole");
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
    client.closes(SERVICE_RESTART).await;
    assert_eq!(server.hears().await, Heard::Close(GOING_AWAY));
    server.closes(GOING_AWAY).await;
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn a_frame_that_never_ends_is_not_waited_for_for_ever() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    let begun = &frame(TEXT, &[b'w'; 100], false)[..50];
    server.tcp.write_all(begun).await.unwrap();
    let mut first = [0; 1];
    client.tcp.read_exact(&mut first).await.unwrap();
    rig.route(2, RouteKind::Hold);
    assert_eq!(server.hears().await, Heard::Close(GOING_AWAY), "the server is told all the same");
    let mut rest = Vec::new();
    client.tcp.read_to_end(&mut rest).await.unwrap();
    assert_eq!([&first[..], &rest].concat(), begun, "a Close within a frame would be a part of it");
    rig.nothing_left().await;
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for_for_ever() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    rig.route(2, RouteKind::Hold);
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
    assert_eq!(server.hears().await, Heard::Close(GOING_AWAY), "the client has not answered");
    // Nor does the server: nothing may reach it later.
    assert_eq!(server.rest().await, [Heard::End(End::Reset)]);
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

/// Its bytes stand in the sockets on the way, and no frame ends.
#[tokio::test]
async fn a_client_that_takes_nothing_keeps_nothing_open() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (client, server) = rig.open().await;
    let (_read, mut write) = server.tcp.into_split();
    let flood = tokio::spawn(async move {
        let bytes = frame(TEXT, &vec![b'w'; 1 << 20], false);
        while write.write_all(&bytes).await.is_ok() {}
    });
    // A whole second in which nothing more is taken: all buffers on the way are full.
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.route(2, RouteKind::Hold);
    rig.nothing_left().await;
    flood.await.unwrap();
    drop(client);
}

#[tokio::test]
async fn reset_ends_it_with_a_reset_on_both_sides() {
    let rig = Rig::new(OnSwitch::Reset).await;
    let (mut client, mut server) = rig.open().await;
    converse(&mut client, &mut server).await;
    rig.route(2, RouteKind::Hold);
    assert_eq!(client.rest().await, [Heard::End(End::Reset)]);
    assert_eq!(server.rest().await, [Heard::End(End::Reset)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn finish_lets_it_go_on_for_its_time_and_then_tells_it() {
    let within = Duration::from_secs(1);
    let rig = Rig::with(OnSwitch::Finish, within, None).await;
    let (mut client, mut server) = rig.open().await;
    let switched = Instant::now();
    rig.route(2, RouteKind::Hold);
    rig.pair.drained(Side::A).await;
    rig.route(2, RouteKind::Serve(Side::B));
    converse(&mut client, &mut server).await;
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
    assert!(switched.elapsed() >= within, "it was its time that ended it");
    client.closes(SERVICE_RESTART).await;
    assert_eq!(server.hears().await, Heard::Close(GOING_AWAY));
    server.closes(GOING_AWAY).await;
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn who_ends_by_himself_meanwhile_is_told_nothing_more() {
    let rig = Rig::new(OnSwitch::Finish).await;
    let (mut client, mut server) = rig.open().await;
    rig.route(2, RouteKind::Hold);
    server.closes(1000).await;
    assert_eq!(client.hears().await, Heard::Close(1000));
    client.closes(1000).await;
    assert_eq!(server.hears().await, Heard::Close(1000));
    drop(server);
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

/// The server has said its Close before the role is lost: there must not be a second one.
#[tokio::test]
async fn nobody_is_told_twice() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    server.closes(1000).await;
    assert_eq!(client.hears().await, Heard::Close(1000));
    rig.route(2, RouteKind::Hold);
    client.closes(1000).await;
    assert_eq!(server.hears().await, Heard::Close(1000), "its own answer, and not ours");
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn a_cut_wins_and_the_client_is_told_where_it_can_be() {
    for on_switch in [OnSwitch::Close, OnSwitch::Finish, OnSwitch::Reset] {
        let rig = Rig::new(on_switch).await;
        let (mut client, mut server) = rig.open().await;
        converse(&mut client, &mut server).await;
        // As when a lease is over: nothing but the cut says so.
        assert_eq!(rig.pair.cut(Side::A, Epoch(2)), 1);
        let told = match on_switch {
            OnSwitch::Reset => vec![Heard::End(End::Reset)],
            _ => CLOSED_IN_ORDER.to_vec(),
        };
        assert_eq!(client.rest().await, told, "{on_switch:?}");
        assert_eq!(server.rest().await, [Heard::End(End::Reset)], "nothing that is on its way may arrive later");
        rig.nothing_left().await;
        assert_eq!(rig.pair.take_traffic().a.resets, 0, "a cut of ours is no trouble of the side's");
    }
}

#[tokio::test]
async fn a_cut_within_a_frame_tells_nothing() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    let begun = &frame(TEXT, &[b'w'; 100], false)[..50];
    server.tcp.write_all(begun).await.unwrap();
    let mut first = vec![0; begun.len()];
    client.tcp.read_exact(&mut first).await.unwrap();
    rig.pair.cut(Side::A, Epoch(2));
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn a_cut_ends_what_is_being_closed() {
    let rig = Rig::new(OnSwitch::Close).await;
    let (mut client, mut server) = rig.open().await;
    rig.route(2, RouteKind::Hold);
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
    rig.pair.cut(Side::A, Epoch(2));
    assert_eq!(client.rest().await, [Heard::End(End::Fin)], "it is told once");
    assert!(matches!(server.rest().await[..], [Heard::End(End::Reset)]));
    rig.nothing_left().await;
}

#[tokio::test]
async fn a_session_that_is_moved_has_its_websocket_told() {
    let rig = Rig::with(OnSwitch::Close, Duration::ZERO, Some(SessionSettings::default())).await;
    let parts = |a, b, from| Share {
        parts: Sides { a, b },
        rules: Vec::new(),
        from,
        window: Duration::ZERO,
        warning: Duration::ZERO,
        reason: "as told".to_owned(),
        evidence: Vec::new(),
        order: 0,
    };
    rig.pair.share(clock::now(), 1, &parts(1, 0, None)).unwrap();
    let (mut client, mut server) = rig.connect().await;
    converse(&mut client, &mut server).await;
    rig.pair.share(clock::now(), 2, &parts(0, 1, Some(Side::A))).unwrap();
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
    client.closes(SERVICE_RESTART).await;
    assert_eq!(server.hears().await, Heard::Close(GOING_AWAY));
    server.closes(GOING_AWAY).await;
    assert_eq!(client.rest().await, [Heard::End(End::Fin)]);
    rig.nothing_left().await;
}

#[tokio::test]
async fn a_request_whose_change_of_protocol_is_refused_is_a_request_like_any_other() {
    let rig = Rig::new(OnSwitch::Close).await;
    rig.route(1, RouteKind::Serve(Side::A));
    let mut client = TcpStream::connect(rig.at).await.unwrap();
    client.write_all(ASK.as_bytes()).await.unwrap();
    let (mut server, _) = rig.server.accept().await.unwrap();
    for _ in 0..2 {
        head(&mut server).await;
        // What a WebSocket's frames would begin with is nothing here.
        server.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\n\x01\x7e\r\n").await.unwrap();
        let answer = head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        let mut body = [0; 4];
        client.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"\x01\x7e\r\n");
        client.write_all(ASK.as_bytes()).await.unwrap();
    }
}

/// Bytes that come with the request are frames as soon as the server has agreed.
#[tokio::test]
async fn what_a_client_says_before_the_server_agrees_is_kept_for_it() {
    let rig = Rig::new(OnSwitch::Close).await;
    rig.route(1, RouteKind::Serve(Side::A));
    let mut client = TcpStream::connect(rig.at).await.unwrap();
    client.write_all(&[ASK.as_bytes(), &frame(TEXT, b"too early", true)].concat()).await.unwrap();
    let (mut server, _) = rig.server.accept().await.unwrap();
    head(&mut server).await;
    server.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await.unwrap();
    server.write_all(&[AGREED.as_bytes(), &frame(TEXT, b"at once", false)].concat()).await.unwrap();
    let mut server = Socket { tcp: server, masks: false };
    assert_eq!(server.hears().await, Heard::Text("too early".to_owned()));
    while !head(&mut client).await.starts_with("HTTP/1.1 101 ") {}
    let mut client = Socket { tcp: client, masks: true };
    assert_eq!(client.hears().await, Heard::Text("at once".to_owned()));
    rig.route(2, RouteKind::Hold);
    assert_eq!(client.hears().await, Heard::Close(SERVICE_RESTART));
}

/// In the middle of whatever they say: each client hears whole frames, then why, then the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_talk_all_the_time_hear_whole_frames_and_then_why() {
    let rig = Rig::new(OnSwitch::Close).await;
    rig.route(1, RouteKind::Serve(Side::A));
    let spoken = Arc::<AtomicUsize>::default();
    let frames: Arc<Vec<_>> = Arc::new((0..40).map(|n| frame(TEXT, &vec![b'w'; n * n * 7], false)).collect());
    let mut ends = Vec::new();
    for _ in 0..10 {
        ends.push(rig.connect().await);
    }
    let mut clients = tokio::task::JoinSet::new();
    for (mut client, server) in ends {
        let (frames, spoken) = (Arc::clone(&frames), Arc::clone(&spoken));
        tokio::spawn(async move {
            let Socket { mut tcp, .. } = server;
            // Some are always on their way, and never more than a busy machine can carry in time.
            for some in frames.chunks(4).cycle() {
                let answers = some.len() * frame(TEXT, b"go on", true).len();
                if tcp.write_all(&some.concat()).await.is_err() || tcp.read_exact(&mut vec![0; answers]).await.is_err()
                {
                    return;
                }
            }
        });
        clients.spawn(async move {
            loop {
                match client.hears().await {
                    Heard::Text(text) => {
                        assert!(text.bytes().all(|byte| byte == b'w'));
                        spoken.fetch_add(1, SeqCst);
                        client.text("go on").await;
                    }
                    Heard::Close(code) => {
                        client.closes(code).await;
                        return (code, client.rest().await);
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    eventually("all talk", || spoken.load(SeqCst) > 500).await;
    rig.route(2, RouteKind::Hold);
    while let Some(ended) = clients.join_next().await {
        assert_eq!(ended.unwrap(), (SERVICE_RESTART, vec![Heard::End(End::Fin)]));
    }
    rig.nothing_left().await;
}

/// A server whose consent is there as soon as it was asked, and many that ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quick_consent_is_no_end() {
    let rig = Rig::new(OnSwitch::Close).await;
    rig.route(1, RouteKind::Serve(Side::A));
    let server = rig.server;
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = server.accept().await.unwrap();
            tokio::spawn(async move {
                head(&mut socket).await;
                socket.write_all(&[AGREED.as_bytes(), &frame(TEXT, b"at once", false)].concat()).await.unwrap();
                let mut socket = Socket { tcp: socket, masks: false };
                while let Heard::Text(text) = socket.next().await {
                    socket.text(&text).await;
                }
            });
        }
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let at = rig.at;
        clients.spawn(async move {
            for _ in 0..20 {
                let mut tcp = TcpStream::connect(at).await.unwrap();
                tcp.write_all(ASK.as_bytes()).await.unwrap();
                head(&mut tcp).await;
                let mut client = Socket { tcp, masks: true };
                assert_eq!(client.hears().await, Heard::Text("at once".to_owned()));
                client.text("and more").await;
                assert_eq!(client.hears().await, Heard::Text("and more".to_owned()));
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}
