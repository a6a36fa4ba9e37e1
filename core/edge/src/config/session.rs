//! `[pair.session]`: what a session is, in a pair in which both sides may serve.

use super::listener::ReadListener;
use super::pair::HOUR;
use super::table::Table;
use crate::proxy::{SessionBy, SessionSettings};
use lockstep_pair::share::Attribute;
use std::str::FromStr;
use std::time::Duration;

/// What names a session.
const BY: &str = "\"address\", \"cookie:NAME\", \"insert:NAME\", \"header:NAME\", \"parameter:NAME\" or \"tls\"";

/// A session of TLS is one of a listener whose clients may resume: who shows a certificate is asked for it each time.
pub(super) fn check(pair: &Table<'_, '_>, at: Option<usize>, session: &SessionSettings, listeners: &[ReadListener]) {
    let resumes = |listener: &ReadListener| listener.config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_none());
    if let Some(at) = at.filter(|_| session.by == SessionBy::Tls && !listeners.iter().any(resumes)) {
        let what = "is \"tls\", and no listener of the pair speaks TLS with clients that may resume";
        pair.refuse(at, "session.by", what, "a [[pair.listener]] with `tls`, without `client_ca`; or another word");
    }
}

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
        let Some((kind, name)) = text.split_once(':') else {
            return match text {
                "address" => Ok(By(SessionBy::Address)),
                "tls" => Ok(By(SessionBy::Tls)),
                _ => Err(NOTHING.to_owned()),
            };
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
