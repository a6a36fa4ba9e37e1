//! What is durable, read from the files themselves.

use lockstep_pair::coordinator::Stored;
use lockstep_pair::record::HandoverRecord;
use lockstep_policy::Side;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// What an agent has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The highest epoch that it has obeyed.
    pub epoch: u64,
    /// Whether it was made active in it.
    pub active: bool,
}

/// What the edge has stored.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The pair's state.
    pub state: Stored,
    /// The handovers, oldest first.
    pub handovers: Vec<HandoverRecord>,
}

/// An agent's file; none while there is none.
pub fn node(dir: &Path, side: Side) -> Option<Node> {
    let text = std::fs::read(crate::watch::file(dir, side)).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    Some(Node { epoch: value["epoch"].as_u64()?, active: value["active"].as_bool()? })
}

/// The edge's database.
pub fn edge(dir: &Path, pair: &str) -> Edge {
    let database = Connection::open_with_flags(dir.join("edge/lockstep.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let state: String = database.query_row("SELECT state FROM pair WHERE name = ?1", [pair], |row| row.get(0)).unwrap();
    let mut rows = database.prepare("SELECT record FROM handover WHERE pair = ?1 ORDER BY epoch").unwrap();
    let records = rows.query_map([pair], |row| row.get::<_, String>(0)).unwrap();
    let handovers = records.map(|record| serde_json::from_str(&record.unwrap()).unwrap()).collect();
    Edge { state: serde_json::from_str(&state).unwrap(), handovers }
}
