//! A request's way to the application and back.
//!
//! ```text
//!  let in ──> connect ──> ask the lease again ──> send ──> answer ──> body
//!               │                │                  │         └ cut: the connection ends
//!               v                v                  v
//!            elsewhere       elsewhere     cut, or broken off: elsewhere if it may be sent twice, else 502
//! ```

use super::answer::{self, Asked};
use super::application::{self, Application};
use super::body::{Body, Held};
use super::connection::Connection;
use super::standing::Passage;
use super::{fields, tunnel};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use lockstep_wire::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::sync::watch;
use tokio::time::timeout;

/// Why a request has no answer of the application.
#[derive(Debug)]
enum Fault {
    /// No connection was to be had; nothing of the request has left.
    Unreachable,
    /// The node ceased to serve before the request was sent.
    NotServing,
    /// The node ceased to serve before there was an answer.
    Cut,
    /// The application broke off.
    Broken(hyper::Error),
    /// It has not begun to answer in time.
    Late,
}

impl Connection {
    /// Passes on a request that was let in.
    pub(super) async fn pass(
        self: &Arc<Connection>,
        mut request: Request<Incoming>,
        passage: Passage,
        mut cuts: watch::Receiver<()>,
    ) -> Response<Body> {
        let upgrade = fields::asks_for_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        let asked = Asked::new(&head);
        fields::request(&mut head.headers, self.client, self.listener.is_tls());
        let sent = AtomicBool::new(false);
        let answered = tokio::select! {
            biased;
            _ = cuts.changed() => Err(Fault::Cut),
            answered = self.exchange(head, body, &sent) => answered,
        };
        match answered {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => self.switch(answer, upgrade, cuts),
            Ok(answer) => self.hand_over(answer, Some(passage)),
            Err(fault) => {
                // It does not count as passing any more.
                drop(passage);
                self.explain(&fault, &asked, sent.load(SeqCst)).await
            }
        }
    }

    /// Passes on a probe of this very node, whatever its role is.
    pub(super) async fn pass_exempt(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        fields::request(&mut head.headers, self.client, self.listener.is_tls());
        fields::answer(&mut head.headers, false);
        let address = self.listener.config.application;
        let answered = match application::connect(address, 0).await {
            Ok(mut connection) => {
                self.send(&mut connection, self.outgoing(head, body)).await.map_err(|(fault, _)| fault)
            }
            Err(error) => Err(Fault::unreachable(&error)),
        };
        match answered {
            Ok(answer) => self.hand_over(answer, None),
            // Not elsewhere: the other side's answer would say that this one is well.
            Err(fault) => answer::unavailable(&format!("{}\n", fault.text())),
        }
    }

    /// Sends a request and waits for the head of its answer.
    async fn exchange(&self, head: Parts, body: Incoming, sent: &AtomicBool) -> Result<Response<Incoming>, Fault> {
        let standing = &self.listener.standing;
        let turn = standing.turn();
        // What can be sent twice: a connection that was kept may have ended at the very moment.
        let again = (head.method.is_idempotent() && body.is_end_stream()).then(|| head.clone());
        let mut request = self.outgoing(head, body);
        if let Some(mut kept) = self.kept.take(turn).await {
            if !standing.serves(clock::now()) {
                return Err(Fault::NotServing);
            }
            sent.store(true, SeqCst);
            match self.send(&mut kept, request).await {
                Ok(answer) => {
                    self.kept.put(kept);
                    return Ok(answer);
                }
                Err((Fault::Broken(_), Some(unsent))) => request = unsent,
                Err((Fault::Broken(fault), None)) => match again {
                    Some(head) => request = Request::from_parts(head, Body::own(String::new())),
                    None => return Err(Fault::Broken(fault)),
                },
                Err((fault, _)) => return Err(fault),
            }
        }
        let new = application::connect(self.listener.config.application, turn).await;
        let mut new = new.map_err(|error| Fault::unreachable(&error))?;
        // As late as can be: connecting takes its time, and a node may have been asleep.
        if !standing.serves(clock::now()) {
            return Err(Fault::NotServing);
        }
        sent.store(true, SeqCst);
        let answer = self.send(&mut new, request).await.map_err(|(fault, _)| fault)?;
        self.kept.put(new);
        Ok(answer)
    }

    /// Sends; what has not left comes back.
    async fn send(
        &self,
        application: &mut Application,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (Fault, Option<Request<Body>>)> {
        match timeout(self.listener.config.timeout, application.requests.try_send_request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(mut error)) => {
                let unsent = error.take_message();
                Err((Fault::Broken(error.into_error()), unsent))
            }
            Err(_) => Err((Fault::Late, None)),
        }
    }

    fn outgoing(&self, mut head: Parts, body: Incoming) -> Request<Body> {
        head.version = Version::HTTP_11;
        // An address with a host in it is for proxies: the application gets path and query, and the host as a field.
        if let (Some(authority), Some(path)) = (head.uri.authority(), head.uri.path_and_query()) {
            if let Ok(host) = authority.as_str().parse() {
                head.headers.insert(http::header::HOST, host);
            }
            head.uri = path.clone().into();
        }
        Request::from_parts(head, Body::passed(body, self.listener.config.idle, None))
    }

    fn hand_over(&self, answer: Response<Incoming>, passage: Option<Passage>) -> Response<Body> {
        let (mut head, body) = answer.into_parts();
        fields::answer(&mut head.headers, false);
        let held = passage.filter(|_| !body.is_end_stream()).map(|passage| Held::new(passage, &self.course));
        Response::from_parts(head, Body::passed(body, self.listener.config.idle, held))
    }

    /// The connection carries another protocol from now on. It does not count as passing: it has no end to wait for.
    fn switch(
        self: &Arc<Connection>,
        mut answer: Response<Incoming>,
        client: Option<OnUpgrade>,
        cuts: watch::Receiver<()>,
    ) -> Response<Body> {
        let Some(client) = client else {
            return answer::text(
                StatusCode::BAD_GATEWAY,
                "The application changes a protocol that nobody wanted changed.\n",
            );
        };
        let application = hyper::upgrade::on(&mut answer);
        // It keeps its seat.
        let connection = Arc::clone(self);
        tokio::spawn(async move {
            tunnel::carry(client, application, cuts).await;
            drop(connection);
        });
        let (mut head, _) = answer.into_parts();
        fields::answer(&mut head.headers, true);
        Response::from_parts(head, Body::own(String::new()))
    }

    async fn explain(&self, fault: &Fault, asked: &Asked, sent: bool) -> Response<Body> {
        tracing::debug!(client = %self.client, ?fault, "a request was not answered by the application");
        let twice = !sent || asked.method.is_idempotent();
        match fault {
            Fault::Unreachable | Fault::NotServing => self.elsewhere(asked).await,
            Fault::Cut | Fault::Broken(_) if twice => self.elsewhere(asked).await,
            Fault::Cut | Fault::Broken(_) => answer::text(StatusCode::BAD_GATEWAY, &format!("{}\n", fault.text())),
            Fault::Late => answer::text(StatusCode::GATEWAY_TIMEOUT, &format!("{}\n", fault.text())),
        }
    }
}

impl Fault {
    fn unreachable(error: &std::io::Error) -> Fault {
        tracing::debug!(%error, "the application cannot be connected to");
        Fault::Unreachable
    }

    fn text(&self) -> &'static str {
        match self {
            Fault::Unreachable => "The application cannot be connected to.",
            Fault::NotServing => "This node is not active.",
            Fault::Cut => {
                "This node has ceased to be active before the application answered. The request may have been carried out."
            }
            Fault::Broken(_) => "The application broke off before it answered. The request may have been carried out.",
            Fault::Late => "The application has not answered in time. The request may have been carried out.",
        }
    }
}
