//! One HTTP request that does something, where a probe only asks: an edge activates by such a call what admits no agent.

use super::connect;
use super::exchange::{exchange, head, read, unmade};
use super::judge::{BODY_MAX, Finding};
use super::means::Means;
use super::tls::name_of;
use http::{Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use lockstep_policy::action::Tls;
use std::net::SocketAddr;
use tokio::net::lookup_host;

/// A request, and the answer that confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// `GET`, `POST`, `PUT` and so on.
    pub method: Method,
    /// `http://` or `https://`, with a host.
    pub uri: Uri,
    /// Whether an `https://` server must show a certificate that the edge's trusted roots vouch for.
    pub verify: bool,
    /// What is sent; may be empty.
    pub body: String,
    /// Of what is sent; empty: no such field.
    pub content_type: String,
    /// The name of the secret whose text is the field `Authorization`; empty: no such field.
    pub authorization: String,
    /// Statuses of an answer that confirms; none: 200 to 299.
    pub expect: Vec<u16>,
    /// A text that the answer's body must contain; empty: any.
    pub says: String,
}

impl HttpCall {
    /// Sends the request and takes the whole answer: its status, and as much of its body as is kept.
    ///
    /// # Errors
    ///
    /// No answer, in words.
    pub(crate) async fn send(&self, means: &Means) -> Result<(u16, String), String> {
        self.try_send(means).await.map_err(|finding| finding.detail)
    }

    async fn try_send(&self, means: &Means) -> Result<(u16, String), Finding> {
        let tls = match (self.uri.scheme_str(), self.verify) {
            (Some("https"), true) => Tls::Verified,
            (Some("https"), false) => Tls::Unverified,
            _ => Tls::Off,
        };
        let host = self.uri.host().unwrap_or_default();
        let port = self.uri.port_u16().unwrap_or(if tls == Tls::Off { 80 } else { 443 });
        let address = resolve(host, port).await?;
        let name = name_of(host.trim_matches(['[', ']'])).map_err(wrong)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or_else(|| host.to_owned(), |authority| authority.as_str().to_owned());
        let mut request = head(Request::builder().method(self.method.clone()).uri(path), &authority);
        if !self.content_type.is_empty() {
            request = request.header("content-type", &self.content_type);
        }
        if !self.authorization.is_empty() {
            request = request.header("authorization", means.secret(&self.authorization).await?);
        }
        let request = request.body(Full::from(self.body.clone())).map_err(|error| unmade(&error))?;
        let stream = connect::open(&means.trust, address, tls, &name).await?;
        exchange(stream, request, async |answer: Response<Incoming>| {
            let (answer, body) = answer.into_parts();
            let text = read(body, BODY_MAX).await?;
            Ok((answer.status.as_u16(), String::from_utf8_lossy(&text).into_owned()))
        })
        .await
    }
}

/// The first address of a name; nobody is asked for that of an address.
async fn resolve(host: &str, port: u16) -> Result<SocketAddr, Finding> {
    let host = host.trim_matches(['[', ']']);
    let found = lookup_host((host, port)).await.map_err(|error| wrong(format!("{host} has no address: {error}")))?;
    { found }.next().ok_or_else(|| wrong(format!("{host} has no address")))
}

fn wrong(why: impl Into<String>) -> Finding {
    Finding::new(lockstep_policy::event::Verdict::Wrong, 0, why)
}
