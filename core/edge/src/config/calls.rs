//! Calls that an edge makes: to turn a node off, and to activate and stop what admits no agent.

use super::pair::HOUR;
use super::table::Table;
use crate::probe::HttpCall;
use http::{Method, Uri};
use std::time::Duration;

/// What a call may be.
const CALL: &str = "`url = \"http://HOST/PATH\"` or `command = [\"/path/of/program\", \"argument\"]`";

/// A call, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallConfig {
    /// Whom to call.
    pub to: CallTo,
    /// Its end is waited for no longer.
    pub timeout: Duration,
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallTo {
    /// An HTTP server.
    Http(Box<HttpCall>),
    /// A program on the edge: path and arguments, read by no shell. Status 0 confirms.
    Command(Vec<String>),
}

/// Reads the keys of a call; the table's other keys are left to its reader.
pub(super) fn read(table: &mut Table<'_, '_>, method: Method, timeout: Duration) -> Option<CallConfig> {
    let timeout = table.duration("timeout", timeout, Duration::from_millis(10)..=HOUR).value;
    let url = table.text("url");
    let command = table.list::<String>("command", "a list of texts: the program, and its arguments");
    let http = url.and_then(|url| {
        let call = http(table, &url.value, method);
        if call.is_none() {
            let what = format!("\"{}\" cannot be called", url.value);
            table.refuse(url.at, "url", what, "http://HOST:PORT/PATH or https://HOST:PORT/PATH");
        }
        Some((url.at, call?))
    });
    match (http, command, table.has("url")) {
        (Some((_, call)), None, _) => Some(CallConfig { to: CallTo::Http(Box::new(call)), timeout }),
        (None, Some(command), false) => {
            let words: Vec<String> = command.items.into_iter().map(|word| word.value).collect();
            if words.first().is_none_or(|program| !program.starts_with('/')) {
                let what = "does not begin with the whole path of a program";
                table.refuse(command.at, "command", what, "[\"/path/of/program\", \"argument\"]");
            }
            Some(CallConfig { to: CallTo::Command(words), timeout })
        }
        (_, Some(command), _) => {
            table.refuse(command.at, "command", "stands beside `url`", format!("one of them: {CALL}"));
            None
        }
        (None, None, false) => {
            table.missing("url", CALL);
            None
        }
        (None, None, true) => None,
    }
}

fn http(table: &mut Table<'_, '_>, url: &str, usual: Method) -> Option<HttpCall> {
    let uri = url.parse::<Uri>().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    let method = table.parsed::<Method>("method", "a method such as \"POST\"").map_or(usual, |method| method.value);
    let text = |table: &mut Table<'_, '_>, key| table.text(key).map(|text| text.value).unwrap_or_default();
    let expect = table.list::<u16>("expect", "statuses, such as [\"200\", \"202\"]");
    let call = HttpCall {
        method,
        uri,
        verify: table.word("tls", &[("verified", true), ("unverified", false)]).unwrap_or(true),
        body: text(table, "body"),
        content_type: text(table, "content_type"),
        authorization: text(table, "authorization"),
        expect: expect.map(|list| list.items.into_iter().map(|status| status.value).collect()).unwrap_or_default(),
        says: text(table, "says"),
    };
    known.then_some(call)
}
