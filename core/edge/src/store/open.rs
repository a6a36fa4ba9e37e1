//! Opening the file: whose it is, which version, and whether another edge has it.

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database in the state directory.
const FILE: &str = "lockstep.db";

/// Held locked for as long as an edge runs.
const LOCK: &str = "lockstep.lock";

/// Told from other programs' databases: "lock" in ASCII.
const APPLICATION: i32 = 0x6c6f_636b;

/// The tables' version.
const VERSION: i32 = 2;

/// What a person with `sqlite3` finds. Texts are JSON where they say so; times are RFC 3339 in UTC.
const SCHEMA: &str = "
CREATE TABLE pair (              -- the one row of a pair is written as a whole, before it is acted on
    name         TEXT PRIMARY KEY,
    epoch        INTEGER NOT NULL, -- the highest ever used
    active       TEXT,             -- 'a' or 'b'
    active_epoch INTEGER,
    intent_to    TEXT,             -- an attempt that is under way
    intent_epoch INTEGER,
    state        TEXT NOT NULL,    -- all of it, as JSON: this is what the edge reads
    written      TEXT NOT NULL
) STRICT;
CREATE TABLE handover (
    pair     TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    ordered  TEXT NOT NULL,
    record   TEXT NOT NULL,        -- JSON
    measures TEXT NOT NULL,        -- JSON
    PRIMARY KEY (pair, epoch)
) STRICT;
CREATE TABLE numbers (           -- of events, which the journal has and handovers refer to
    pair TEXT PRIMARY KEY,
    next INTEGER NOT NULL          -- no event has had this number or a higher one
) STRICT;
CREATE TABLE pause (
    pair   TEXT PRIMARY KEY,
    who    TEXT NOT NULL,
    reason TEXT NOT NULL,
    since  TEXT NOT NULL
) STRICT;
";

/// Pairs under maintenance. In every version of the tables.
const MAINTENANCE: &str = "
CREATE TABLE IF NOT EXISTS maintenance (
    pair  TEXT PRIMARY KEY,
    who   TEXT NOT NULL,
    words TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT;
";

/// From version 1, in which the journal was a table: its events go, their numbers are not used again.
const FROM_1: &str = "
CREATE TABLE numbers (pair TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
INSERT INTO numbers (pair, next) SELECT pair, (max(seq) / 10000 + 1) * 10000 + 1 FROM journal GROUP BY pair;
DROP TABLE journal;
";

/// The store cannot be used. Each is a sentence with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made or written to.
    #[error("edge.state: {}: {source}: name a directory that the edge's user may write to", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another edge runs with it.
    #[error("edge.state: {}: another edge has this state directory open: stop it, or give this edge a directory of its own", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// Another program holds a lock on the database.
    #[error("{}: another program has locked it (an open `sqlite3`?): end that, then start the edge again", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Not a database, or a broken one.
    #[error("{}: is damaged: {why}: move it and its -wal away and start the edge again; it then learns the epochs from both agents (have both connected before you order a switch)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A database of another program.
    #[error("{}: is a database of another program: give the edge a state directory of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of lockstep.
    #[error("{}: has tables of version {found}, and this lockstep knows {VERSION}: run the lockstep that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// Anything else that SQLite says.
    #[error("{}: {why}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it says.
        why: String,
    },
}

impl StoreError {
    /// What SQLite's error means for the person who has to act on it.
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
        let (path, why) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, why },
            _ => StoreError::Other { path, why },
        }
    }
}

/// An open store, and the lock that keeps other edges out.
pub(super) struct Opened {
    pub file: PathBuf,
    pub connection: Connection,
    pub _lock: File,
}

pub(super) fn open(directory: &Path) -> Result<Opened, StoreError> {
    let refuse = |source| StoreError::Directory { path: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(refuse)?;
    let lock = lock(directory)?;
    let file = directory.join(FILE);
    let connection = connect(&file).map_err(|error| StoreError::from_sqlite(&file, &error))?;
    identify(&connection, &file)?;
    Ok(Opened { file, connection, _lock: lock })
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let refuse = |source| StoreError::Directory { path: directory.to_owned(), source };
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(LOCK)).map_err(refuse)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Taken { path: directory.to_owned() }),
        Err(errno) => Err(refuse(errno.into())),
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    // A state is waited for by held requests: better an error, and another try, than a long wait.
    connection.busy_timeout(Duration::from_millis(500))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Makes the tables in a new file, brings those of an older version up to date, and refuses all others.
fn identify(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    tables(connection, file)?;
    // A lockstep of before does not look at it, and may go on with the file.
    connection.execute_batch(MAINTENANCE).map_err(|error| StoreError::from_sqlite(file, &error))
}

fn tables(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let sqlite = |error: rusqlite::Error| StoreError::from_sqlite(file, &error);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(sqlite);
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(()),
        (APPLICATION, 1) => {
            let change = format!("BEGIN IMMEDIATE; {FROM_1} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&change).map_err(sqlite)
        }
        (APPLICATION, found) => Err(StoreError::Version { path: file.to_owned(), found }),
        (0, 0) if tables == 0 => {
            let make = format!(
                "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            );
            connection.execute_batch(&make).map_err(sqlite)
        }
        _ => Err(StoreError::Foreign { path: file.to_owned() }),
    }
}
