//! `[pair.session]`: what a session is, in a pair in which both sides may serve.

use super::pair::HOUR;
use super::table::Table;
use crate::proxy::{SessionBy, SessionSettings};
use lockstep_pair::share::Attribute;
use std::str::FromStr;
use std::time::Duration;

/// What names a session.
const BY: &str = "\"address\", \"cookie:NAME\", \"insert:NAME\", \"header:NAME\" or \"parameter:NAME\"";

/// Why nothing of TLS names a session.
const TLS: &str = "TLS 1.3 has no number that stays a client's: it gets tickets for one use each, and connections that it opens at \
                   once have nothing in common; `insert:NAME` gives clients a cookie instead";

/// Whether `[pair.session]` is there, where it stands, and what it says; all of it has a default.
pub(super) fn read(table: Option<Table<'_, '_>>) -> (Option<usize>, SessionSettings) {
    let mut session = SessionSettings::default();
    let Some(mut table) = table else { return (None, session) };
    if let Some(By(by)) = table.parsed("by", BY).map(|by| by.value) {
        session.by = by;
    }
    session.idle = table.duration("idle", session.idle, Duration::from_secs(1)..=24 * 30 * HOUR).value;
    let max = table.number("max", session.max as u64, 1..=10_000_000);
    session.max = usize::try_from(max).unwrap_or(usize::MAX);
    let at = table.at();
    table.finish();
    (Some(at), session)
}

const NOTHING: &str = "it names nothing that a request carries";

struct By(SessionBy);

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<By, String> {
        if text == "address" {
            return Ok(By(SessionBy::Address));
        }
        let Some((kind, name)) = text.split_once(':') else {
            return Err(if text == "tls" { TLS } else { NOTHING }.to_owned());
        };
        let attribute = |kind: &str| Attribute::read(&format!("{kind}:{name}"));
        match (
            kind,
            attribute(if kind == "parameter" {
                "query"
            } else if kind == "header" {
                kind
            } else {
                "cookie"
            }),
        ) {
            ("cookie", Ok(Attribute::Cookie(name))) => Ok(By(SessionBy::Cookie(name))),
            ("insert", Ok(Attribute::Cookie(name))) => Ok(By(SessionBy::Insert(name))),
            ("header", Ok(Attribute::Header(name))) => Ok(By(SessionBy::Header(name))),
            ("parameter", Ok(Attribute::Query(name))) => Ok(By(SessionBy::Parameter(name))),
            ("cookie" | "insert" | "header" | "parameter", Err(why)) => Err(why),
            _ => Err(NOTHING.to_owned()),
        }
    }
}
