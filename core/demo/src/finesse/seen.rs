//! What a simulated Finesse server was asked, one line each.

use crate::lines;
use lockstep_policy::Side;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

/// One request that came to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When, on `CLOCK_BOOTTIME`, in nanoseconds.
    pub at: u64,
    /// What was asked for.
    pub kind: Kind,
    /// The desktop that asked, as the edge tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The number that the desktop gave his request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Whether the server was in service; for a poll: whether it said so.
    pub in_service: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SystemInfo.
    Poll,
    /// Events, for as long as the connection lasts.
    Events,
    /// Anything else.
    Desktop,
}

/// The name of a side's log.
#[must_use]
pub fn file_name(side: Side) -> String {
    format!("finesse-{side}.jsonl")
}

/// Reads a log; a missing file is an empty log.
///
/// # Errors
/// The file cannot be read, or a whole line is not one of ours.
pub fn read(path: &Path) -> io::Result<Vec<Seen>> {
    lines::read(path, |line| serde_json::from_str(line))
}

pub(super) struct Pen(File);

impl Pen {
    pub(super) fn open(path: &Path) -> io::Result<Pen> {
        OpenOptions::new().append(true).create(true).open(path).map(Pen)
    }

    pub(super) fn write(&self, seen: &Seen) -> io::Result<()> {
        let line = serde_json::to_string(seen).map_err(io::Error::other)?;
        (&self.0).write_all(format!("{line}\n").as_bytes())
    }
}
