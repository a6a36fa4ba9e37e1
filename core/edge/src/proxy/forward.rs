//! A request that pingora carries: it drives the request through [`Forward`]'s steps by the hooks of [`ProxyHttp`].
//!
//! `upstream_peer` is asked again for each attempt, and so it is there that a request waits (`choose`). An attempt that failed is
//! followed by another one when no byte of the request had left, or when its method is idempotent (RFC 9110 section 9.2.2), its
//! body is still at hand and no part of an answer was seen.

use super::h2::Upload;
use super::links::Link;
use super::passage::{Broken, Forward, Passage, sound};
use super::seen::Carried;
use super::websocket::{Upgrade, Watch};
use crate::address::Address;
use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use lockstep_wire::clock;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

impl Forward {
    /// Where pingora finds the server of the present attempt.
    fn peer(&self, passage: &Passage, address: &Address) -> Result<Box<HttpPeer>> {
        let Some(attempt) = &passage.attempt else { return Err(Error::new_in(pingora_core::ErrorType::InternalError)) };
        let (settings, target) = (&self.pair.settings, &attempt.target);
        let mut peer = self.pair.upstream.load().peer(&attempt.server, address, settings.connect_timeout)?;
        peer.group_key = target.group();
        peer.options.read_timeout = Some(settings.read_timeout);
        peer.options.write_timeout = Some(settings.write_timeout);
        peer.options.idle_timeout = Some(settings.idle_timeout);
        peer.options.custom_l4 = Some(Arc::clone(&target.dial) as _);
        Ok(peer)
    }
}

/// Whether a part of an answer has gone to the client that cannot be taken back.
fn answer_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|header| !header.status.is_informational() || header.status == 101)
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        self.begin()
    }

    /// None: what a server answers is passed on as it is.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, passage: &mut Passage) -> Result<Box<HttpPeer>> {
        self.pause(passage).await;
        let address = self.choose(session, passage).await?;
        let mut peer = self.peer(passage, &address)?;
        self.announce(session, passage, &mut peer);
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        passage: &mut Passage,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.unreached(passage, &error);
        error.set_retry(true);
        error
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: RawFd,
        digest: Option<&Digest>,
        passage: &mut Passage,
    ) -> Result<()> {
        let link = digest.and_then(Link::of);
        if let Some(link) = &link {
            Upgrade::hold_back(session, link);
        }
        self.reached(passage, link, reused)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        self.tell(passage, session, request)?;
        if let Some(sessions) = &self.pair.sessions {
            sessions.hide(request)?;
        }
        if let Some(upload) = Upload::of(session.req_header()) {
            upload.is_awaited();
        }
        self.sends(passage)
    }

    /// Over HTTP/1 a body is bounded where it is read.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        _: &mut Passage,
    ) -> Result<()> {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        Upload::of(session.req_header()).map_or(Ok(()), |upload| upload.comes(bytes, end))
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        passage: &mut Passage,
    ) -> Result<()> {
        let Some(attempt) = &mut passage.attempt else { return Ok(()) };
        sound(session, answer)?;
        if answer.status == 101
            && let Some(link) = &attempt.link
        {
            passage.watch = Watch::begin(&self.pair, &attempt.target, link.link(), session);
        }
        if let (Some(sessions), Some(_)) = (&self.pair.sessions, &passage.visit) {
            sessions.learn(clock::now(), session, answer, attempt.target.side);
        }
        self.answered(passage, session, answer)?;
        if answer.status.is_informational() {
            return Ok(());
        }
        if let Some(upload) = Upload::of(session.req_header()) {
            upload.is_answered();
        }
        if let (Some(sessions), Some(visit)) = (&self.pair.sessions, &passage.visit) {
            sessions.give(session, visit, answer)?;
        }
        Ok(())
    }

    /// Pingora sends chunks to every client; one of HTTP/1.0 does not know them (RFC 9112 section 6.1).
    async fn response_filter(&self, session: &mut Session, answer: &mut ResponseHeader, _: &mut Passage) -> Result<()> {
        if session.req_header().version == http::Version::HTTP_10 {
            answer.remove_header(&header::TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        passage: &mut Passage,
    ) -> Result<Option<Duration>> {
        self.passes(passage, body, end)?;
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        passage: &mut Passage,
        _: bool,
    ) -> Box<Error> {
        let broken = Broken {
            answer_begun: answer_begun(session),
            safe: session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated(),
        };
        let again = self.broken(passage, &error, &broken);
        error.set_retry(again);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, passage: &mut Passage) -> FailToProxy {
        let failure = self.failure(passage, error, &session.req_header().method, answer_begun(session));
        let status = failure.as_ref().map_or(0, |(answer, _)| answer.status);
        if let Some((answer, notice)) = failure
            && let Err(error) = answer.give(session, notice.as_ref()).await
        {
            tracing::debug!(pair = self.pair.name, %error, "an answer of our own could not be written");
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, passage: &mut Passage) {
        let carried = Carried {
            status: passage.status.or_else(|| session.response_written().map(|written| written.status.as_u16())),
            received: session.body_bytes_read() as u64,
            sent: session.body_bytes_sent() as u64,
        };
        self.over(passage, session, carried, error);
    }

    // Pingora's own log lines would be one for each attempt; ours are made by `see`.
    fn suppress_error_log(&self, _: &Session, _: &Passage, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Passage, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}
