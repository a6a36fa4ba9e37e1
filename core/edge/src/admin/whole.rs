//! The edge as a whole: its configuration, read again, and its program, gone on in.

use super::api::{Reloaded, UpgradeOrder, Upgraded, WholeOrder};
use super::server::{Answer, Edge, Errand, Refusal, operator, parse};
use super::who::Who;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What naming the program that takes the edge over asks for: it is whatever that program does.
const ALL: &str = "all";

pub(super) async fn reload(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let WholeOrder { by } = parse(&body)?;
    let by = operator(&who, &by)?;
    tracing::info!(by, "a reload is asked for");
    let reloaded: Reloaded = edge.run(Errand::Reload).await?;
    let status = if reloaded.applied { StatusCode::OK } else { StatusCode::CONFLICT };
    Ok((status, Json(reloaded)).into_response())
}

pub(super) async fn upgrade(
    State(edge): State<Arc<Edge>>,
    Extension(who): Extension<Who>,
    body: Bytes,
) -> Answer<Upgraded> {
    let UpgradeOrder { program, by } = parse(&body)?;
    let by = operator(&who, &by)?;
    if !program.is_empty() && !who.rights.iter().any(|right| right == ALL) {
        let why = format!("naming a program asks for the right \"{ALL}\": leave it out, or use the admin token");
        return Err(Refusal(StatusCode::FORBIDDEN, why));
    }
    tracing::info!(by, program, "an upgrade is asked for");
    let program = (!program.is_empty()).then(|| PathBuf::from(program));
    let done: Result<u32, String> = edge.run(|reply| Errand::Upgrade(program, reply)).await?;
    done.map(|pid| Json(Upgraded { pid })).map_err(|why| Refusal(StatusCode::CONFLICT, why))
}

impl Edge {
    async fn run<T>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> Errand) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let busy = |_| {
            let why = "other reloads or upgrades are waiting already: ask again when they are done";
            Refusal(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
        };
        self.errands.try_send(errand(reply)).map_err(busy)?;
        let ending = |_| Refusal(StatusCode::SERVICE_UNAVAILABLE, "the edge is being stopped".to_owned());
        answer.await.map_err(ending)
    }
}
