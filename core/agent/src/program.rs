//! A program that is run to its end: bounded in time and in what is kept of its words.

use crate::platform::family::Family;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// What is kept: the last of its words.
const KEPT: usize = 4096;
/// How long words may still come once the program has ended: something that it has left behind may hold its output.
const AFTER: Duration = Duration::from_millis(100);

/// How a program has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None: it was killed, because it took too long.
    pub(crate) status: Option<ExitStatus>,
    /// The last of what it has written, on both of its outputs.
    pub(crate) words: String,
}

impl Ended {
    /// Its first line, without what surrounds it, at most `max` characters.
    pub(crate) fn first_line(&self, max: usize) -> String {
        self.words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("").chars().take(max).collect()
    }

    /// Its last lines, at most `lines` of them.
    pub(crate) fn last_lines(&self, lines: usize) -> String {
        let all: Vec<&str> = self.words.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs a program with some variables more than the agent's own. At `within` it is killed, with what it has started; and
/// so it is when nobody waits any more.
pub(crate) async fn run(command: &[String], variables: &[(&str, String)], within: Duration) -> io::Result<Ended> {
    let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(args).envs(variables.iter().map(|(name, value)| (name, value)));
    let (mut child, mut family, mut output) = Family::start(command)?;
    let mut words = Vec::new();
    let run = async {
        tokio::select! {
            status = child.wait() => status,
            () = keep(&mut output, &mut words) => child.wait().await,
        }
    };
    let status = match timeout(within, run).await {
        Ok(status) => Some(status?),
        Err(_) => None,
    };
    if status.is_none() {
        family.kill();
        let _ = child.wait().await;
    }
    // What it has left running is the program's own business: from here on it is not killed.
    family.leave();
    let _ = timeout(AFTER, keep(&mut output, &mut words)).await;
    Ok(Ended { status, words: String::from_utf8_lossy(&words).into_owned() })
}

/// Reads to the end, and keeps the last of it.
async fn keep(output: &mut (impl AsyncRead + Unpin), words: &mut Vec<u8>) {
    let mut chunk = [0; 1024];
    while let Ok(count @ 1..) = output.read(&mut chunk).await {
        words.extend_from_slice(&chunk[..count]);
        let surplus = words.len().saturating_sub(KEPT);
        words.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal};

    const LONG: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn status_and_words_come_back() {
        let ended = run(&sh("echo one; echo $WORD >&2; exit 3"), &[("WORD", "two".to_owned())], LONG).await.unwrap();
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
        assert_eq!(ended.words, "one\ntwo\n");
        assert_eq!((ended.first_line(2).as_str(), ended.last_lines(1).as_str()), ("on", "two"));
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_killed_with_what_it_has_started() {
        let started = std::time::Instant::now();
        let ended = run(&sh("echo begun; sleep 1000 & wait"), &[], Duration::from_secs(2)).await.unwrap();
        assert!(ended.status.is_none() && ended.words == "begun\n", "{ended:?}");
        assert!(started.elapsed() < LONG);
    }

    #[tokio::test]
    async fn only_the_last_of_many_words_is_kept_and_a_full_pipe_stops_nobody() {
        let ended = run(&sh("yes | head -c 1000000; echo end"), &[], LONG).await.unwrap();
        assert!(ended.words.len() <= KEPT && ended.words.ends_with("end\n"));
        assert!(ended.status.is_some_and(|status| status.success()));
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_not_waited_for() {
        let ended = run(&sh("sleep 30 & echo $!"), &[], LONG).await.unwrap();
        assert!(ended.status.is_some_and(|status| status.success()));
        let left = ended.first_line(20).parse().ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(left, Signal::KILL).unwrap();
    }
}
