//! The admin API's server. Every request needs the token; every answer is JSON, errors too.

use super::api::{
    AccessLogStatus, CommandOrder, Explanation, Failure, GateAnswer, GateOrder, Handover, Journal, JournalEntry,
    Maintenance, MaintenanceAnswer, MaintenanceOrder, PairStatus, Pause, PauseAnswer, PauseOrder, Reloaded, Status,
    SwitchAnswer, SwitchOrder,
};
use super::certificates::TrustStatus;
use super::export::export;
use super::policies;
use super::token::Token;
use super::who::{OPERATE, UNSAFE, Who};
use super::whole;
use crate::access::{AccessLog, Counts};
use crate::config::{PoliciesConfig, PolicyConfig, UserConfig};
use crate::driver::{Ask, Feed};
use crate::journal::{self, Journal as Journals};
use crate::metrics::{self, Look, Process};
use crate::store::{KeptHandover, Reader, Store, StoreError};
use crate::wall;
use arc_swap::{ArcSwap, ArcSwapOption};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use lockstep_policy::event::Outcome;
use lockstep_wire::trust::Trust;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The longest body of a request.
const BODY_MAX: usize = 64 * 1024;

/// Requests that are answered at once.
const REQUESTS: usize = 64;

/// Entries of a journal in one answer.
const JOURNAL_MAX: u32 = 10_000;

/// How often, and after how long, somebody is asked again whose driver has left.
const TRIES: u32 = 40;
const AGAIN: Duration = Duration::from_millis(25);

/// The longest name or reason of a person, in characters.
const WORDS_MAX: usize = 500;

/// What the API knows of the edge.
pub(crate) struct Edge {
    pub name: String,
    pub config: String,
    pub started: String,
    /// Which agents are trusted; none: there are none, or it is insecure.
    pub trust: Option<Trust>,
    pub insecure: bool,
    pub token: Token,
    pub users: ArcSwap<Vec<UserConfig>>,
    pub store: ArcSwap<Store>,
    pub journal: ArcSwap<Journals>,
    pub access_log: ArcSwapOption<AccessLog>,
    pub pairs: ArcSwap<Vec<Arc<PairDoor>>>,
    pub policies: PoliciesConfig,
    /// Whoever runs the edge does these, one after the other.
    pub errands: mpsc::Sender<Errand>,
    /// What became of the last reload of the configuration.
    pub reload: ArcSwap<Vec<String>>,
}

/// The way to one pair.
pub(crate) struct PairDoor {
    pub name: String,
    /// To the driver that there is now.
    pub feeds: Arc<ArcSwap<mpsc::Sender<Feed>>>,
    /// The policy that decides.
    pub policy: Arc<ArcSwap<PolicyConfig>>,
}

/// What is asked of the edge as a whole.
pub(crate) enum Errand {
    /// Read the configuration again; answered with what has become of it.
    Reload(oneshot::Sender<Reloaded>),
    /// Go on in a new process, of this program or of the same one; answered with its number.
    Upgrade(Option<PathBuf>, oneshot::Sender<Result<u32, String>>),
}

/// An error as it is answered.
pub(crate) struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Failure { error: self.1 })).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

pub(super) type Answer<T> = Result<Json<T>, Refusal>;

pub(crate) fn router(edge: Arc<Edge>) -> Router {
    let places = Arc::new(Semaphore::new(REQUESTS));
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(whole::reload))
        .route("/v1/upgrade", post(whole::upgrade))
        .route("/metrics", get(metrics))
        .route("/v1/pairs/{pair}/switch", post(switch))
        .route("/v1/pairs/{pair}/command", post(command))
        .route("/v1/pairs/{pair}/confirm", post(confirm))
        .route("/v1/pairs/{pair}/why", get(why))
        .route("/v1/pairs/{pair}/explain", get(explain))
        .route("/v1/pairs/{pair}/policy/shadow", get(policies::status).post(policies::shadow).delete(policies::end))
        .route("/v1/pairs/{pair}/policy/promote", post(policies::promote))
        .route("/v1/pairs/{pair}/policy/rollback", post(policies::rollback))
        .route("/v1/pairs/{pair}/pause", post(pause))
        .route("/v1/pairs/{pair}/resume", post(resume))
        .route("/v1/pairs/{pair}/maintenance", post(maintenance))
        .route("/v1/pairs/{pair}/journal", get(entries))
        .route("/v1/pairs/{pair}/journal/export", get(export))
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "there is nothing at this path".to_owned()) })
        .method_not_allowed_fallback(|| async {
            Refusal(StatusCode::METHOD_NOT_ALLOWED, "this path has another method".to_owned())
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state((Arc::clone(&edge), places), admit))
        .with_state(edge)
}

async fn admit(
    State((edge, places)): State<(Arc<Edge>, Arc<Semaphore>)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let given = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let Some(who) = Who::of(given, &edge.token, &edge.users.load()) else {
        let why = "the token is missing, or neither the present admin token (in admin.token in the state directory) \
                   nor that of a user in `[[edge.users]]`";
        return Err(Refusal(StatusCode::UNAUTHORIZED, why.to_owned()));
    };
    request.extensions_mut().insert(who);
    let Ok(_place) = places.try_acquire() else {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("{REQUESTS} requests are answered already")));
    };
    Ok(next.run(request).await)
}

async fn status(State(edge): State<Arc<Edge>>) -> Answer<Status> {
    edge.status().await.map(Json)
}

async fn metrics(State(edge): State<Arc<Edge>>) -> Result<Response, Refusal> {
    let text = edge.metrics().await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn switch(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let mut order: SwitchOrder = parse(&body)?;
    let by = operator(&who, &order.by)?;
    if let Some(reason) = &order.unsafe_because {
        who.may(UNSAFE).map_err(|why| Refusal(StatusCode::FORBIDDEN, why))?;
        order.unsafe_because = Some(words("unsafe_because", reason)?);
    }
    let answer = edge.door(&pair)?.ask(|reply| Ask::Switch(SwitchOrder { by, ..order }, who.rights, reply)).await?;
    edge.answered(&pair, answer).await
}

async fn command(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let order: CommandOrder = parse(&body)?;
    let by = operator(&who, &order.by)?;
    let (name, argument) = (words("name", &order.name)?, words("argument", &order.argument)?);
    let order = CommandOrder { by, name, argument, ..order };
    let answer = edge.door(&pair)?.ask(|reply| Ask::Command(order, who.rights, reply)).await?;
    edge.answered(&pair, answer).await
}

async fn confirm(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let order: GateOrder = parse(&body)?;
    let (by, gate) = (operator(&who, &order.by)?, words("gate", &order.gate)?);
    let (outcome, why) =
        edge.door(&pair)?.ask(|reply| Ask::ConfirmGate(GateOrder { by, gate, ..order }, reply)).await?;
    let status = if outcome == Outcome::Done { StatusCode::OK } else { StatusCode::CONFLICT };
    Ok((status, Json(GateAnswer { outcome, why })).into_response())
}

/// The name for the record of somebody who gives orders, when he may.
pub(super) fn operator(who: &Who, said: &str) -> Result<String, Refusal> {
    who.may(OPERATE).map_err(|why| Refusal(StatusCode::FORBIDDEN, why))?;
    Ok(who.name(words("by", said)?))
}

#[derive(Deserialize)]
struct WhyQuery {
    epoch: Option<u64>,
}

async fn why(
    State(edge): State<Arc<Edge>>,
    Path(pair): Path<String>,
    query: Result<Query<WhyQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Handover> {
    let epoch = query.map_err(|error| bad(error.to_string()))?.epoch;
    let latest: Option<KeptHandover> = edge.door(&pair)?.ask(Ask::Latest).await?;
    let kept = match latest.filter(|kept| epoch.is_none_or(|epoch| epoch == kept.record.epoch.0)) {
        Some(kept) => Some(kept),
        None => {
            let name = pair.clone();
            edge.read(move |reader| reader.handover(&name, epoch)).await?
        }
    };
    let Some(KeptHandover { when, record, measures }) = kept else {
        let what = match epoch {
            Some(epoch) => format!("no handover of pair \"{pair}\" has the epoch {epoch}, or it is no longer kept"),
            None => format!("pair \"{pair}\" has had no handover yet"),
        };
        return Err(Refusal(StatusCode::NOT_FOUND, what));
    };
    let evidence = edge.evidence(&pair, record.evidence.clone()).await?;
    Ok(Json(Handover { pair, when, record, measures, evidence }))
}

async fn explain(State(edge): State<Arc<Edge>>, Path(pair): Path<String>) -> Answer<Explanation> {
    let policy = edge.door(&pair)?.policy.load_full();
    let explained = tokio::task::spawn_blocking(move || policy.plugin.explain(&policy.setup)).await;
    let text = explained
        .map_err(|error| error.to_string())
        .and_then(|explained| explained.map_err(|error| error.to_string()))
        .map_err(|why| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why))?;
    let mut text = text.trim_end().to_owned() + "\n";
    for (index, command) in edge.door(&pair)?.policy.load().plugin.commands().iter().enumerate() {
        if index == 0 {
            text += &format!("\nCommands: lockstep order {pair} NAME [ARGUMENT] [--side SIDE]\n");
        }
        let side = if command.side { " --side SIDE" } else { "" };
        text += &format!("  {} {}{side}\n    {}\n", command.name, command.argument, command.text);
    }
    Ok(Json(Explanation { text }))
}

async fn pause(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<PauseAnswer> {
    let PauseOrder { by, reason } = parse(&body)?;
    let (by, reason) = (operator(&who, &by)?, words("reason", &reason)?);
    let pause = Pause { by: by.clone(), reason, since: wall::now() };
    edge.set_pause(&pair, Some(pause), by).await
}

async fn maintenance(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<MaintenanceAnswer> {
    let MaintenanceOrder { by, on, text } = parse(&body)?;
    let (by, text) = (operator(&who, &by)?, words("text", &text)?);
    let wanted = on.then(|| Maintenance { by: by.clone(), text, since: wall::now() });
    let set: Result<Option<Maintenance>, String> =
        edge.door(&pair)?.ask(|reply| Ask::Maintenance(wanted, by, reply)).await?;
    let maintenance = set.map_err(|why| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why))?;
    Ok(Json(MaintenanceAnswer { maintenance }))
}

async fn resume(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<PauseAnswer> {
    let PauseOrder { by, .. } = parse(&body)?;
    edge.set_pause(&pair, None, operator(&who, &by)?).await
}

#[derive(Deserialize)]
struct JournalQuery {
    #[serde(default)]
    from: u64,
    #[serde(default = "journal_limit")]
    limit: u32,
}

fn journal_limit() -> u32 {
    1000
}

async fn entries(
    State(edge): State<Arc<Edge>>,
    Path(pair): Path<String>,
    query: Result<Query<JournalQuery>, axum::extract::rejection::QueryRejection>,
) -> Answer<Journal> {
    let JournalQuery { from, limit } = query.map_err(|error| bad(error.to_string()))?.0;
    let limit = limit.clamp(1, JOURNAL_MAX);
    edge.door(&pair)?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (entries, next) = edge.look(&pair, move |reader| reader.page(from, wanted)).await?;
    Ok(Json(Journal { entries, next }))
}

impl PairDoor {
    /// Asks the pair's driver.
    pub(super) async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refusal> {
        let gone = || {
            let why = format!("pair \"{}\" is being stopped: try again when the edge is back", self.name);
            Refusal(StatusCode::SERVICE_UNAVAILABLE, why)
        };
        let (reply, answer) = oneshot::channel();
        let mut feed = Feed::Ask(ask(reply));
        for _ in 0..TRIES {
            match self.feeds.load_full().send(feed).await {
                Ok(()) => return answer.await.map_err(|_| gone()),
                // A driver that has left is followed by another one, unless the edge ends.
                Err(SendError(back)) => feed = back,
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(gone())
    }
}

impl Edge {
    /// How all pairs stand.
    async fn status(&self) -> Result<Status, Refusal> {
        let mut pairs: Vec<PairStatus> = Vec::new();
        for pair in self.pairs.load_full().iter() {
            // It may have been asked for in the moment in which a driver leaves.
            let mut status = pair.ask(Ask::Status).await;
            if status.is_err() {
                status = pair.ask(Ask::Status).await;
            }
            pairs.push(status?);
        }
        let access_log = self.access_log.load_full().map(|log| log.counts());
        Ok(Status {
            edge: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.clone(),
            config: self.config.clone(),
            reload: self.reload.load().to_vec(),
            journal_lost: self.journal.load().lost(),
            access_log: access_log.map(|Counts { written, lost }| AccessLogStatus { written, lost }),
            trust: TrustStatus::of(self.trust.as_ref(), self.insecure),
            pairs,
        })
    }

    /// The same, and the process, as monitoring reads it.
    pub async fn metrics(&self) -> Result<String, Refusal> {
        let status = self.status().await?;
        // What the kernel tells of the process takes it some time where there are many connections.
        let rendered = tokio::task::spawn_blocking(move || metrics::text(&Look { status, process: Process::look() }));
        rendered.await.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    pub(super) fn door(&self, pair: &str) -> Result<Arc<PairDoor>, Refusal> {
        let pairs = self.pairs.load();
        pairs.iter().find(|door| door.name == pair).cloned().ok_or_else(|| {
            let names: Vec<&str> = pairs.iter().map(|door| door.name.as_str()).collect();
            let what = format!("this edge has no pair \"{pair}\"; it has: {}", names.join(", "));
            Refusal(StatusCode::NOT_FOUND, what)
        })
    }

    async fn set_pause(&self, pair: &str, pause: Option<Pause>, by: String) -> Answer<PauseAnswer> {
        let set: Result<Option<Pause>, String> = self.door(pair)?.ask(|reply| Ask::Pause(pause, by, reply)).await?;
        let paused = set.map_err(|why| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why))?;
        Ok(Json(PauseAnswer { paused }))
    }

    /// How an order ended, with the evidence for it.
    async fn answered(&self, pair: &str, answer: SwitchAnswer) -> Result<Response, Refusal> {
        let (status, answer) = match answer {
            SwitchAnswer::Ended(handover) => {
                let evidence = self.evidence(pair, handover.record.evidence.clone()).await?;
                (StatusCode::OK, SwitchAnswer::Ended(Box::new(Handover { evidence, ..*handover })))
            }
            accepted @ SwitchAnswer::Accepted(_) => (StatusCode::OK, accepted),
            other => (StatusCode::CONFLICT, other),
        };
        Ok((status, Json(answer)).into_response())
    }

    async fn evidence(&self, pair: &str, seqs: Vec<u64>) -> Result<Vec<JournalEntry>, Refusal> {
        self.look(pair, move |reader| reader.events(&seqs)).await
    }

    /// Reads a pair's journal where waiting holds nobody up.
    async fn look<T: Send + 'static>(
        &self,
        pair: &str,
        look: impl FnOnce(journal::Reader) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let reader = self.journal.load_full().reader(pair).await;
        let answered = tokio::task::spawn_blocking(move || look(reader)).await;
        answered.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    /// Reads the store where waiting holds nobody up.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = self.store.load_full();
        let answered = tokio::task::spawn_blocking(move || read(store.reader()?)).await;
        answered.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?.map_err(Refusal::from)
    }
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body is not as expected: {error}")))
}

fn words(key: &str, text: &str) -> Result<String, Refusal> {
    if text.chars().count() > WORDS_MAX || text.chars().any(char::is_control) {
        return Err(bad(format!("`{key}` must be at most {WORDS_MAX} characters, all of them printable")));
    }
    Ok(text.to_owned())
}

pub(super) fn bad(what: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, what)
}
