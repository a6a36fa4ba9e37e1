//! The load, by programs that nobody here wrote: h2load at fixed rates, wrk at saturation.
//!
//! h2load gives each of its clients its requests by the clock (`--rps`), or makes connections by the clock (`--rate`), and writes down
//! each request's time (`--log-file`). wrk and, for HTTP/2, h2load without a rate ask again as soon as they are answered.

use crate::processes::pinned;
use crate::work::{WORKS, Way, Work};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Connections at once at saturation; of HTTP/2, with so many requests at once on each.
const CONNECTIONS: u32 = 64;
const H2_CONNECTIONS: u32 = 8;
const H2_AT_ONCE: u32 = 8;
/// How often new connections are made, at a fixed rate of them.
const PERIODS: u32 = 100;

const REPORT: &str = "done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('found %d %d %d %d\\n', summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout))
end
";

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub requests: u64,
    pub failed: u64,
    pub seconds: f64,
    pub bytes: f64,
    /// Of each request, in microseconds, sorted; at fixed rates only.
    pub took: Vec<f64>,
}

/// Whoever makes the load.
#[derive(Debug)]
pub struct Load {
    dir: PathBuf,
    processors: String,
    /// Each kind of command that was given, for the page.
    said: Mutex<BTreeSet<String>>,
}

impl Load {
    pub fn new(dir: &Path, processors: String) -> Load {
        std::fs::write(dir.join(script(0)), REPORT).unwrap();
        for body in WORKS.iter().map(|work| work.body).filter(|body| *body > 0) {
            let post = format!("wrk.method = 'POST'\nwrk.body = string.rep('x', {body})\n{REPORT}");
            std::fs::write(dir.join(script(body)), post).unwrap();
            std::fs::write(dir.join(posted(body)), "x".repeat(body)).unwrap();
        }
        Load { dir: dir.to_owned(), processors, said: Mutex::default() }
    }

    /// The commands, each once, as they can be typed.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().iter().cloned().collect()
    }

    /// The work at its rate. None when nothing was answered.
    pub fn paced(&self, work: &Work, to: SocketAddr, seconds: u32) -> Option<Outcome> {
        let requests = work.rate * seconds;
        let mut words = Vec::new();
        if work.fresh {
            let each = (work.rate / PERIODS).max(1);
            let period = format!("{}ms", 1_000 * each / work.rate.max(1));
            words.extend([
                format!("--clients={requests}"),
                format!("--rate={each}"),
                format!("--rate-period={period}"),
            ]);
        } else {
            let each = work.rate / work.clients;
            words.extend([format!("--clients={}", work.clients), format!("--rps={each}")]);
        }
        words.push(format!("--requests={requests}"));
        let log = self.dir.join("requests.log");
        let _ = std::fs::remove_file(&log);
        let mut outcome = self.h2load(work, to, &words, Some(&log))?;
        outcome.took = times(&log);
        Some(outcome)
    }

    /// As much of the work as is answered. None when nothing was.
    pub fn full(&self, work: &Work, to: SocketAddr, seconds: u32) -> Option<Outcome> {
        if work.way == Way::H2 {
            let words = [
                format!("--clients={H2_CONNECTIONS}"),
                format!("--max-concurrent-streams={H2_AT_ONCE}"),
                format!("--duration={seconds}"),
                "--warm-up-time=1".to_owned(),
            ];
            return self.h2load(work, to, &words, None);
        }
        let connections = if work.way == Way::Stream { work.clients } else { CONNECTIONS };
        let mut words = vec!["--threads=1".to_owned(), format!("--connections={connections}")];
        words.extend([format!("--duration={seconds}s"), "--timeout=10s".to_owned()]);
        if work.fresh {
            words.extend(["--header".to_owned(), "Connection: close".to_owned()]);
        }
        let script = script(work.body);
        let said = if work.body > 0 { vec![format!("--script={script}")] } else { Vec::new() };
        self.note("wrk", &[&words[..], &said].concat(), work);
        let mut command = pinned(&self.processors, "wrk");
        command.args(&words).arg("--script").arg(self.dir.join(script)).arg(url(work, to));
        let text = output(command);
        let line = text.lines().find_map(|line| line.strip_prefix("found "))?;
        let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [requests, micros, bytes, failed] = numbers[..] else { return None };
        (requests > 0.0).then(|| Outcome {
            requests: requests as u64,
            failed: failed as u64,
            seconds: micros / 1e6,
            bytes,
            took: Vec::new(),
        })
    }

    /// So many requests, for who counts what each costs.
    pub fn counted(&self, work: &Work, to: SocketAddr, requests: u32) -> Option<Outcome> {
        self.h2load(work, to, &["--clients=20".to_owned(), format!("--requests={requests}")], None)
    }

    /// Whether one request is answered.
    pub fn is_served(&self, work: &Work, to: SocketAddr) -> bool {
        let words =
            ["--clients=1".to_owned(), "--requests=1".to_owned(), "--connection-inactivity-timeout=2s".to_owned()];
        self.h2load(work, to, &words, None).is_some()
    }

    fn h2load(&self, work: &Work, to: SocketAddr, words: &[String], log: Option<&Path>) -> Option<Outcome> {
        let protocol = if work.way == Way::H2 { "--npn-list=h2" } else { "--h1" };
        let mut said = vec![protocol.to_owned()];
        if work.body > 0 {
            said.push(format!("--data={}", posted(work.body)));
        }
        if log.is_some() || work.way == Way::H2 {
            self.note("h2load", &[words, &said].concat(), work);
        }
        let mut command = pinned(&self.processors, "h2load");
        command.current_dir(&self.dir).args(words).args(said).arg("--connection-active-timeout=60s");
        if let Some(log) = log {
            command.arg(format!("--log-file={}", log.display()));
        }
        command.arg(url(work, to));
        let text = output(command);
        let requests = number(&text, "requests: ", " succeeded")?;
        let total = number(&text, "requests: ", " done")?;
        let seconds = text.lines().find_map(|line| line.strip_prefix("finished in "))?;
        (requests > 0.0).then(|| Outcome {
            requests: requests as u64,
            failed: (total - requests) as u64,
            seconds: span(seconds.split(',').next().unwrap_or_default()),
            bytes: 0.0,
            took: Vec::new(),
        })
    }

    fn note(&self, program: &str, words: &[String], work: &Work) {
        let words: Vec<_> =
            words.iter().map(|word| if word.contains(' ') { format!("'{word}'") } else { word.clone() }).collect();
        let line = format!("{program} {} {}://…{}", words.join(" "), work.scheme(), work.path);
        self.said.lock().unwrap().insert(line);
    }
}

/// What wrk is told.
fn script(body: usize) -> String {
    if body == 0 { "report.lua".to_owned() } else { format!("post-{body}.lua") }
}

/// The file whose text h2load posts.
fn posted(body: usize) -> String {
    format!("{body}-bytes")
}

fn url(work: &Work, to: SocketAddr) -> String {
    format!("{}://{to}{}", work.scheme(), work.path)
}

fn output(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Of `requests: 30 total, 28 done`: the number before a word.
fn number(text: &str, line: &str, before: &str) -> Option<f64> {
    let line = text.lines().find_map(|text| text.strip_prefix(line))?;
    let part = line.split(',').find_map(|part| part.strip_suffix(before))?;
    part.trim().parse().ok()
}

/// `3.05s` or `640.12ms`, in seconds.
fn span(text: &str) -> f64 {
    let units = [("us", 1e6), ("ms", 1e3), ("s", 1.0)];
    let found = units.iter().find_map(|(unit, parts)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? / parts));
    found.unwrap_or(f64::NAN)
}

/// The times of good answers: the third column.
fn times(log: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let time = |line: &str| {
        let mut columns = line.split('\t').skip(1);
        let good = columns.next().is_some_and(|status| status.starts_with('2'));
        columns.next().filter(|_| good)?.parse().ok()
    };
    let mut times: Vec<f64> = text.lines().filter_map(time).collect();
    times.sort_by(f64::total_cmp);
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_print_is_read() {
        let text =
            "finished in 2.91s, 1030.92 req/s\nrequests: 30 total, 30 started, 29 done, 28 succeeded, 1 failed\n";
        assert_eq!(number(text, "requests: ", " succeeded"), Some(28.0));
        assert_eq!(number(text, "requests: ", " done"), Some(29.0));
        assert_eq!([span("2.5s"), span("640ms"), span("20us")], [2.5, 0.64, 20e-6]);
    }
}
