//! A node: the real state machine behind the real protocol. Its services start and stop at once.

use lockstep_pair::Node;
use lockstep_pair::node::{Condition, Input, Output, Stored};
use lockstep_pair::protocol::Session;
use lockstep_policy::event::{Outcome, Service, ServiceState};
use lockstep_policy::{Side, Sides};
use lockstep_wire::proto::agent_server::{Agent, AgentServer};
use lockstep_wire::proto::{AgentFrame, EdgeFrame, Ping, Pong};
use lockstep_wire::{FromAgent, FromEdge, PROTOCOL, Welcome, clock};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// A node and its server. Dropped, both are gone, as after a power cut.
pub struct Running {
    pub server: SocketAddr,
    pub agent: SocketAddr,
    /// Whether its exclusive services run.
    pub active: Arc<AtomicBool>,
    /// How often a service was restarted by order.
    pub restarts: Arc<AtomicU32>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Both nodes of a pair.
pub async fn both(pair: &str) -> Sides<Running> {
    Sides { a: start(pair, Side::A).await, b: start(pair, Side::B).await }
}

async fn start(pair: &str, side: Side) -> Running {
    let (active, restarts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (arrivals, inbox) = mpsc::channel(1024);
    let life = Life { active: Arc::clone(&active), restarts: Arc::clone(&restarts), out: None };
    let machine = tokio::spawn(life.live(inbox));
    let listener = TcpListener::bind(crate::place::free()).await.unwrap();
    let agent = listener.local_addr().unwrap();
    let door = AgentServer::new(Door { pair: pair.to_owned(), side, arrivals });
    let serving = tonic::transport::Server::builder().add_service(door);
    let serving = serving.serve_with_incoming(TcpListenerStream::new(listener));
    let links = tokio::spawn(async move { serving.await.unwrap() });
    let listener = TcpListener::bind(crate::place::free()).await.unwrap();
    let server = listener.local_addr().unwrap();
    let application = tokio::spawn(serve(listener, side));
    Running { server, agent, active, restarts, tasks: vec![machine, links, application] }
}

/// The application: answers any request with its side.
async fn serve(listener: TcpListener, side: Side) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut head = [0; 4096];
            while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{side}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

type Out = mpsc::Sender<Result<AgentFrame, Status>>;

enum Arrival {
    Edge(Out, Input),
    Said(FromEdge),
}

struct Life {
    active: Arc<AtomicBool>,
    restarts: Arc<AtomicU32>,
    out: Option<Out>,
}

impl Life {
    async fn live(mut self, mut inbox: mpsc::Receiver<Arrival>) {
        let mut node = Node::new(Session(fastrand::u64(..)), Stored::default(), clock::now());
        node.handle(clock::now(), Input::Condition(self.condition()));
        loop {
            while let Some(output) = node.poll() {
                for input in self.carry_out(output).await {
                    node.handle(clock::now(), input);
                }
            }
            let now = clock::now();
            let wait = node.deadline().map_or(std::time::Duration::from_secs(1), |at| at.since(now));
            tokio::select! {
                arrived = inbox.recv() => match arrived {
                    None => return,
                    Some(Arrival::Edge(out, terms)) => {
                        self.out = Some(out);
                        node.handle(clock::now(), terms);
                    }
                    Some(Arrival::Said(FromEdge::Command(message))) => {
                        node.handle(clock::now(), Input::Message(message));
                    }
                    Some(Arrival::Said(FromEdge::RestartService { id, .. })) => {
                        self.restarts.fetch_add(1, Ordering::SeqCst);
                        self.send(FromAgent::ServiceRestarted { id, outcome: Outcome::Done, why: String::new() }).await;
                    }
                    // It waits at one gate, for ever.
                    Some(Arrival::Said(FromEdge::ConfirmGate { id, gate, by })) => {
                        let waits = gate == "promoted" && !by.is_empty();
                        let outcome = if waits { Outcome::Done } else { Outcome::Refused };
                        let why = if waits { String::new() } else { format!("the start does not wait at `{gate}`") };
                        self.send(FromAgent::GateConfirmed { id, outcome, why }).await;
                    }
                    Some(Arrival::Said(_)) => {}
                },
                () = tokio::time::sleep(wait) => node.handle(clock::now(), Input::Tick),
            }
        }
    }

    async fn carry_out(&mut self, output: Output) -> Vec<Input> {
        match output {
            Output::Store { ticket, .. } => return vec![Input::Stored(ticket)],
            Output::Deadman(_) => {}
            Output::Start(run) => {
                self.active.store(true, Ordering::SeqCst);
                return vec![Input::Condition(self.condition()), Input::Started(run)];
            }
            Output::Stop { run, .. } => {
                self.active.store(false, Ordering::SeqCst);
                return vec![Input::Condition(self.condition()), Input::Stopped(run)];
            }
            Output::Send(message) => self.send(FromAgent::Node(message)).await,
        }
        Vec::new()
    }

    async fn send(&self, message: FromAgent) {
        if let Some(out) = &self.out {
            let _ = out.send(Ok(message.into())).await;
        }
    }

    fn condition(&self) -> Condition {
        let running = self.active.load(Ordering::SeqCst);
        let state = if running { ServiceState::Running } else { ServiceState::Stopped };
        let cti = Service { name: "cti".into(), exclusive: true, state, pid: 0, restarts: 0 };
        Condition { fit: true, ready: running, running, services: vec![cti], ..Condition::default() }
    }
}

struct Door {
    pair: String,
    side: Side,
    arrivals: mpsc::Sender<Arrival>,
}

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Door {
    type MainStream = Frames<AgentFrame>;
    type AuxiliaryStream = Frames<Pong>;

    async fn main(&self, request: Request<Streaming<EdgeFrame>>) -> Result<Response<Self::MainStream>, Status> {
        let mut frames = request.into_inner();
        let FromEdge::Hello(hello) = FromEdge::try_from(frames.message().await?.unwrap()).unwrap() else {
            return Err(Status::invalid_argument("hello comes first"));
        };
        let welcome = FromAgent::Welcome(Welcome {
            protocol: PROTOCOL,
            pair: self.pair.clone(),
            side: self.side,
            session: Session(1),
            release: String::new(),
            version: "test".into(),
            minor: lockstep_wire::MINOR,
        });
        let (out, stream) = mpsc::channel(1024);
        out.send(Ok(welcome.into())).await.unwrap();
        let arrivals = self.arrivals.clone();
        tokio::spawn(async move {
            let _ = arrivals.send(Arrival::Edge(out, Input::Terms(hello.terms))).await;
            while let Ok(Some(frame)) = frames.message().await {
                let _ = arrivals.send(Arrival::Said(frame.try_into().unwrap())).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn auxiliary(&self, request: Request<Streaming<Ping>>) -> Result<Response<Self::AuxiliaryStream>, Status> {
        let pongs = request.into_inner().map(|ping| ping.map(|ping| Pong { number: ping.number, ..Pong::default() }));
        Ok(Response::new(Box::pin(pongs)))
    }
}
