//! The agent's end of the connections to edges: a gRPC server that checks who comes, and passes on what they say.

mod connection;
mod gate;
mod renewal;

pub(crate) use gate::Gate;

use crate::checkup::Checkup;
use crate::config::Config;
use connection::Caller;
use lockstep_pair::protocol::{Session, Terms};
use lockstep_policy::Side;
use lockstep_wire::proto::agent_server::{Agent, AgentServer};
use lockstep_wire::proto::{self, AgentFrame, EdgeFrame};
use lockstep_wire::{FRAME_MAX, Finding, FromAgent, FromEdge, Hello, MINOR, PROTOCOL, Ping, Pong, Welcome};
use renewal::Renewal;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// An edge that has connected says hello within this.
const HELLO: Duration = Duration::from_secs(5);
/// A connection on which nothing is heard is asked, and given up when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Frames that may wait for a slow edge: more, and its link is broken.
const QUEUE: usize = 256;
/// Pings of services that one link may wait for.
const PINGS: usize = 64;
/// Calls on one connection: an edge needs one on each.
const CALLS: u32 = 8;

/// What the links tell the keeper.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// An edge has said hello, and it was right.
    Hello {
        edge: String,
        terms: Terms,
        /// Where frames for it go; closed when it is replaced.
        out: mpsc::Sender<Result<AgentFrame, Status>>,
        /// The link's number, or why it may not be.
        admitted: oneshot::Sender<Result<u64, String>>,
    },
    /// The edge of link `link` has said this.
    Said { link: u64, message: FromEdge },
    /// The link has ended.
    Ended { link: u64 },
}

/// Serves edges until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let gate = door.gate.clone();
    if let (Some(gate), Some(renewal)) = (&gate, &door.renewal) {
        gate.keep();
        tokio::spawn(renewal.clone().run());
    }
    let service = AgentServer::new(door).max_decoding_message_size(FRAME_MAX).max_encoding_message_size(FRAME_MAX);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE * 2))
        .max_concurrent_streams(CALLS)
        .add_service(service)
        .serve_with_incoming_shutdown(connection::accept(listener, gate), shutdown)
        .await
}

/// Where edges come in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pair: String,
    side: Side,
    session: Session,
    release: watch::Receiver<String>,
    checkup: Arc<Checkup>,
    arrivals: mpsc::Sender<Arrival>,
    /// None: whoever comes is let in.
    gate: Option<Gate>,
    renewal: Option<Renewal>,
}

impl Door {
    pub(crate) fn new(
        config: &Config,
        session: Session,
        release: watch::Receiver<String>,
        checkup: Checkup,
        arrivals: mpsc::Sender<Arrival>,
        gate: Option<Gate>,
    ) -> Door {
        let (pair, side, checkup) = (config.pair.clone(), config.side, Arc::new(checkup));
        let renewal = gate.as_ref().map(|gate| Renewal::new(gate.trust.clone()));
        Door { pair, side, session, release, checkup, arrivals, gate, renewal }
    }

    fn check(&self, hello: &Hello, caller: Option<&Caller>) -> Result<(), Status> {
        match caller {
            Some(Caller(Some(peer))) => gate::is_named(peer, &hello.edge).map_err(|why| {
                tracing::warn!(peer = %peer.address, why, "an edge is refused");
                Status::failed_precondition(why)
            })?,
            // What was let in without a proof is let in because nobody asks for one.
            _ if self.gate.is_none() => {}
            _ => return Err(Status::failed_precondition("nobody has proven who this connection's edge is")),
        }
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "edge `{}` speaks protocol {}, this agent {PROTOCOL}: install the same lockstep on both",
                hello.edge, hello.protocol
            )));
        }
        if hello.pair != self.pair || hello.side != self.side {
            return Err(Status::failed_precondition(format!(
                "edge `{}` looks for pair `{}`, side {}; this agent serves pair `{}`, side {}: correct `agent` in the \
                 edge's configuration, or `pair` and `side` in the agent's",
                hello.edge, hello.pair, hello.side, self.pair, self.side
            )));
        }
        let Terms { ttl, renew, stop_max } = hello.terms;
        if ttl.is_zero() || renew.is_zero() || renew >= ttl || stop_max.is_zero() {
            return Err(Status::invalid_argument(format!(
                "edge `{}` names terms that cannot be kept: ttl {ttl:?}, renew {renew:?}, stop_max {stop_max:?}",
                hello.edge
            )));
        }
        Ok(())
    }

    fn welcome(&self) -> AgentFrame {
        FromAgent::Welcome(Welcome {
            protocol: PROTOCOL,
            pair: self.pair.clone(),
            side: self.side,
            session: self.session,
            release: self.release.borrow().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            minor: MINOR,
        })
        .into()
    }

    async fn pass(&self, arrival: Arrival) -> Result<(), Status> {
        self.arrivals.send(arrival).await.map_err(|_| Status::unavailable("the agent is ending"))
    }
}

type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Door {
    type MainStream = Frames<AgentFrame>;
    type AuxiliaryStream = Frames<proto::Pong>;

    async fn main(&self, request: Request<Streaming<EdgeFrame>>) -> Result<Response<Self::MainStream>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let mut frames = request.into_inner();
        let first = timeout(HELLO, frames.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello"))??;
        let Some(Ok(FromEdge::Hello(hello))) = first.map(FromEdge::try_from) else {
            return Err(Status::invalid_argument("the first frame is no hello"));
        };
        self.check(&hello, caller.as_ref())?;
        let (out, queue) = mpsc::channel(QUEUE);
        // Its first frame is the welcome, whatever the keeper sends next.
        out.try_send(Ok(self.welcome())).map_err(|_| Status::internal("the queue is full"))?;
        let (admitted, answer) = oneshot::channel();
        // What ends the link is that the keeper drops it.
        let (pongs, minor) = (out.downgrade(), hello.minor);
        self.pass(Arrival::Hello { edge: hello.edge, terms: hello.terms, out, admitted }).await?;
        let link = answer.await.map_err(|_| Status::unavailable("the agent is ending"))?;
        let link = link.map_err(Status::already_exists)?;
        if let Some(renewal) = &self.renewal {
            renewal.linked(pongs.clone(), minor);
        }
        let pinged = Pinged { checkup: Arc::clone(&self.checkup), places: Arc::new(Semaphore::new(PINGS)) };
        tokio::spawn(listen(frames, link, pinged, pongs, self.arrivals.clone(), self.renewal.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn auxiliary(
        &self,
        request: Request<Streaming<proto::Ping>>,
    ) -> Result<Response<Self::AuxiliaryStream>, Status> {
        let mut pings = request.into_inner();
        let (out, pongs) = mpsc::channel(QUEUE);
        let pinged = Pinged { checkup: Arc::clone(&self.checkup), places: Arc::new(Semaphore::new(PINGS)) };
        tokio::spawn(async move {
            while let Ok(Some(ping)) = pings.message().await {
                let out = out.clone();
                // One that finds no room is of an edge that does not read.
                pinged.answer(ping.into(), move |pong| drop(out.try_send(Ok(pong.into()))));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(pongs))))
    }
}

/// Answers one link's pings. Looking at a service takes time: each is looked at in a task of its own.
#[derive(Debug)]
struct Pinged {
    checkup: Arc<Checkup>,
    places: Arc<Semaphore>,
}

impl Pinged {
    fn answer(&self, ping: Ping, send: impl FnOnce(Pong) + Send + 'static) {
        let Ping { number, service } = ping;
        if service.is_empty() {
            return send(Pong { number, finding: Some(Finding::Well { pid: std::process::id() }) });
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let why = format!("{PINGS} pings wait for their answers already");
            return send(Pong { number, finding: Some(Finding::NotWell { pid: 0, why }) });
        };
        let checkup = Arc::clone(&self.checkup);
        tokio::spawn(async move {
            let finding = Some(checkup.look(&service).await);
            drop(place);
            send(Pong { number, finding });
        });
    }
}

/// Passes on what one edge says, until it says nothing more, or something that cannot be understood. Pings of services
/// are answered here: the keeper waits for nothing.
async fn listen(
    mut frames: Streaming<EdgeFrame>,
    link: u64,
    pinged: Pinged,
    pongs: mpsc::WeakSender<Result<AgentFrame, Status>>,
    arrivals: mpsc::Sender<Arrival>,
    renewal: Option<Renewal>,
) {
    while let Ok(Some(frame)) = frames.message().await {
        if frame.kind.is_none() {
            // A kind that this agent does not know: the edge is newer.
            continue;
        }
        match FromEdge::try_from(frame) {
            Ok(FromEdge::Ping(ping)) if !ping.service.is_empty() => {
                let pongs = pongs.clone();
                pinged.answer(ping, move |pong| {
                    if let Some(out) = pongs.upgrade() {
                        let _ = out.try_send(Ok(FromAgent::Pong(pong).into()));
                    }
                });
            }
            Ok(FromEdge::CertificateIssued { id, outcome }) => {
                if let Some(renewal) = &renewal {
                    renewal.answered(id, outcome);
                }
            }
            Ok(message) => {
                if arrivals.send(Arrival::Said { link, message }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(link, %error, "an edge sends what cannot be understood");
                break;
            }
        }
    }
    let _ = arrivals.send(Arrival::Ended { link }).await;
}
