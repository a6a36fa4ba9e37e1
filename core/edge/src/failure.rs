//! Why an edge does not start, or cannot go on.

use crate::config::Report;
use crate::pairs::Unready;
use crate::proxy::{BindError, TlsError};
use crate::store::StoreError;
use lockstep_wire::trust::TrustError;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// An edge does not start, or cannot go on. Each is a sentence with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The configuration is not valid.
    #[error("{0}")]
    Config(#[from] Report),
    /// The state directory or what is in it cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The certificates that `[edge.tls]` names cannot be used.
    #[error("{}: edge.tls: {source}", file.display())]
    Trust {
        /// The configuration.
        file: PathBuf,
        /// Which, and why.
        source: TrustError,
    },
    /// What a pair's TLS rests on cannot be used.
    #[error("{}: {key} of pair \"{pair}\": {source}", file.display())]
    Encryption {
        /// The configuration.
        file: PathBuf,
        /// The key that names it.
        key: &'static str,
        /// The pair.
        pair: String,
        /// Which file, and why.
        source: TlsError,
    },
    /// A listener of a pair cannot be bound.
    #[error("{}: {key} of pair \"{pair}\": {source}", file.display())]
    Listen {
        /// The configuration.
        file: PathBuf,
        /// The key that it stands under.
        key: String,
        /// The pair.
        pair: String,
        /// Why.
        source: Box<BindError>,
    },
    /// The admin API cannot be bound.
    #[error("{}: edge.admin: cannot listen on {address}: {source}: is another edge running? give each an address of its own", file.display())]
    Admin {
        /// The configuration.
        file: PathBuf,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address for metrics cannot be bound.
    #[error("{}: edge.metrics: cannot listen on {address}: {source}: give it an address of this machine and a port that nobody listens on", file.display())]
    Metrics {
        /// The configuration.
        file: PathBuf,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("{}: edge.access_log.file: {log} cannot be appended to: {source}: make its directory, and let the edge's user write there", file.display())]
    AccessLog {
        /// The configuration.
        file: PathBuf,
        /// The log.
        log: String,
        /// Why.
        source: io::Error,
    },
    /// The admin token cannot be written.
    #[error("{}: edge.state: the admin token cannot be written: {source}: let the edge's user write to the state directory", file.display())]
    Token {
        /// The configuration.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The edge that is there goes on, and this process is not its successor.
    #[error("the edge before goes on: {why}")]
    NotTakenOver {
        /// Why.
        why: String,
    },
    /// A part of the edge has ended that must not: the process is to be started again.
    #[error("{what} has ended unexpectedly: {why}; start the edge again")]
    Broken {
        /// Which part.
        what: String,
        /// Why.
        why: String,
    },
}

impl EdgeError {
    pub(crate) fn broken(what: &str, why: impl ToString) -> EdgeError {
        EdgeError::Broken { what: what.to_owned(), why: why.to_string() }
    }

    pub(crate) fn unready(file: &Path, pair: &str, unready: Unready) -> EdgeError {
        let (file, pair) = (file.to_owned(), pair.to_owned());
        match unready {
            Unready::Encryption(key, source) => EdgeError::Encryption { file, key, pair, source },
            Unready::Listen(key, source) => EdgeError::Listen { file, key, pair, source: Box::new(source) },
        }
    }
}
