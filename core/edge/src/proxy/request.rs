//! Requests and heads as the proxy's rules look at them: one set of rules for what pingora carries and for what we carry
//! ourselves.

use super::sessions::{SessionRoom, Visit};
use http::{HeaderMap, HeaderName, Method, Version};
use lockstep_policy::At;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use std::net::SocketAddr;

/// The fields of a head.
pub(super) trait Fields {
    /// The values under a name, which is written in lower case, in their order.
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]>;

    /// The first value under a name; empty when there is none.
    fn value<'f>(&'f self, name: &'f str) -> &'f [u8] {
        self.all(name).next().unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

/// A head that is changed on its way.
pub(super) trait Edit: Fields {
    /// Takes out the fields with such names, which are in whatever case they were sent.
    fn take_out(&mut self, is_such: impl Fn(&str) -> bool);

    /// Puts a field in the place of all of that name.
    fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) -> Result<()>;
}

/// The head of a server's answer.
pub(super) trait AnswerHead: Edit {
    fn status(&self) -> u16;

    fn version(&self) -> Version;

    /// Of its fields, in bytes.
    fn length(&self) -> usize;
}

/// A request, as it came.
pub(super) trait Request: Fields {
    fn method(&self) -> &Method;

    fn version(&self) -> Version;

    /// What is asked for, as it was sent.
    fn target(&self) -> &[u8];

    fn path(&self) -> &str;

    /// Path and query; `/` when there is neither.
    fn path_and_query(&self) -> &str;

    /// Who sent it.
    fn client(&self) -> Option<SocketAddr>;

    /// Where it came to.
    fn listener(&self) -> Option<SocketAddr>;

    fn by_tls(&self) -> bool;

    /// Where it belongs, in a pair in which both sides may serve.
    fn visit(&self, sessions: &SessionRoom, now: At, before: Option<&Visit>) -> Option<Visit>;
}

/// A request that can wait.
pub(super) trait Waiter: Request {
    /// Resolves when the client is gone.
    fn left(&mut self) -> impl Future<Output = Box<Error>> + Send;
}

impl Fields for HeaderMap {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        self.get_all(name).into_iter().map(|value| value.as_bytes())
    }
}

impl Fields for RequestHeader {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        Fields::all(&self.headers, name)
    }
}

impl Edit for RequestHeader {
    fn take_out(&mut self, is_such: impl Fn(&str) -> bool) {
        for name in such(&self.headers, is_such) {
            self.remove_header(&name);
        }
    }

    fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) -> Result<()> {
        self.insert_header(name, value.as_ref())
    }
}

impl Fields for ResponseHeader {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        Fields::all(&self.headers, name)
    }
}

impl Edit for ResponseHeader {
    fn take_out(&mut self, is_such: impl Fn(&str) -> bool) {
        for name in such(&self.headers, is_such) {
            self.remove_header(&name);
        }
    }

    fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) -> Result<()> {
        self.insert_header(name, value.as_ref())
    }
}

fn such(headers: &HeaderMap, is_such: impl Fn(&str) -> bool) -> Vec<HeaderName> {
    headers.keys().filter(|name| is_such(name.as_str())).cloned().collect()
}

impl AnswerHead for ResponseHeader {
    fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn version(&self) -> Version {
        self.version
    }

    fn length(&self) -> usize {
        // `: ` and the line's end.
        self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
    }
}

impl Fields for Session {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        Fields::all(&self.req_header().headers, name)
    }
}

impl Request for Session {
    fn method(&self) -> &Method {
        &self.req_header().method
    }

    fn version(&self) -> Version {
        self.req_header().version
    }

    fn target(&self) -> &[u8] {
        self.req_header().raw_path()
    }

    fn path(&self) -> &str {
        self.req_header().uri.path()
    }

    fn path_and_query(&self) -> &str {
        self.req_header().uri.path_and_query().map_or("/", |asked| asked.as_str())
    }

    fn client(&self) -> Option<SocketAddr> {
        self.client_addr().and_then(|address| address.as_inet()).copied()
    }

    fn listener(&self) -> Option<SocketAddr> {
        self.server_addr().and_then(|address| address.as_inet()).copied()
    }

    fn by_tls(&self) -> bool {
        self.digest().is_some_and(|digest| digest.ssl_digest.is_some())
    }

    fn visit(&self, sessions: &SessionRoom, now: At, before: Option<&Visit>) -> Option<Visit> {
        sessions.visit(now, self, before)
    }
}

impl Waiter for Session {
    /// A client whose body is still to be read is not looked at.
    async fn left(&mut self) -> Box<Error> {
        if !self.as_mut().is_body_done() {
            return std::future::pending().await;
        }
        match self.downstream_session.read_body_or_idle(true).await {
            Ok(_) => std::future::pending().await,
            Err(error) => error.into_down(),
        }
    }
}
