//! The operator's verbs over HTTP: one short connection each, every answer bounded.

use super::api::{
    CommandOrder, Explanation, Failure, GateAnswer, GateOrder, Handover, Journal, MaintenanceAnswer, MaintenanceOrder,
    PauseAnswer, PauseOrder, PolicyAnswer, PolicyOrder, Reloaded, ShadowOrder, ShadowStatus, Status, SwitchAnswer,
    SwitchOrder, UpgradeOrder, Upgraded, WholeOrder,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;

/// The most of an answer that is read.
const ANSWER_MAX: usize = 16 << 20;

/// A connection that is not there in this time will not be.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// An answer that changes nothing is there in this time.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A plugin that hangs while it is looked at is killed before this.
const PLUGIN_WAIT: Duration = Duration::from_secs(60);

/// Reading a configuration with all its plugins, and going on in another process, are done before this.
const WHOLE_WAIT: Duration = Duration::from_secs(180);

/// A switch ends within the sum of its phases' deadlines; this is beyond any configuration.
const SWITCH_WAIT: Duration = Duration::from_secs(2 * 3600);

/// Speaks to a running edge.
#[derive(Clone, Debug)]
pub struct Client {
    admin: SocketAddr,
    token: String,
}

/// A verb was not answered as asked. Each is a sentence with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token cannot be read.
    #[error("{}: the admin token cannot be read: {source}; an edge writes it when it starts: run this as the edge's user, or give the right --config", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration, in which the address stands, is not valid.
    #[error("{0}")]
    Config(String),
    /// Nothing answers there.
    #[error("no edge answers at {admin}: is `lockstep edge` running? ({why})")]
    NoEdge {
        /// Where.
        admin: SocketAddr,
        /// The connection's error.
        why: String,
    },
    /// The connection broke, or the answer was not there in time.
    #[error("the edge at {admin} did not answer: {why}")]
    NoAnswer {
        /// Where.
        admin: SocketAddr,
        /// Why.
        why: String,
    },
    /// The edge says no.
    #[error("{0}")]
    Said(String),
    /// Something that is not this lockstep's admin API answers there.
    #[error("what answers at {admin} is not this lockstep's admin API: {why}")]
    Foreign {
        /// Where.
        admin: SocketAddr,
        /// What was wrong.
        why: String,
    },
}

impl Client {
    /// A client for the edge at an address, with the token in a file.
    pub fn new(admin: SocketAddr, token_file: &Path) -> Result<Client, ClientError> {
        let token = std::fs::read_to_string(token_file)
            .map_err(|source| ClientError::Token { path: token_file.to_owned(), source })?;
        Ok(Client { admin, token: token.trim().to_owned() })
    }

    /// A client for the edge of a configuration: its `[edge]` names address and state directory. Pairs and plugins are
    /// not looked at, so that an edge with an older configuration can be spoken to.
    pub fn from_config(path: &Path) -> Result<Client, ClientError> {
        Client::from_config_but(path, None, None)
    }

    /// The same, with another address or another token than the configuration's.
    pub fn from_config_but(
        path: &Path,
        admin: Option<SocketAddr>,
        token_file: Option<&Path>,
    ) -> Result<Client, ClientError> {
        let edge = crate::config::load_edge(path).map_err(|report| ClientError::Config(report.to_string()))?;
        let token_file = token_file.map_or_else(|| edge.state.join(super::TOKEN_FILE), Path::to_owned);
        Client::new(admin.unwrap_or(edge.admin), &token_file)
    }

    /// How the edge and its pairs stand.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Has the edge read its configuration again.
    pub async fn reload(&self, order: &WholeOrder) -> Result<Reloaded, ClientError> {
        let (status, body) = self.send(Method::POST, "/v1/reload", json(order), WHOLE_WAIT).await?;
        match status {
            StatusCode::OK | StatusCode::CONFLICT => self.parse(&body),
            status => Err(self.said(status, &body)),
        }
    }

    /// Has the edge go on in a new process.
    pub async fn upgrade(&self, order: &UpgradeOrder) -> Result<Upgraded, ClientError> {
        let (status, body) = self.send(Method::POST, "/v1/upgrade", json(order), WHOLE_WAIT).await?;
        if status == StatusCode::OK { self.parse(&body) } else { Err(self.said(status, &body)) }
    }

    /// Moves a pair's active role, and waits for the end.
    pub async fn switch(&self, pair: &str, order: &SwitchOrder) -> Result<SwitchAnswer, ClientError> {
        self.order(&format!("/v1/pairs/{}/switch", escape(pair)), json(order)).await
    }

    /// Gives one of the commands of a pair's policy.
    pub async fn command(&self, pair: &str, order: &CommandOrder) -> Result<SwitchAnswer, ClientError> {
        self.order(&format!("/v1/pairs/{}/command", escape(pair)), json(order)).await
    }

    async fn order(&self, path: &str, order: Bytes) -> Result<SwitchAnswer, ClientError> {
        let (status, body) = self.send(Method::POST, path, order, SWITCH_WAIT).await?;
        match status {
            StatusCode::OK | StatusCode::CONFLICT => self.parse(&body),
            status => Err(self.said(status, &body)),
        }
    }

    /// One handover with its evidence; the latest when no epoch is named.
    pub async fn why(&self, pair: &str, epoch: Option<u64>) -> Result<Handover, ClientError> {
        let query = epoch.map(|epoch| format!("?epoch={epoch}")).unwrap_or_default();
        self.get(&format!("/v1/pairs/{}/why{query}", escape(pair))).await
    }

    /// The policy's rules with the parameters in force.
    pub async fn explain(&self, pair: &str) -> Result<Explanation, ClientError> {
        self.get(&format!("/v1/pairs/{}/explain", escape(pair))).await
    }

    /// Opens a manual gate at which a side's start waits.
    pub async fn confirm(&self, pair: &str, order: &GateOrder) -> Result<GateAnswer, ClientError> {
        let path = format!("/v1/pairs/{}/confirm", escape(pair));
        let (status, body) = self.send(Method::POST, &path, json(order), ANSWER_WAIT).await?;
        match status {
            StatusCode::OK | StatusCode::CONFLICT => self.parse(&body),
            status => Err(self.said(status, &body)),
        }
    }

    /// Has another policy told everything of a pair and do nothing.
    pub async fn shadow(&self, pair: &str, order: &ShadowOrder) -> Result<PolicyAnswer, ClientError> {
        let path = format!("/v1/pairs/{}/policy/shadow", escape(pair));
        let (status, body) = self.send(Method::POST, &path, json(order), PLUGIN_WAIT).await?;
        if status == StatusCode::OK { self.parse(&body) } else { Err(self.said(status, &body)) }
    }

    /// How the policy in shadow compares; none: there is none.
    pub async fn shadow_status(&self, pair: &str) -> Result<Option<ShadowStatus>, ClientError> {
        self.get(&format!("/v1/pairs/{}/policy/shadow", escape(pair))).await
    }

    /// Ends the shadow.
    pub async fn end_shadow(&self, pair: &str, order: &PolicyOrder) -> Result<PolicyAnswer, ClientError> {
        let path = format!("/v1/pairs/{}/policy/shadow", escape(pair));
        let (status, body) = self.send(Method::DELETE, &path, json(order), ANSWER_WAIT).await?;
        if status == StatusCode::OK { self.parse(&body) } else { Err(self.said(status, &body)) }
    }

    /// Lets the policy in shadow decide from now on.
    pub async fn promote(&self, pair: &str, order: &PolicyOrder) -> Result<PolicyAnswer, ClientError> {
        self.post(&format!("/v1/pairs/{}/policy/promote", escape(pair)), json(order)).await
    }

    /// Lets the policy decide again that did before [`Client::promote`].
    pub async fn rollback(&self, pair: &str, order: &PolicyOrder) -> Result<PolicyAnswer, ClientError> {
        self.post(&format!("/v1/pairs/{}/policy/rollback", escape(pair)), json(order)).await
    }

    /// Refuses the policy's own switches until [`Client::resume`].
    pub async fn pause(&self, pair: &str, order: &PauseOrder) -> Result<PauseAnswer, ClientError> {
        self.post(&format!("/v1/pairs/{}/pause", escape(pair)), json(order)).await
    }

    /// Lets the policy switch again.
    pub async fn resume(&self, pair: &str, order: &PauseOrder) -> Result<PauseAnswer, ClientError> {
        self.post(&format!("/v1/pairs/{}/resume", escape(pair)), json(order)).await
    }

    /// Begins or ends a pair's maintenance.
    pub async fn maintenance(&self, pair: &str, order: &MaintenanceOrder) -> Result<MaintenanceAnswer, ClientError> {
        self.post(&format!("/v1/pairs/{}/maintenance", escape(pair)), json(order)).await
    }

    /// Up to `limit` entries of a pair's journal, from a sequence number on.
    pub async fn journal(&self, pair: &str, from: u64, limit: u32) -> Result<Journal, ClientError> {
        self.get(&format!("/v1/pairs/{}/journal?from={from}&limit={limit}", escape(pair))).await
    }

    /// Writes a pair's journal to `file`, from an event's number or a length of time (`2h`) on, or all of it. How many
    /// bytes that were.
    pub async fn export(
        &self,
        pair: &str,
        since: Option<&str>,
        file: &mut (impl std::io::Write + Send),
    ) -> Result<u64, ClientError> {
        let query = since.map(|since| format!("?since={}", escape(since))).unwrap_or_default();
        let path = format!("/v1/pairs/{}/journal/export{query}", escape(pair));
        let lost = |why: String| ClientError::NoAnswer { admin: self.admin, why };
        let (stream, request) = self.request(Method::GET, &path, Bytes::new()).await?;
        let late = |_| lost(format!("not within {} s", ANSWER_WAIT.as_secs()));
        let begun = tokio::time::timeout(ANSWER_WAIT, begin(stream, request)).await.map_err(late)?;
        // The connection is open as long as its sender is.
        let (_sender, answer) = begun.map_err(lost)?;
        let status = answer.status();
        let mut body = answer.into_body();
        if status != StatusCode::OK {
            let said = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| lost(error.to_string()))?;
            return Err(self.said(status, &said.to_bytes()));
        }
        let mut written = 0;
        loop {
            let frame = tokio::time::timeout(ANSWER_WAIT, body.frame()).await.map_err(late)?;
            let Some(frame) = frame else { return Ok(written) };
            let Ok(data) = frame.map_err(|error| lost(error.to_string()))?.into_data() else { continue };
            file.write_all(&data).map_err(|error| ClientError::Said(format!("the file cannot be written: {error}")))?;
            written += data.len() as u64;
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let (status, body) = self.send(Method::GET, path, Bytes::new(), ANSWER_WAIT).await?;
        if status == StatusCode::OK { self.parse(&body) } else { Err(self.said(status, &body)) }
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, ClientError> {
        let (status, body) = self.send(Method::POST, path, body, ANSWER_WAIT).await?;
        if status == StatusCode::OK { self.parse(&body) } else { Err(self.said(status, &body)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (stream, request) = self.request(method, path, body).await?;
        tokio::time::timeout(wait, exchange(stream, request))
            .await
            .unwrap_or_else(|_| Err(format!("not within {} s", wait.as_secs())))
            .map_err(|why| ClientError::NoAnswer { admin: self.admin, why })
    }

    /// A connection, and what is to be sent over it.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(TcpStream, Request<Full<Bytes>>), ClientError> {
        let no_edge = |why: String| ClientError::NoEdge { admin: self.admin, why };
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(self.admin))
            .await
            .map_err(|_| no_edge("no connection in 2 s".to_owned()))?
            .map_err(|error| no_edge(error.to_string()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.admin.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(body))
            .map_err(|error| ClientError::Said(error.to_string()))?;
        Ok((stream, request))
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| ClientError::Foreign { admin: self.admin, why: error.to_string() })
    }

    fn said(&self, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice::<Failure>(body) {
            Ok(failure) => ClientError::Said(failure.error),
            Err(_) => ClientError::Foreign { admin: self.admin, why: format!("it answers {status}") },
        }
    }
}

async fn begin(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the connection, which `connection: close` ends with the answer; dropped with `sender` otherwise.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok((sender, answer))
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
    let (_sender, answer) = begin(stream, request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

fn json(body: &impl serde::Serialize) -> Bytes {
    // The types are ours, with string keys only: they always serialize.
    serde_json::to_vec(body).map(Bytes::from).unwrap_or_default()
}

/// A pair's name as a path segment.
fn escape(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
        text
    })
}
