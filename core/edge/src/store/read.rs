//! What is asked of the store.

use super::open::StoreError;
use super::{Found, KeptHandover};
use crate::admin::api::{Maintenance, Pause};
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    file: PathBuf,
    connection: Connection,
}

impl Reader {
    pub(super) fn open(file: &Path) -> Result<Reader, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(file, flags)?;
            connection.busy_timeout(Duration::from_millis(500))?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Reader { file: file.to_owned(), connection }),
            Err(error) => Err(StoreError::from_sqlite(file, &error)),
        }
    }

    /// What a pair is found with.
    pub fn find(&self, pair: &str) -> Result<Found, StoreError> {
        let find = || {
            let stored = self
                .connection
                .query_row("SELECT state FROM pair WHERE name = ?1", [pair], |row| json(row, 0))
                .optional()?
                .unwrap_or_default();
            let pause = self
                .connection
                .query_row("SELECT who, reason, since FROM pause WHERE pair = ?1", [pair], |row| {
                    Ok(Pause { by: row.get(0)?, reason: row.get(1)?, since: row.get(2)? })
                })
                .optional()?;
            let maintenance = self
                .connection
                .query_row("SELECT who, words, since FROM maintenance WHERE pair = ?1", [pair], |row| {
                    Ok(Maintenance { by: row.get(0)?, text: row.get(1)?, since: row.get(2)? })
                })
                .optional()?;
            let next_seq = self
                .connection
                .query_row("SELECT next FROM numbers WHERE pair = ?1", [pair], |row| row.get::<_, i64>(0))
                .optional()?
                .and_then(|next| u64::try_from(next).ok())
                .unwrap_or(1);
            let last_handover = self
                .connection
                .query_row("SELECT ordered FROM handover WHERE pair = ?1 ORDER BY epoch DESC LIMIT 1", [pair], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(Found { stored, pause, maintenance, next_seq, last_handover })
        };
        self.damage(find())
    }

    /// A handover of a pair; the latest when no epoch is named.
    pub fn handover(&self, pair: &str, epoch: Option<u64>) -> Result<Option<KeptHandover>, StoreError> {
        let sql = "SELECT ordered, record, measures FROM handover
                   WHERE pair = ?1 AND (?2 IS NULL OR epoch = ?2) ORDER BY epoch DESC LIMIT 1";
        let epoch = epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX));
        let read =
            |row: &Row<'_>| Ok(KeptHandover { when: row.get(0)?, record: json(row, 1)?, measures: json(row, 2)? });
        self.damage(self.connection.query_row(sql, params![pair, epoch], read).optional())
    }

    fn damage<T>(&self, read: rusqlite::Result<T>) -> Result<T, StoreError> {
        read.map_err(|error| match error {
            rusqlite::Error::FromSqlConversionFailure(..) => {
                StoreError::Damaged { path: self.file.clone(), why: error.to_string() }
            }
            other => StoreError::from_sqlite(&self.file, &other),
        })
    }
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
