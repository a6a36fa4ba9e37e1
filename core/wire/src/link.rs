//! The edge's end of a connection to an agent.
//!
//! One [`Client`] is one TCP connection and carries one call: [`Client::main`] or [`Client::auxiliary`]. A link that breaks
//! is not mended here: the edge drops it, says so to its coordinator, and connects again.

use crate::dial::{Dial, End, Socket};
use crate::frame::{FrameError, FromAgent, FromEdge, Hello, Ping, Pong, Welcome};
use crate::proto::agent_client::AgentClient;
use crate::proto::{self, AgentFrame, EdgeFrame};
use crate::trust::{Peer, Trust, Wanted};
use crate::{FRAME_MAX, MINOR, PROTOCOL};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// Frames that may wait for a slow connection. More than that is a broken one: a lease renewed late is worth nothing.
const QUEUE: usize = 64;

/// Why a link could not be made, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The configured address cannot be one.
    #[error("`{address}` is no address of an agent: write host:port, as in 10.0.0.1:7401")]
    Address {
        /// As configured.
        address: String,
    },
    /// No TCP connection, or no HTTP/2 on it.
    #[error("the agent at {address} cannot be reached: {why}")]
    Unreachable {
        /// As configured.
        address: String,
        /// For a person to read.
        why: String,
    },
    /// The agent is there and did not answer.
    #[error("the agent at {address} accepted the connection and did not answer within {within:?}")]
    Silent {
        /// As configured.
        address: String,
        /// The bound.
        within: Duration,
    },
    /// The agent has refused this edge, and will again: another pair, another side, another protocol, another edge.
    #[error("the agent at {address} refuses this edge: {why}")]
    Refused {
        /// As configured.
        address: String,
        /// The agent's own sentence.
        why: String,
    },
    /// One of the two does not trust the other's certificate, and will not until somebody has changed something.
    #[error("agent at {address}: {why}")]
    Untrusted {
        /// As configured.
        address: String,
        /// Whose certificate, and why.
        why: String,
    },
    /// A newer connection of this edge has taken this one's place.
    #[error("replaced by a newer connection: {why}")]
    Replaced {
        /// The agent's own sentence.
        why: String,
    },
    /// The connection is gone.
    #[error("the connection to the agent has broken: {why}")]
    Broken {
        /// For a person to read.
        why: String,
    },
    /// The connection is so slow that its queue is full: it is as good as gone.
    #[error("the connection to the agent takes no more frames")]
    Stalled,
    /// The agent does not keep to the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// A connection to an agent, on which nothing was said yet.
#[derive(Debug)]
pub struct Client {
    agent: AgentClient<Channel>,
    address: String,
    within: Duration,
    socket: Socket,
    end: End,
}

impl Client {
    /// Connects to `address` (`host:port`) within `within`, without TLS: whoever is there is taken for the agent. The same
    /// bound then holds for the first answer, and a connection whose peer does not answer HTTP/2 pings for twice that long
    /// is given up.
    ///
    /// # Errors
    ///
    /// [`LinkError::Address`], [`LinkError::Unreachable`].
    pub async fn connect(address: &str, within: Duration) -> Result<Client, LinkError> {
        Client::dial(address, within, Dial::default()).await
    }

    /// The same with mutual TLS, to who is wanted there and nobody else.
    ///
    /// # Errors
    ///
    /// [`LinkError::Untrusted`] too.
    pub async fn connect_trusting(
        address: &str,
        within: Duration,
        trust: &Trust,
        wanted: Wanted,
    ) -> Result<Client, LinkError> {
        let dial = Dial { trust: Some((trust.clone(), wanted)), ..Dial::default() };
        Client::dial(address, within, dial).await
    }

    async fn dial(address: &str, within: Duration, dial: Dial) -> Result<Client, LinkError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| LinkError::Address { address: address.to_owned() })?
            .http2_keep_alive_interval(within)
            .keep_alive_timeout(within);
        let unreachable = |why: String| LinkError::Unreachable { address: address.to_owned(), why };
        let (socket, end, reached) = (dial.socket.clone(), dial.end.clone(), Arc::clone(&dial.reached));
        let late = || match reached.load(Ordering::Relaxed) {
            true => LinkError::Silent { address: address.to_owned(), within },
            false => unreachable(format!("no connection within {within:?}")),
        };
        let channel = timeout(within, endpoint.connect_with_connector(dial))
            .await
            .map_err(|_| late())?
            .map_err(|error| untrusted(address, &end).unwrap_or_else(|| unreachable(innermost(&error))))?;
        let agent = AgentClient::new(channel).max_decoding_message_size(FRAME_MAX).max_encoding_message_size(FRAME_MAX);
        Ok(Client { agent, address: address.to_owned(), within, socket, end })
    }

    /// Who is at the other end, as its certificate proves; none without TLS.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.end.peer()
    }

    /// Says hello and waits for the welcome. [`Hello::protocol`] and [`Hello::minor`] are set here.
    ///
    /// # Errors
    ///
    /// [`LinkError::Refused`] when the agent serves another pair or side; [`LinkError::Silent`], [`LinkError::Broken`],
    /// [`LinkError::Frame`].
    pub async fn main(mut self, hello: Hello) -> Result<Main, LinkError> {
        let (frames, queue) = mpsc::channel(QUEUE);
        let hello = FromEdge::Hello(Hello { protocol: PROTOCOL, minor: MINOR, ..hello });
        frames.try_send(hello.into()).map_err(|_| LinkError::Stalled)?;
        let opened = timeout(self.within, async {
            let mut incoming = self.agent.main(ReceiverStream::new(queue)).await?.into_inner();
            let first = incoming.message().await?;
            Ok::<_, Status>((first, incoming))
        });
        let (first, incoming) = opened.await.map_err(|_| self.silent())?.map_err(|status| self.fault(&status))?;
        let first = first.ok_or_else(|| LinkError::Broken { why: "it ended before its welcome".to_owned() })?;
        let FromAgent::Welcome(welcome) = FromAgent::try_from(first)? else {
            return Err(LinkError::Frame(FrameError::Missing("welcome")));
        };
        let commands = Commands { frames, peer: self.end.peer() };
        Ok(Main { welcome, commands, messages: Messages { incoming, client: self } })
    }

    /// Opens the second call: pings, and nothing else.
    ///
    /// # Errors
    ///
    /// [`LinkError::Silent`], [`LinkError::Broken`].
    pub async fn auxiliary(mut self) -> Result<Auxiliary, LinkError> {
        let (pings, queue) = mpsc::channel(QUEUE);
        let opened = timeout(self.within, self.agent.auxiliary(ReceiverStream::new(queue)));
        let incoming = opened.await.map_err(|_| self.silent())?.map_err(|status| self.fault(&status))?.into_inner();
        let pings = Pings { pings, socket: self.socket.clone() };
        Ok(Auxiliary { pings, pongs: Pongs { incoming, client: self } })
    }

    fn silent(&self) -> LinkError {
        LinkError::Silent { address: self.address.clone(), within: self.within }
    }

    fn fault(&self, status: &Status) -> LinkError {
        if let Some(untrusted) = untrusted(&self.address, &self.end) {
            return untrusted;
        }
        let why = status.message().to_owned();
        match status.code() {
            Code::FailedPrecondition | Code::AlreadyExists | Code::InvalidArgument | Code::Unimplemented => {
                LinkError::Refused { address: self.address.clone(), why }
            }
            Code::Aborted => LinkError::Replaced { why },
            _ => LinkError::Broken { why },
        }
    }
}

/// The main call, opened: take it apart and give each half to its task.
#[derive(Debug)]
pub struct Main {
    /// Who answered.
    pub welcome: Welcome,
    /// Towards the agent.
    pub commands: Commands,
    /// From the agent.
    pub messages: Messages,
}

/// The half of the main call that goes to the agent. Dropping all of its clones ends the call.
#[derive(Clone, Debug)]
pub struct Commands {
    frames: mpsc::Sender<EdgeFrame>,
    peer: Option<Arc<Peer>>,
}

impl Commands {
    /// Queues a frame; never waits.
    ///
    /// # Errors
    ///
    /// [`LinkError::Stalled`], [`LinkError::Broken`]: in both cases the link is to be dropped.
    pub fn send(&self, message: FromEdge) -> Result<(), LinkError> {
        self.frames.try_send(message.into()).map_err(|error| match error {
            TrySendError::Full(_) => LinkError::Stalled,
            TrySendError::Closed(_) => LinkError::Broken { why: "it is closed".to_owned() },
        })
    }

    /// Who obeys them, as its certificate proves; none without TLS.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_deref()
    }

    /// For those who have something to say now and then, and must not keep the call open.
    #[must_use]
    pub fn downgrade(&self) -> WeakCommands {
        WeakCommands { frames: self.frames.downgrade(), peer: self.peer.clone() }
    }
}

/// [`Commands`] that do not keep the call open.
#[derive(Clone, Debug)]
pub struct WeakCommands {
    frames: mpsc::WeakSender<EdgeFrame>,
    peer: Option<Arc<Peer>>,
}

impl WeakCommands {
    /// None when the call is over.
    #[must_use]
    pub fn upgrade(&self) -> Option<Commands> {
        self.frames.upgrade().map(|frames| Commands { frames, peer: self.peer.clone() })
    }
}

/// The half of the main call that comes from the agent. Dropping it ends the call.
#[derive(Debug)]
pub struct Messages {
    incoming: Streaming<AgentFrame>,
    client: Client,
}

impl Messages {
    /// The next message. Cancel safe.
    ///
    /// # Errors
    ///
    /// Any error means that the link is over: [`LinkError::Broken`] (the agent died, or ended the call),
    /// [`LinkError::Replaced`], [`LinkError::Frame`].
    pub async fn next(&mut self) -> Result<FromAgent, LinkError> {
        loop {
            match self.incoming.message().await {
                // A kind that this edge does not know: the agent is newer.
                Ok(Some(AgentFrame { kind: None })) => {}
                Ok(Some(frame)) => return Ok(frame.try_into()?),
                Ok(None) => return Err(LinkError::Broken { why: "the agent has ended it".to_owned() }),
                Err(status) => return Err(self.client.fault(&status)),
            }
        }
    }
}

/// The auxiliary call, opened: take it apart and give each half to its task.
#[derive(Debug)]
pub struct Auxiliary {
    /// Towards the agent.
    pub pings: Pings,
    /// From the agent.
    pub pongs: Pongs,
}

/// The half of the auxiliary call that goes to the agent. Dropping all of its clones ends the call.
#[derive(Clone, Debug)]
pub struct Pings {
    pings: mpsc::Sender<proto::Ping>,
    socket: Socket,
}

impl Pings {
    /// Queues a ping; never waits.
    ///
    /// # Errors
    ///
    /// [`LinkError::Stalled`], [`LinkError::Broken`]: in both cases the link is to be dropped.
    pub fn send(&self, ping: Ping) -> Result<(), LinkError> {
        self.pings.try_send(ping.into()).map_err(|error| match error {
            TrySendError::Full(_) => LinkError::Stalled,
            TrySendError::Closed(_) => LinkError::Broken { why: "it is closed".to_owned() },
        })
    }

    /// Marks the connection's packets from now on with a code point (RFC 2474), 0 to 63.
    ///
    /// # Errors
    ///
    /// It is none, or the system refuses it.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        self.socket.set_dscp(dscp)
    }

    /// The code point that they are marked with now.
    ///
    /// # Errors
    ///
    /// The system does not say.
    pub fn dscp(&self) -> io::Result<u8> {
        self.socket.dscp()
    }
}

/// The half of the auxiliary call that comes from the agent. Dropping it ends the call.
#[derive(Debug)]
pub struct Pongs {
    incoming: Streaming<proto::Pong>,
    client: Client,
}

impl Pongs {
    /// The next pong, in whatever order the agent gives them. Cancel safe.
    ///
    /// # Errors
    ///
    /// Any error means that the link is over: [`LinkError::Broken`], [`LinkError::Frame`].
    pub async fn next(&mut self) -> Result<Pong, LinkError> {
        match self.incoming.message().await {
            Ok(Some(pong)) => Ok(pong.try_into()?),
            Ok(None) => Err(LinkError::Broken { why: "the agent has ended it".to_owned() }),
            Err(status) => Err(self.client.fault(&status)),
        }
    }
}

fn untrusted(address: &str, end: &End) -> Option<LinkError> {
    let refusal = end.refusal()?;
    Some(LinkError::Untrusted { address: address.to_owned(), why: refusal.to_string() })
}

/// The sentence at the bottom of a chain of errors: `Connection refused`, not `transport error`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
