//! The activity log of a CTI service, and the judgement whether two sides' services ever ran at once.
//!
//! A CTI process writes a line as the first thing it does, one every [`TICK`], and one as the last thing: each is an
//! instant of `CLOCK_BOOTTIME` at which it was *certainly running*. Between two ticks no more than [`STEADY`] apart it
//! is taken to have run all the time; over a longer silence it is not (it was stopped, or frozen with its machine),
//! until the tick that ends the silence.
//!
//! So a hung service that wakes up while the other side's runs is caught by its very first tick, and a hung one that
//! never wakes up is not blamed for having existed. What is not seen: a service that outlives its last tick, by less
//! than one `TICK`.

use crate::lines;
use lockstep_policy::Side;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// How often a running CTI writes a line.
pub const TICK: Duration = Duration::from_millis(5);

/// The longest silence over which a CTI is still taken to have run.
pub const STEADY: Duration = Duration::from_millis(50);

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The process has begun; it is not active yet.
    Start,
    /// It has become active, and is about to say READY.
    Active,
    /// It runs.
    Alive,
    /// It was told to stop: from here on it is active no more, but still runs.
    Stopping,
    /// It is about to exit.
    End,
}

/// One line of a log: who was certainly running, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub at: u64,
    /// The process.
    pub pid: u32,
    /// What it says.
    pub mark: Mark,
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Start => "start",
            Mark::Active => "active",
            Mark::Alive => "alive",
            Mark::Stopping => "stopping",
            Mark::End => "end",
        };
        write!(f, "{} {} {mark}", self.at, self.pid)
    }
}

impl FromStr for Instant {
    type Err = String;

    fn from_str(line: &str) -> Result<Instant, String> {
        let wrong = || format!("`{line}` is not `NANOSECONDS PID start|active|alive|stopping|end`");
        let [at, pid, mark] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let mark = match mark {
            "start" => Mark::Start,
            "active" => Mark::Active,
            "alive" => Mark::Alive,
            "stopping" => Mark::Stopping,
            "end" => Mark::End,
            _ => return Err(wrong()),
        };
        Ok(Instant { at: at.parse().map_err(|_| wrong())?, pid: pid.parse().map_err(|_| wrong())?, mark })
    }
}

/// The pen of one CTI process.
#[derive(Debug)]
pub struct Pen {
    file: File,
}

impl Pen {
    /// Opens a log for appending; runs of a side follow each other in one file.
    ///
    /// # Errors
    /// The file can be neither opened nor made.
    pub fn open(path: &Path) -> io::Result<Pen> {
        Ok(Pen { file: OpenOptions::new().append(true).create(true).open(path)? })
    }

    /// Writes one line about this instant. The clock is read first: the process ran *then*, however late the line is
    /// written.
    ///
    /// # Errors
    /// The line cannot be written.
    pub fn mark(&self, mark: Mark) -> io::Result<()> {
        let line = format!("{}\n", Instant { at: crate::now(), pid: std::process::id(), mark });
        (&self.file).write_all(line.as_bytes())
    }
}

/// Reads a log. A last line that was cut off by the process's death is left out.
///
/// # Errors
/// The file cannot be read (a missing one is an empty log: the CTI never ran), or a whole line is not one of ours.
pub fn read(path: &Path) -> io::Result<Vec<Instant>> {
    lines::read(path, str::parse)
}

/// A time during which one process ran without a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The process.
    pub pid: u32,
    /// Its first instant.
    pub from: u64,
    /// Its last instant.
    pub to: u64,
}

/// The spans in which a log's processes ran.
#[must_use]
pub fn spans(log: &[Instant]) -> Vec<Span> {
    let mut of_process: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for instant in log {
        of_process.entry(instant.pid).or_default().push(instant.at);
    }
    let mut spans = Vec::new();
    for (pid, mut instants) in of_process {
        instants.sort_unstable();
        for at in instants {
            match spans.last_mut() {
                Some(Span { pid: same, to, .. }) if *same == pid && at - *to <= crate::clock::nanos(STEADY) => *to = at,
                _ => spans.push(Span { pid, from: at, to: at }),
            }
        }
    }
    spans.sort_by_key(|span| span.from);
    spans
}

/// Both sides' CTI services ran at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Side A's process.
    pub a: u32,
    /// Side B's process.
    pub b: u32,
    /// The first instant at which both ran.
    pub from: u64,
    /// The last one; the same as the first when one of them was caught by a single tick.
    pub to: u64,
}

impl Overlap {
    /// For how long both ran, at least.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        Duration::from_nanos(self.to - self.from)
    }
}

/// Every time at which a process of side A's log and one of side B's ran at once.
#[must_use]
pub fn overlaps(log_a: &[Instant], log_b: &[Instant]) -> Vec<Overlap> {
    let (spans_a, spans_b) = (spans(log_a), spans(log_b));
    let mut found = Vec::new();
    for a in &spans_a {
        for b in &spans_b {
            let (from, to) = (a.from.max(b.from), a.to.min(b.to));
            if from <= to {
                found.push(Overlap { a: a.pid, b: b.pid, from, to });
            }
        }
    }
    found
}

/// The name of a side's activity log in a folder.
#[must_use]
pub fn file_name(side: Side) -> String {
    format!("cti-{side}.activity")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A run that ticks every 5 ms from `from` to `to`, both in milliseconds.
    fn run(pid: u32, from: u64, to: u64) -> Vec<Instant> {
        (from..=to).step_by(5).map(|ms| Instant { at: ms * MS, pid, mark: Mark::Alive }).collect()
    }

    fn joined(parts: &[Vec<Instant>]) -> Vec<Instant> {
        parts.concat()
    }

    #[test]
    fn one_after_the_other_is_no_overlap() {
        assert_eq!(overlaps(&run(1, 0, 100), &run(2, 101, 200)), []);
    }

    #[test]
    fn both_at_once_is_found_with_its_length() {
        let found = overlaps(&run(1, 0, 100), &run(2, 60, 200));
        assert_eq!(found, [Overlap { a: 1, b: 2, from: 60 * MS, to: 100 * MS }]);
        assert_eq!(found[0].lasted(), Duration::from_millis(40));
    }

    #[test]
    fn one_within_the_other_is_found_whichever_is_longer() {
        assert_eq!(overlaps(&run(1, 0, 500), &run(2, 100, 110)).len(), 1);
        assert_eq!(overlaps(&run(1, 100, 110), &run(2, 0, 500)).len(), 1);
    }

    #[test]
    fn a_stopped_process_is_not_blamed_for_the_time_of_its_stop() {
        // A is stopped at 100 ms and killed without ever waking up.
        assert_eq!(overlaps(&run(1, 0, 100), &run(2, 800, 1_000)), []);
        // A is stopped at 100 ms and wakes up after B has ended.
        let hung = joined(&[run(1, 0, 100), run(1, 1_200, 1_300)]);
        assert_eq!(overlaps(&hung, &run(2, 800, 1_000)), []);
    }

    #[test]
    fn a_single_tick_after_waking_up_is_caught() {
        let woken = joined(&[run(1, 0, 100), run(1, 900, 900)]);
        assert_eq!(overlaps(&woken, &run(2, 800, 1_000)), [Overlap { a: 1, b: 2, from: 900 * MS, to: 900 * MS }]);
    }

    #[test]
    fn a_late_tick_on_a_busy_machine_does_not_hide_an_overlap() {
        // A's ticks come 40 ms apart, B lives between two of them.
        let starved: Vec<_> = (0..10).map(|n| Instant { at: n * 40 * MS, pid: 1, mark: Mark::Alive }).collect();
        assert_eq!(overlaps(&starved, &run(2, 205, 225)).len(), 1);
    }

    #[test]
    fn two_runs_of_one_side_are_two_spans() {
        let log = joined(&[run(1, 0, 20), run(3, 25, 40)]);
        assert_eq!(spans(&log).len(), 2, "another process is another span, however soon it follows");
    }

    #[test]
    fn lines_are_read_as_they_are_written_and_a_cut_one_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file_name(Side::A));
        assert_eq!(read(&path).unwrap(), []);
        let pen = Pen::open(&path).unwrap();
        for mark in [Mark::Start, Mark::Active, Mark::Alive, Mark::Stopping, Mark::End] {
            pen.mark(mark).unwrap();
        }
        (&pen.file).write_all(b"123 4 al").unwrap();
        let marks: Vec<_> = read(&path).unwrap().iter().map(|instant| instant.mark).collect();
        assert_eq!(marks, [Mark::Start, Mark::Active, Mark::Alive, Mark::Stopping, Mark::End]);
        (&pen.file).write_all(b"\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("`123 4 al` is not"));
    }
}
