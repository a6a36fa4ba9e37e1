//! A peer of an earlier version: it stands between an edge and an agent of today, and lets through what that version knew.
//!
//! Each frame is read by that version's contract (`tests/older`) and written anew from what was understood: to the edge the
//! agent behind it is an old one, and to the agent the edge is. What changed in an old peer's *behaviour* is not seen here.

use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// Frames that may wait.
const QUEUE: usize = 64;

macro_rules! version {
    ($(#[$doc:meta])* $module:ident, $file:literal, $clip:expr) => {
        $(#[$doc])*
        pub mod $module {
            use super::*;
            use proto::agent_client::AgentClient;
            use proto::agent_server::{Agent, AgentServer};

            #[allow(missing_docs, clippy::all, clippy::pedantic)]
            mod proto {
                include!(concat!(env!("OUT_DIR"), "/", $file, "/lockstep.v1.rs"));
            }

            struct Relay {
                to: SocketAddr,
            }

            impl Relay {
                async fn client(&self) -> Result<AgentClient<tonic::transport::Channel>, Status> {
                    let endpoint = Endpoint::from_shared(format!("http://{}", self.to))
                        .map_err(|error| Status::internal(error.to_string()))?;
                    let connected = endpoint.tcp_nodelay(true).connect().await;
                    Ok(AgentClient::new(connected.map_err(|error| Status::unavailable(error.to_string()))?))
                }
            }

            #[tonic::async_trait]
            impl Agent for Relay {
                type MainStream = ReceiverStream<Result<proto::AgentFrame, Status>>;
                type AuxiliaryStream = ReceiverStream<Result<proto::Pong, Status>>;

                async fn main(
                    &self,
                    request: Request<Streaming<proto::EdgeFrame>>,
                ) -> Result<Response<Self::MainStream>, Status> {
                    let frames = pass(request.into_inner(), Ok).await;
                    let frames = tokio_stream::StreamExt::filter_map(frames, Result::ok);
                    let answers = self.client().await?.main(frames).await?.into_inner();
                    Ok(Response::new(pass(answers, $clip).await))
                }

                async fn auxiliary(
                    &self,
                    request: Request<Streaming<proto::Ping>>,
                ) -> Result<Response<Self::AuxiliaryStream>, Status> {
                    let pings = pass(request.into_inner(), Ok).await;
                    let pings = tokio_stream::StreamExt::filter_map(pings, Result::ok);
                    let pongs = self.client().await?.auxiliary(pings).await?.into_inner();
                    Ok(Response::new(pass(pongs, Ok).await))
                }
            }

            /// Stands at `at` for whoever is at `to`, for as long as the runtime lives.
            ///
            /// # Errors
            /// The address is not free.
            pub async fn stand(at: SocketAddr, to: SocketAddr) -> std::io::Result<()> {
                let listener = TcpListenerStream::new(TcpListener::bind(at).await?);
                let relay = AgentServer::new(Relay { to });
                tokio::spawn(Server::builder().tcp_nodelay(true).add_service(relay).serve_with_incoming(listener));
                Ok(())
            }
        }
    };
}

version! {
    /// The first version: leases and commands.
    minor_0, "minor-0", Ok
}
version! {
    /// The second: pings of services, gates, hooks, what is beside the services.
    minor_1, "minor-1", |mut frame: proto::AgentFrame| {
        if let Some(proto::agent_frame::Kind::Welcome(welcome)) = &mut frame.kind {
            welcome.minor = welcome.minor.min(1);
        }
        Ok(frame)
    }
}

/// Hands frames on until either end is gone.
async fn pass<T: Send + 'static>(
    mut frames: Streaming<T>,
    change: impl Fn(T) -> Result<T, Status> + Send + 'static,
) -> ReceiverStream<Result<T, Status>> {
    let (out, taken) = tokio::sync::mpsc::channel(QUEUE);
    tokio::spawn(async move {
        loop {
            let frame = match frames.message().await {
                Ok(Some(frame)) => change(frame),
                Ok(None) => return,
                Err(status) => Err(status),
            };
            let ended = frame.is_err();
            if out.send(frame).await.is_err() || ended {
                return;
            }
        }
    });
    ReceiverStream::new(taken)
}
