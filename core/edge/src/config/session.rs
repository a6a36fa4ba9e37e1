//! `[pair.session]`: what a session is, in a pair in which both sides may serve.

use super::pair::HOUR;
use super::table::Table;
use crate::proxy::{SessionBy, SessionSettings};
use lockstep_pair::share::Attribute;
use std::str::FromStr;
use std::time::Duration;

/// What names a session.
const BY: &str = "\"address\", \"cookie:NAME\" or \"header:NAME\"";

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

struct By(SessionBy);

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<By, String> {
        if text == "address" {
            return Ok(By(SessionBy::Address));
        }
        if !text.starts_with("cookie:") && !text.starts_with("header:") {
            return Err("it names nothing that a request carries".to_owned());
        }
        match Attribute::read(text)? {
            Attribute::Cookie(name) => Ok(By(SessionBy::Cookie(name))),
            Attribute::Header(name) => Ok(By(SessionBy::Header(name))),
            Attribute::Query(_) => Err("a query cannot name a session".to_owned()),
        }
    }
}
