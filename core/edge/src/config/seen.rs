//! How the data plane is seen: `[edge.access_log]`, and of `[edge]` the keys `metrics`, `trace` and `request_id`.

use super::edge::beside;
use super::table::Table;
use crate::access::{Format, Settings, To};
use std::net::SocketAddr;
use std::path::Path;

/// What is written, shown and made of requests beside serving them. All of it is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenConfig {
    /// `[edge.access_log]`.
    pub access_log: Option<Settings>,
    /// Where metrics are given to whoever asks, beside the admin API.
    pub metrics: Option<SocketAddr>,
    /// A request without a trace context is given one.
    pub trace: bool,
    /// A request without an `X-Request-Id` is given one.
    pub request_id: bool,
}

/// Reads what of `[edge]` is about this. Relative paths start at the configuration's directory.
pub(super) fn read(table: &mut Table<'_, '_>, file: &Path) -> SeenConfig {
    let words = [("pass", false), ("always", true)];
    let metrics = table.parsed("metrics", "an address \"IP:PORT\", such as \"10.0.0.100:7481\"");
    SeenConfig {
        metrics: metrics.map(|metrics| metrics.value),
        trace: table.word("trace", &words).unwrap_or_default(),
        request_id: table.word("request_id", &words).unwrap_or_default(),
        access_log: table.table("access_log", "edge.access_log").and_then(|table| access_log(table, file)),
    }
}

fn access_log(mut table: Table<'_, '_>, file: &Path) -> Option<Settings> {
    let format = table.word("format", &[("json", Format::Json), ("combined", Format::Combined)]);
    let to = match table.text("file") {
        Some(name) if name.value.is_empty() => {
            table.refuse(name.at, "file", "is empty", "a file's path, or \"stdout\"");
            None
        }
        Some(name) if name.value == "stdout" => Some(To::Stdout),
        Some(name) => Some(To::File(beside(file).join(name.value))),
        None => {
            table.missing("file", "a file's path, such as `file = \"/var/log/lockstep/access.log\"`, or \"stdout\"");
            None
        }
    };
    table.finish();
    Some(Settings { to: to?, format: format.unwrap_or_default() })
}
