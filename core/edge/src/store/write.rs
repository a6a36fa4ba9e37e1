//! The store's one writing thread.

use super::open::Opened;
use super::{Answer, Job, KeptHandover};
use crate::admin::api::{Maintenance, Pause};
use crate::wall;
use lockstep_pair::coordinator::Stored;
use rusqlite::{Connection, params};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

/// Writes that nobody waits for that are done at once: a state waits for no more.
const BATCH: usize = 128;

/// What a full disk did not take is tried again with the next write, and after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Handovers are looked through after so many new writes.
const TRIM_EVERY: usize = 1000;

/// Handovers that are kept for each pair.
const HANDOVERS: i64 = 1000;

pub(super) struct Writer {
    opened: Opened,
    later_waiting: Arc<AtomicUsize>,
    since_trim: usize,
    /// What nobody waits for, and the disk has not taken yet: a batch at the most.
    untaken: Vec<Job>,
    /// Answered when the present batch is written and the file is closed.
    closing: Option<Answer>,
}

impl Writer {
    pub fn new(opened: Opened, later_waiting: Arc<AtomicUsize>) -> Writer {
        Writer { opened, later_waiting, since_trim: TRIM_EVERY, untaken: Vec::new(), closing: None }
    }

    /// Writes until the store is closed, or every [`super::Store`] is gone.
    pub fn run(mut self, inbox: &Receiver<Job>) {
        loop {
            let mut later = std::mem::take(&mut self.untaken);
            let wait = if later.is_empty() { Duration::MAX } else { AGAIN };
            match inbox.recv_timeout(wait) {
                Ok(first) => self.sort(first, &mut later),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            loop {
                match inbox.try_recv() {
                    Ok(job) => self.sort(job, &mut later),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
                if later.len() >= BATCH {
                    break;
                }
            }
            self.write_later(later);
            if let Some(answer) = self.closing.take() {
                drop(self.opened);
                return answer(Ok(()));
            }
        }
    }

    /// Does at once what is waited for, and puts aside what is not.
    fn sort(&mut self, job: Job, later: &mut Vec<Job>) {
        match job {
            Job::State { pair, stored, answer } => {
                crate::crash::point("before-store");
                let written = put_state(&self.opened.connection, &pair, &stored);
                crate::crash::point("after-store");
                tell(answer, written);
            }
            Job::Pause { pair, pause, answer } => {
                tell(answer, put_pause(&self.opened.connection, &pair, pause.as_ref()));
            }
            Job::Maintenance { pair, maintenance, answer } => {
                tell(answer, put_maintenance(&self.opened.connection, &pair, maintenance.as_ref()));
            }
            Job::Handover { .. } | Job::Numbers { .. } => later.push(job),
            Job::Close { answer } => self.closing = Some(answer),
            #[cfg(test)]
            Job::Wait(until) => {
                let _ = until.recv();
            }
        }
    }

    fn write_later(&mut self, mut later: Vec<Job>) {
        if later.is_empty() {
            return;
        }
        let written = later.len();
        if let Err(error) = self.write_batch(&later) {
            let lost = later.len().saturating_sub(BATCH);
            tracing::warn!(%error, lost, "the store does not take handovers' records: tried again");
            self.untaken = later.split_off(lost);
        }
        let written = written - self.untaken.len();
        self.later_waiting.fetch_sub(written, Ordering::Relaxed);
        self.since_trim += written;
        if self.since_trim >= TRIM_EVERY {
            self.since_trim = 0;
            if let Err(error) = trim(&self.opened.connection) {
                tracing::warn!(%error, "old handovers cannot be removed");
            }
        }
    }

    /// Without waiting for the disk: the next state's write brings this with it.
    fn write_batch(&mut self, later: &[Job]) -> rusqlite::Result<()> {
        let connection = &mut self.opened.connection;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let written = (|| {
            let batch = connection.transaction()?;
            for job in later {
                match job {
                    Job::Numbers { pair, next } => put_numbers(&batch, pair, *next)?,
                    Job::Handover { pair, kept } => put_handover(&batch, pair, kept)?,
                    _ => {}
                }
            }
            batch.commit()
        })();
        connection.pragma_update(None, "synchronous", "FULL")?;
        written
    }
}

fn tell(answer: Answer, written: rusqlite::Result<()>) {
    answer(written.map_err(|error| error.to_string()));
}

fn put_state(connection: &Connection, pair: &str, stored: &Stored) -> rusqlite::Result<()> {
    let (active, active_epoch) = stored.active.map(|(side, epoch)| (side.to_string(), number(epoch.0))).unzip();
    let intent = stored.intent.as_ref();
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO pair (name, epoch, active, active_epoch, intent_to, intent_epoch, state, written)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    statement.execute(params![
        pair,
        number(stored.epoch.0),
        active,
        active_epoch,
        intent.map(|intent| intent.to.to_string()),
        intent.map(|intent| number(intent.epoch.0)),
        json(stored)?,
        wall::now(),
    ])?;
    Ok(())
}

fn put_pause(connection: &Connection, pair: &str, pause: Option<&Pause>) -> rusqlite::Result<()> {
    match pause {
        Some(pause) => connection.execute(
            "INSERT OR REPLACE INTO pause (pair, who, reason, since) VALUES (?1, ?2, ?3, ?4)",
            params![pair, pause.by, pause.reason, pause.since],
        ),
        None => connection.execute("DELETE FROM pause WHERE pair = ?1", [pair]),
    }
    .map(|_| ())
}

fn put_maintenance(connection: &Connection, pair: &str, begun: Option<&Maintenance>) -> rusqlite::Result<()> {
    match begun {
        Some(begun) => connection.execute(
            "INSERT OR REPLACE INTO maintenance (pair, who, words, since) VALUES (?1, ?2, ?3, ?4)",
            params![pair, begun.by, begun.text, begun.since],
        ),
        None => connection.execute("DELETE FROM maintenance WHERE pair = ?1", [pair]),
    }
    .map(|_| ())
}

fn put_handover(connection: &Connection, pair: &str, kept: &KeptHandover) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO handover (pair, epoch, ordered, record, measures) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let (record, measures) = (json(&kept.record)?, json(&kept.measures)?);
    statement.execute(params![pair, number(kept.record.epoch.0), kept.when, record, measures])?;
    Ok(())
}

fn put_numbers(connection: &Connection, pair: &str, next: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO numbers (pair, next) VALUES (?1, ?2)")?;
    statement.execute(params![pair, number(next)])?;
    Ok(())
}

fn trim(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM handover WHERE (SELECT count(*) FROM handover AS later
         WHERE later.pair = handover.pair AND later.epoch > handover.epoch) >= ?1",
        [HANDOVERS],
    )?;
    Ok(())
}

/// SQLite has signed numbers only. An epoch that large is never reached.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
