//! A pair's policies: another one in shadow, and the change of places.

use super::api::{PolicyAnswer, PolicyOrder, ShadowOrder, ShadowStatus};
use super::server::{Answer, Edge, Refusal, bad, operator, parse};
use super::who::Who;
use crate::config::{self, Change, PolicyConfig};
use crate::driver::Ask;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

type Said = oneshot::Sender<Result<String, String>>;

pub(super) async fn shadow(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<PolicyAnswer> {
    let ShadowOrder { file, set, by } = parse(&body)?;
    let by = operator(&who, &by)?;
    let changes: Vec<Change> = set.iter().map(|text| Change::parse(text)).collect::<Result<_, _>>().map_err(bad)?;
    let present = edge.door(&pair)?.policy.load_full();
    let policies = edge.policies.clone();
    let look = move || {
        let file = if file.is_empty() { present.file.clone() } else { PathBuf::from(file) };
        config::candidate(&present, &policies, file, &changes)
    };
    let candidate: Result<PolicyConfig, String> = tokio::task::spawn_blocking(look)
        .await
        .map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let candidate = candidate.map_err(|why| Refusal(StatusCode::CONFLICT, why))?;
    edge.tell(&pair, |reply| Ask::Shadow(Some(Box::new(candidate)), by, reply)).await
}

pub(super) async fn end(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<PolicyAnswer> {
    let PolicyOrder { by } = parse(&body)?;
    let by = operator(&who, &by)?;
    edge.tell(&pair, |reply| Ask::Shadow(None, by, reply)).await
}

pub(super) async fn status(State(edge): State<Arc<Edge>>, Path(pair): Path<String>) -> Answer<Option<ShadowStatus>> {
    Ok(Json(edge.door(&pair)?.ask(Ask::ShadowStatus).await?))
}

pub(super) async fn promote(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<PolicyAnswer> {
    edge.change_places(false, &who, &pair, &body).await
}

pub(super) async fn rollback(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    Path(pair): Path<String>,
    body: Bytes,
) -> Answer<PolicyAnswer> {
    edge.change_places(true, &who, &pair, &body).await
}

impl Edge {
    async fn change_places(&self, back: bool, who: &Who, pair: &str, body: &[u8]) -> Answer<PolicyAnswer> {
        let PolicyOrder { by } = parse(body)?;
        let by = operator(who, &by)?;
        self.tell(pair, |reply| Ask::Promote(back, by, reply)).await
    }

    async fn tell(&self, pair: &str, ask: impl FnOnce(Said) -> Ask) -> Answer<PolicyAnswer> {
        let said: Result<String, String> = self.door(pair)?.ask(ask).await?;
        let text = said.map_err(|why| Refusal(StatusCode::CONFLICT, why))?;
        Ok(Json(PolicyAnswer { text }))
    }
}
