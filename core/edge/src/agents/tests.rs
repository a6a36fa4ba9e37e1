//! The links against a stub of an agent: real sockets, the real protocol, and no node behind it.

use super::*;
use crate::probe::{AgentPing, PingError};
use lockstep_pair::protocol::{FromNode, Report, Session, Stamp};
use lockstep_policy::event::{Connection, Lan, Replication, Role};
use lockstep_policy::{At, Epoch};
use lockstep_wire::proto::agent_server::{Agent, AgentServer};
use lockstep_wire::proto::{AgentFrame, EdgeFrame, Ping, Pong};
use lockstep_wire::{Commands, Finding, FromEdge, MINOR, PROTOCOL, Welcome};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// What is not there by then never comes; far beyond what a busy machine needs.
const PATIENT: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Stub(Arc<Inside>);

struct Inside {
    pair: String,
    /// Sends the welcome only.
    mute: AtomicBool,
    /// Answers pings.
    answers: AtomicBool,
    /// What its welcome says of what it understands; 0: an agent of before pings could name a service.
    minor: AtomicU32,
    /// The edge speaks no more.
    ended: AtomicBool,
    hellos: AtomicUsize,
    /// The sending half of the present main call.
    out: Mutex<Option<mpsc::Sender<Result<AgentFrame, Status>>>>,
    /// What the edge said after its hello.
    heard: Mutex<Vec<FromEdge>>,
}

impl Inside {
    /// `cti` is well, as process 7; `hung` is not. An old agent knows the number only.
    fn pong(&self, ping: Ping) -> Pong {
        if self.minor.load(Ordering::SeqCst) == 0 {
            return Pong { number: ping.number, ..Pong::default() };
        }
        let finding = match ping.service.as_str() {
            "" | "cti" => Finding::Well { pid: 7 },
            "hung" => Finding::NotWell { pid: 8, why: "no answer in 1s".into() },
            _ => Finding::UnknownService,
        };
        lockstep_wire::Pong { number: ping.number, finding: Some(finding) }.into()
    }
}

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Stub {
    type MainStream = Frames<AgentFrame>;
    type AuxiliaryStream = Frames<Pong>;

    async fn main(&self, request: Request<Streaming<EdgeFrame>>) -> Result<Response<Self::MainStream>, Status> {
        let inside = Arc::clone(&self.0);
        let mut frames = request.into_inner();
        let hello = FromEdge::try_from(frames.message().await?.unwrap()).unwrap();
        let FromEdge::Hello(hello) = hello else { panic!("the first frame must be a hello: {hello:?}") };
        assert_eq!((hello.protocol, hello.edge.as_str()), (PROTOCOL, "edge-1"));
        let count = inside.hellos.fetch_add(1, Ordering::SeqCst) as u64;
        let welcome = FromAgent::Welcome(Welcome {
            protocol: PROTOCOL,
            pair: inside.pair.clone(),
            side: hello.side,
            session: Session(count),
            release: String::new(),
            version: "stub".into(),
            minor: inside.minor.load(Ordering::SeqCst),
        });
        let (out, stream) = mpsc::channel(1024);
        out.send(Ok(welcome.into())).await.unwrap();
        *inside.out.lock().unwrap() = Some(out.clone());
        let ponging = out.clone();
        let reporting = Arc::clone(&inside);
        let renew = hello.terms.renew;
        tokio::spawn(async move {
            for number in 0.. {
                tokio::time::sleep(renew).await;
                let mute = reporting.mute.load(Ordering::SeqCst);
                if !mute && out.send(Ok(report(number).into())).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let said = frame.try_into().unwrap();
                if let FromEdge::Ping(ping) = &said
                    && inside.answers.load(Ordering::SeqCst)
                    && inside.minor.load(Ordering::SeqCst) > 0
                {
                    let pong = inside.pong(ping.clone().into()).try_into().unwrap();
                    let _ = ponging.send(Ok(FromAgent::Pong(pong).into())).await;
                }
                inside.heard.lock().unwrap().push(said);
            }
            inside.ended.store(true, Ordering::SeqCst);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn auxiliary(&self, request: Request<Streaming<Ping>>) -> Result<Response<Self::AuxiliaryStream>, Status> {
        let inside = Arc::clone(&self.0);
        let pongs = request.into_inner().filter_map(move |ping| {
            let answers = inside.answers.load(Ordering::SeqCst);
            answers.then(|| ping.map(|ping| inside.pong(ping)))
        });
        Ok(Response::new(Box::pin(pongs)))
    }
}

fn report(number: u64) -> FromAgent {
    FromAgent::Node(FromNode::Report(Report {
        stamp: Stamp { session: Session(0), at: At(number) },
        epoch: Epoch(0),
        role: Role::Standby,
        serving: false,
        fit: true,
        running: false,
        lease_left: Duration::ZERO,
        services: Vec::new(),
        release: String::new(),
        replication: Replication::Unknown,
        replication_detail: String::new(),
        lan: Lan::Unknown,
        waiting: String::new(),
        unbound: Vec::new(),
    }))
}

/// A stub on a port, and the edge's links to it.
struct Bench {
    stub: Stub,
    events: mpsc::UnboundedReceiver<LinkEvent>,
    pings: AgentPings,
    _links: Links,
}

fn stub(pair: &str) -> Stub {
    Stub(Arc::new(Inside {
        pair: pair.into(),
        mute: AtomicBool::new(false),
        answers: AtomicBool::new(true),
        minor: AtomicU32::new(MINOR),
        ended: AtomicBool::new(false),
        hellos: AtomicUsize::new(0),
        out: Mutex::default(),
        heard: Mutex::default(),
    }))
}

fn serve(stub: &Stub, listener: TcpListener) -> JoinHandle<()> {
    let server = tonic::transport::Server::builder().add_service(AgentServer::new(stub.clone()));
    let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { serving.await.unwrap() })
}

fn link(address: SocketAddr, pings: AgentPings) -> (Links, mpsc::UnboundedReceiver<LinkEvent>) {
    let (told, events) = mpsc::unbounded_channel();
    let deliver: Deliver = Arc::new(move |side, event| {
        assert_eq!(side, Side::B);
        let told = told.clone();
        Box::pin(async move { told.send(event).is_ok() })
    });
    let ms = Duration::from_millis;
    // A silence of 300 ms ends a connection.
    let terms = Terms { ttl: ms(200), renew: ms(100), stop_max: ms(100) };
    let agent = AgentOf { address, pair: "phones".into(), side: Side::B, edge: "edge-1".into(), terms, trust: None };
    (Links::spawn(agent, pings, deliver), events)
}

async fn bench(pair: &str) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stub = stub(pair);
    serve(&stub, listener);
    let pings = AgentPings::default();
    let (links, events) = link(address, pings.clone());
    Bench { stub, events, pings, _links: links }
}

/// The first event of a kind.
async fn next<T>(events: &mut mpsc::UnboundedReceiver<LinkEvent>, pick: impl Fn(LinkEvent) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = pick(events.recv().await.expect("the links have ended")) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENT, search).await.expect("it never came")
}

fn up(event: LinkEvent) -> Option<Commands> {
    match event {
        LinkEvent::Up { way: Way::Agent(commands), .. } => Some(commands),
        _ => None,
    }
}

fn down(event: LinkEvent) -> Option<String> {
    match event {
        LinkEvent::Down(why) => Some(why),
        _ => None,
    }
}

#[tokio::test]
async fn messages_come_in_their_order_and_commands_arrive_in_theirs() {
    let mut bench = bench("phones").await;
    let commands = next(&mut bench.events, up).await;
    for id in 1..=50 {
        commands.send(FromEdge::RestartService { id, name: "cti".into() }).unwrap();
        while bench.stub.0.heard.lock().unwrap().len() < usize::try_from(id).unwrap() / 32 * 32 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut stamps = Vec::new();
    while stamps.len() < 5 {
        let stamp = |event| match event {
            LinkEvent::Message(FromAgent::Node(FromNode::Report(report))) => Some(report.stamp.at.0),
            _ => None,
        };
        stamps.push(next(&mut bench.events, stamp).await);
    }
    assert!(stamps.is_sorted(), "{stamps:?}");
    let deadline = tokio::time::Instant::now() + PATIENT;
    while bench.stub.0.heard.lock().unwrap().len() < 50 {
        assert!(tokio::time::Instant::now() < deadline, "a command never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ids: Vec<u64> = bench
        .stub
        .0
        .heard
        .lock()
        .unwrap()
        .iter()
        .map(|heard| match heard {
            FromEdge::RestartService { id, .. } => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_link_that_falls_silent_is_given_up_and_made_anew() {
    let mut bench = bench("phones").await;
    next(&mut bench.events, up).await;
    bench.stub.0.mute.store(true, Ordering::SeqCst);
    let why = next(&mut bench.events, down).await;
    assert!(why.contains("has said nothing for 300ms"), "{why}");
    bench.stub.0.mute.store(false, Ordering::SeqCst);
    next(&mut bench.events, up).await;
}

#[tokio::test]
async fn a_call_that_the_agent_ends_is_made_anew() {
    let mut bench = bench("phones").await;
    next(&mut bench.events, up).await;
    let out = bench.stub.0.out.lock().unwrap().take().unwrap();
    out.send(Err(Status::aborted("a newer connection"))).await.unwrap();
    let why = next(&mut bench.events, down).await;
    assert!(why.contains("a newer connection"), "{why}");
    next(&mut bench.events, up).await;
    assert!(bench.stub.0.hellos.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn an_agent_of_a_foreign_pair_is_refused_with_the_remedy() {
    let mut bench = bench("mail").await;
    let refused = |event| match event {
        LinkEvent::Refused(why) => Some(why),
        LinkEvent::Up { .. } => panic!("it must not be spoken to"),
        _ => None,
    };
    let why = next(&mut bench.events, refused).await;
    assert!(why.contains("it speaks for side b of pair \"mail\""), "{why}");
    assert!(why.contains("pair.b.agent of pair \"phones\": correct that address"), "{why}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_looked_for_until_it_is() {
    // An address of loopback that no other process takes.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from(([127, 64 | high & 63, middle, low], 7401));
    let (_links, mut events) = link(address, AgentPings::default());
    let failed = |event| match event {
        LinkEvent::Failed(why) => Some(why),
        _ => None,
    };
    let why = next(&mut events, failed).await;
    assert!(why.contains(&address.to_string()) && why.contains("cannot be reached"), "{why}");
    let stub = stub("phones");
    serve(&stub, TcpListener::bind(address).await.unwrap());
    next(&mut events, up).await;
}

#[tokio::test]
async fn the_auxiliary_link_is_down_after_a_silence() {
    let mut bench = bench("phones").await;
    let auxiliary = |event| match event {
        LinkEvent::Auxiliary(state) => Some(state),
        _ => None,
    };
    assert_eq!(next(&mut bench.events, auxiliary).await, Ok(()));
    bench.stub.0.answers.store(false, Ordering::SeqCst);
    assert_eq!(next(&mut bench.events, auxiliary).await, Err("pings had no answer for 300ms".to_owned()));
    bench.stub.0.answers.store(true, Ordering::SeqCst);
    assert_eq!(next(&mut bench.events, auxiliary).await, Ok(()));
}

#[tokio::test]
async fn a_link_without_its_sending_half_is_seen_to_end_by_the_agent() {
    let mut bench = bench("phones").await;
    drop(next(&mut bench.events, up).await);
    let deadline = tokio::time::Instant::now() + PATIENT;
    while !bench.stub.0.ended.load(Ordering::SeqCst) {
        assert!(tokio::time::Instant::now() < deadline, "the agent still waits for commands");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl AgentPings {
    fn dscp(&self, side: Side) -> Option<u8> {
        self.room(side).auxiliary.as_ref()?.dscp().ok()
    }
}

impl Bench {
    async fn ping(&self, connection: Connection, service: &str) -> Result<Option<u32>, PingError> {
        self.pings.ping(Side::B, connection, service, PATIENT).await
    }

    /// Waits until both connections are up.
    async fn both_up(&mut self) -> Commands {
        let mut commands = None;
        let mut auxiliary = false;
        while commands.is_none() || !auxiliary {
            match next(&mut self.events, Some).await {
                LinkEvent::Up { way: Way::Agent(way), .. } => commands = Some(way),
                LinkEvent::Auxiliary(Ok(())) => auxiliary = true,
                _ => {}
            }
        }
        commands.unwrap()
    }
}

const BOTH: [Connection; 2] = [Connection::Main, Connection::Auxiliary];

#[tokio::test]
async fn a_ping_brings_back_what_the_agent_says_of_a_service() {
    let mut bench = bench("phones").await;
    let _commands = bench.both_up().await;
    for connection in BOTH {
        assert_eq!(bench.ping(connection, "").await, Ok(Some(7)));
        assert_eq!(bench.ping(connection, "cti").await, Ok(Some(7)));
        assert_eq!(bench.ping(connection, "hung").await, Err(PingError::NotWell("no answer in 1s".into())));
        assert!(
            matches!(bench.ping(connection, "none").await, Err(PingError::NotWell(why)) if why.contains("no service"))
        );
        let side_a = bench.pings.ping(Side::A, connection, "", PATIENT).await;
        assert_eq!(side_a, Err(PingError::NotConnected));
    }
}

#[tokio::test]
async fn an_agent_that_is_too_old_to_know_is_not_taken_for_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stub = stub("phones");
    stub.0.minor.store(0, Ordering::SeqCst);
    serve(&stub, listener);
    let pings = AgentPings::default();
    let (links, events) = link(address, pings.clone());
    let mut bench = Bench { stub, events, pings, _links: links };
    let _commands = bench.both_up().await;
    assert_eq!(bench.ping(Connection::Auxiliary, "").await, Ok(None));
    for connection in BOTH {
        let said = bench.ping(connection, "cti").await;
        assert!(matches!(&said, Err(PingError::NotWell(why)) if why.contains("too old")), "{said:?}");
    }
}

#[tokio::test]
async fn no_answer_in_time_is_silence_and_no_connection_is_said_at_once() {
    let mut bench = bench("phones").await;
    let commands = bench.both_up().await;
    bench.stub.0.answers.store(false, Ordering::SeqCst);
    let short = Duration::from_millis(20);
    assert_eq!(bench.pings.ping(Side::B, Connection::Main, "cti", short).await, Err(PingError::Silent));
    // One that breaks while it is waited for is silent too, and not for long.
    let waiting = bench.pings.ping(Side::B, Connection::Auxiliary, "cti", PATIENT);
    assert_eq!(waiting.await, Err(PingError::Silent));
    assert_eq!(bench.ping(Connection::Auxiliary, "cti").await, Err(PingError::NotConnected));
    drop(commands);
}

#[tokio::test]
async fn the_auxiliary_connections_packets_are_marked_and_marked_anew_after_a_break() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stub = stub("phones");
    let pings = AgentPings::default();
    serve(&stub, listener);
    let (_links, mut events) = link(address, pings.clone());
    pings.set_dscp(Side::B, 34);
    for _ in 0..2 {
        next(&mut events, |event| matches!(event, LinkEvent::Auxiliary(Ok(()))).then_some(())).await;
        assert_eq!(pings.dscp(Side::B), Some(34));
        stub.0.answers.store(false, Ordering::SeqCst);
        next(&mut events, |event| matches!(event, LinkEvent::Auxiliary(Err(_))).then_some(())).await;
        stub.0.answers.store(true, Ordering::SeqCst);
    }
    next(&mut events, |event| matches!(event, LinkEvent::Auxiliary(Ok(()))).then_some(())).await;
    pings.set_dscp(Side::B, 46);
    assert_eq!(pings.dscp(Side::B), Some(46));
}
