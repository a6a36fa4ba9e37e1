//! A pair's journal as one file, handed over as it is read.

use super::server::{Edge, Refusal, bad};
use crate::journal::{Piece, Since};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces that wait for a slow reader; the disk then waits, too.
const PIECES: usize = 4;

/// Exports that are made at once: each has a thread.
const EXPORTS: usize = 4;

/// A reader that takes no piece for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);

static PLACES: Semaphore = Semaphore::const_new(EXPORTS);

#[derive(Deserialize)]
pub(super) struct ExportQuery {
    since: Option<String>,
}

/// `GET /v1/pairs/{pair}/journal/export?since=SEQ|2h`: segments, joined.
pub(super) async fn export(
    State(edge): State<Arc<Edge>>,
    Path(pair): Path<String>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let since = match query.map_err(|error| bad(error.to_string()))?.0.since {
        None => Since::Seq(0),
        Some(text) => parse(&text)?,
    };
    edge.door(&pair)?;
    let Ok(place) = PLACES.try_acquire() else {
        return Err(bad(format!("{EXPORTS} exports are being made already: try again when one has ended")));
    };
    let reader = edge.journal.load_full().reader(&pair).await;
    let (pieces, stream) = mpsc::channel::<Piece>(PIECES);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        reader.export(since, |piece| runtime.block_on(pieces.send_timeout(piece, PATIENCE)).is_ok());
    });
    let body = Body::from_stream(ReceiverStream::new(stream).map(|piece| piece.map(Bytes::from)));
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

fn parse(text: &str) -> Result<Since, Refusal> {
    if let Ok(seq) = text.parse() {
        return Ok(Since::Seq(seq));
    }
    let wrong = |_| bad(format!("`since` = \"{text}\" is neither an event's number nor a time such as 2h"));
    humantime::parse_duration(text).map(Since::Ago).map_err(wrong)
}
