//! What survives a crash: `node.json` in the state directory.
//!
//! A write is done when it is on the disk and so is its name: written beside, synced, renamed, the name synced. A file
//! that cannot be read stops the agent: a node that has forgotten its epoch could obey an old one (I3).

use crate::crash;
use crate::platform::disk::{self, Lock};
use lockstep_pair::node::Stored;
use lockstep_policy::Side;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const FILE: &str = "node.json";
const BESIDE: &str = "node.json.new";
/// No service's lock can have this name.
const LOCK: &str = ".agent.lock";

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be made, or be written to.
    #[error("state directory {}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another agent has it.
    #[error("state directory {} belongs to another running agent: give each agent a `state` of its own", .0.display())]
    Taken(PathBuf),
    /// What is stored cannot be understood.
    #[error(
        "{} cannot be understood: {why}. It holds the highest epoch that this node has obeyed; without it the node could \
         obey an old order. Restore it from a backup, or, when this side is surely not active and the edge is running, \
         write {{\"pair\":\"…\",\"side\":\"…\",\"epoch\":N,\"active\":false}} with the epoch that `lockstep status` shows",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is another node's.
    #[error(
        "{} is of pair `{pair}`, side {side}; this agent is configured for pair `{own_pair}`, side {own_side}: correct \
         `pair` and `side`, or give this agent a `state` of its own",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The pair in the file.
        pair: String,
        /// The side in the file.
        side: Side,
        /// The pair in the configuration.
        own_pair: String,
        /// The side in the configuration.
        own_side: Side,
    },
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    pair: String,
    side: Side,
    #[serde(flatten)]
    stored: Stored,
}

/// An agent's state directory. As long as this lives, no other agent can open it.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    pair: String,
    side: Side,
    _lock: Lock,
}

impl Store {
    /// Makes the directory where it is missing, takes it, and reads what is stored; nothing was ever obeyed when there is
    /// nothing.
    pub(crate) fn open(directory: &Path, pair: &str, side: Side) -> Result<(Store, Stored), StoreError> {
        let fault = |error| StoreError::Io { path: directory.to_owned(), error };
        disk::private_directory(directory).map_err(fault)?;
        let lock = Lock::take(&directory.join(LOCK)).map_err(fault)?;
        let lock = lock.ok_or_else(|| StoreError::Taken(directory.to_owned()))?;
        let store = Store { directory: directory.to_owned(), pair: pair.to_owned(), side, _lock: lock };
        let stored = store.load()?;
        Ok((store, stored))
    }

    fn load(&self) -> Result<Stored, StoreError> {
        let path = self.directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::default()),
            Err(error) => return Err(StoreError::Io { path, error }),
        };
        let node: Node = match serde_json::from_slice(&text) {
            Ok(node) => node,
            Err(error) => return Err(StoreError::Corrupt { path, why: error.to_string() }),
        };
        if node.pair != self.pair || node.side != self.side {
            let (own_pair, own_side) = (self.pair.clone(), self.side);
            return Err(StoreError::Foreign { path, pair: node.pair, side: node.side, own_pair, own_side });
        }
        Ok(node.stored)
    }

    /// Returns when it is durable, or when it is surely not what will be read.
    pub(crate) fn save(&self, stored: Stored) -> io::Result<()> {
        crash::point("before-store");
        let node = Node { pair: self.pair.clone(), side: self.side, stored };
        let beside = self.directory.join(BESIDE);
        let mut file = disk::private_file().truncate(true).open(&beside)?;
        file.write_all(&serde_json::to_vec(&node)?)?;
        file.sync_all()?;
        drop(file);
        disk::replace(&beside, &self.directory.join(FILE))?;
        crash::point("after-store");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::Epoch;

    fn open(directory: &Path) -> Result<(Store, Stored), StoreError> {
        Store::open(directory, "telisca", Side::A)
    }

    #[test]
    fn what_is_saved_is_read_by_the_next_life() {
        let directory = tempfile::tempdir().unwrap();
        let stored = Stored { epoch: Epoch(7), active: true };
        {
            let (store, before) = open(directory.path()).unwrap();
            assert_eq!(before, Stored::default());
            store.save(stored).unwrap();
        }
        assert_eq!(open(directory.path()).unwrap().1, stored);
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let stored = Stored { epoch: Epoch(7), active: true };
        open(directory.path()).unwrap().0.save(stored).unwrap();
        fs::write(directory.path().join(BESIDE), b"{\"pair\":\"tel").unwrap();
        assert_eq!(open(directory.path()).unwrap().1, stored);
    }

    #[test]
    fn a_corrupt_file_is_not_taken_for_epoch_zero() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"epoch\":1}", "{\"pair\":\"telisca\",\"side\":\"a\",\"epoch\":-1,\"active\":true}"] {
            fs::write(directory.path().join(FILE), text).unwrap();
            let error = open(directory.path()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn another_nodes_state_is_refused_by_both_names() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).unwrap().0.save(Stored::default()).unwrap();
        let error = Store::open(directory.path(), "finesse", Side::B).unwrap_err().to_string();
        for word in ["`telisca`", "side a", "`finesse`", "side b"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn one_agent_per_directory() {
        let directory = tempfile::tempdir().unwrap();
        let _first = open(directory.path()).unwrap();
        assert!(matches!(open(directory.path()).unwrap_err(), StoreError::Taken(_)));
    }
}
