//! One client's connection. What becomes of a request is decided when it comes, not when the connection did.

use super::Listener;
use super::answer::{self, Asked};
use super::application::Kept;
use super::body::{Body, hear_out};
use super::patient::Patient;
use crate::config::Destination;
use http::header::EXPECT;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lockstep_wire::clock;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// A request's head has at most twice this: what is read at once, is read before it is measured. Of a body so much is kept.
const BUFFER_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) listener: Arc<Listener>,
    pub(super) client: IpAddr,
    pub(super) kept: Kept,
    pub(super) course: Arc<Course>,
    cuts: watch::Receiver<()>,
    _seat: OwnedSemaphorePermit,
}

/// Whether a connection is in the midst of an answer that was passed on and cannot be taken back.
#[derive(Debug, Default)]
pub(super) struct Course {
    begun: AtomicBool,
}

impl Course {
    pub(super) fn begins(&self) {
        self.begun.store(true, SeqCst);
    }

    pub(super) fn ends(&self) {
        self.begun.store(false, SeqCst);
    }
}

/// Serves a client until it goes, says nothing for too long, or is in the midst of an answer when those are cut.
pub(super) async fn serve<S>(listener: Arc<Listener>, stream: S, client: IpAddr, seat: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let idle = listener.config.idle;
    let mut cuts = listener.standing.cuts();
    let course = Arc::<Course>::default();
    let connection = Arc::new(Connection {
        listener,
        client,
        kept: Kept::default(),
        course: Arc::clone(&course),
        cuts: cuts.clone(),
        _seat: seat,
    });
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let served = Builder::new()
        .timer(TokioTimer::new())
        // From the end of the answer before, so that it bounds the pauses between requests too.
        .header_read_timeout(idle)
        .max_headers(FIELDS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream, idle)), service)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    loop {
        tokio::select! {
            biased;
            cut = cuts.changed() => {
                // A request that has no answer yet gets another one.
                if cut.is_err() || course.begun.load(SeqCst) {
                    return;
                }
            }
            ended = &mut served => {
                if let Err(error) = ended {
                    tracing::debug!(%client, %error, "a client's connection has ended");
                }
                return;
            }
        }
    }
}

impl Connection {
    async fn answer(self: &Arc<Connection>, request: Request<Incoming>) -> Response<Body> {
        let listener = &self.listener;
        if request.method() == Method::CONNECT {
            return answer::refuse(StatusCode::METHOD_NOT_ALLOWED, "This is no proxy.\n");
        }
        let asked = (request.method(), request.uri(), request.headers());
        if let Some(answer) = listener.peer.answer(&listener.standing, asked) {
            return answer;
        }
        if self.is_exempt(&request) {
            return self.pass_exempt(request).await;
        }
        // Cuts that come from here on are of this request, or of the turn before it, in which case it is not let in.
        let mut cuts = self.cuts.clone();
        cuts.mark_unchanged();
        match listener.standing.enter(clock::now()) {
            Some(passage) => self.pass(request, passage, cuts).await,
            None => self.redirect(request).await,
        }
    }

    /// Probes only look: anything else on such a path is a request like any other.
    fn is_exempt(&self, request: &Request<Incoming>) -> bool {
        let path = request.uri().path();
        matches!(*request.method(), Method::GET | Method::HEAD)
            && self.listener.config.exempt.iter().any(|exempt| exempt.eq_ignore_ascii_case(path))
    }

    async fn redirect(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let asked = Asked::new(&head);
        // Who waits to be told to go on has not sent it yet, and need not.
        if !head.headers.contains_key(EXPECT) {
            hear_out(body).await;
        }
        self.elsewhere(&asked).await
    }

    /// Sends the client to where it may find who serves.
    pub(super) async fn elsewhere(&self, asked: &Asked) -> Response<Body> {
        let config = &self.listener.config;
        match &config.to {
            Destination::Vip(vip) => answer::redirect(asked, vip, config.status),
            Destination::Active { active, vip } => {
                if !asked.is_for(&active.origin) && self.listener.peer.serves(active).await {
                    return answer::redirect(asked, &active.origin, config.status);
                }
                match vip {
                    Some(vip) => answer::redirect(asked, vip, config.status),
                    None => answer::unavailable("No side is known to be active now.\n"),
                }
            }
        }
    }
}
