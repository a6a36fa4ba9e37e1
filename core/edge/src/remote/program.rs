//! A command of the configuration, run to its end: bounded in time and in what is kept of its words.

use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// What is kept of its words: the last of them.
const KEPT: usize = 1024;

/// Runs a command with some variables more than the edge's own: its status, if it ended by one, and its last words. At
/// `within` it is killed, with its process group; and so it is when nobody waits any more.
pub(super) async fn end(
    command: &[String],
    variables: &[(&'static str, String)],
    within: Duration,
) -> Result<(Option<i32>, String), String> {
    let name = name(command);
    let mut child = Command::new(name)
        .args(command.get(1..).unwrap_or_default())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{name}` could not be run: {error}"))?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let run = async {
        // What it leaves behind may hold its outputs: its own end counts.
        let words = async { tokio::join!(keep(out, &mut said), keep(err, &mut complained)) };
        tokio::select! {
            biased;
            _ = words => child.wait().await,
            status = child.wait() => status,
        }
    };
    let ended = timeout(within, run).await;
    let words = String::from_utf8_lossy(&[said, complained].concat()).trim().to_owned();
    match ended {
        Ok(Ok(status)) => {
            // What it has left running is the command's own business.
            group.spare();
            Ok((status.code(), words))
        }
        Ok(Err(error)) => Err(format!("`{name}` could not be waited for: {error}")),
        Err(_) => Err(format!("`{name}` has not ended within {within:?} and was killed: {words}")),
    }
}

/// What is wrong with a command that has ended so.
pub(super) fn complaint(command: &[String], status: Option<i32>, words: &str) -> String {
    let name = name(command);
    let ended = status.map_or_else(|| "was killed".to_owned(), |status| format!("ended with status {status}"));
    if words.is_empty() { format!("`{name}` {ended}") } else { format!("`{name}` {ended}: {words}") }
}

fn name(command: &[String]) -> &str {
    command.first().map(String::as_str).unwrap_or_default()
}

/// Reads to the end, and keeps the last of it.
async fn keep(output: Option<impl AsyncRead + Unpin>, words: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut chunk = [0; 512];
    while let Ok(count @ 1..) = output.read(&mut chunk).await {
        words.extend_from_slice(&chunk[..count]);
        let surplus = words.len().saturating_sub(KEPT);
        words.drain(..surplus);
    }
}

/// A process group; killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn sh(script: &str, within: Duration) -> Result<(Option<i32>, String), String> {
        let command: Vec<String> = ["sh", "-c", script].iter().map(ToString::to_string).collect();
        end(&command, &[("LOCKSTEP_SIDE", "b".to_owned())], within).await
    }

    #[tokio::test]
    async fn status_and_words_come_back() {
        assert_eq!(sh("echo off $LOCKSTEP_SIDE", LONG).await, Ok((Some(0), "off b".to_owned())));
        assert_eq!(sh("echo no route >&2; exit 3", LONG).await, Ok((Some(3), "no route".to_owned())));
        assert_eq!(sh("kill -9 $$", LONG).await, Ok((None, String::new())));
        let missing = end(&["/no/such/program".to_owned()], &[], LONG).await.unwrap_err();
        assert!(missing.contains("`/no/such/program` could not be run"), "{missing}");
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_not_waited_for() {
        let (status, words) = sh("sleep 30 & echo $!", LONG).await.unwrap();
        assert_eq!(status, Some(0));
        let left = words.parse().ok().and_then(Pid::from_raw).expect("it said whom it started");
        rustix::process::kill_process(left, Signal::KILL).expect("it runs on");
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_killed_with_what_it_has_started() {
        let why = sh("echo begun; sleep 1000 & echo $! ; wait", Duration::from_secs(2)).await.unwrap_err();
        assert!(why.contains("was killed: begun"), "{why}");
        let left: i32 = why.lines().last().and_then(|line| line.trim().parse().ok()).expect("it said whom it started");
        let left = Pid::from_raw(left).expect("a process");
        let gone = || rustix::process::test_kill_process(left).is_err();
        for _ in 0..200 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let state = std::fs::read_to_string(format!("/proc/{}/stat", left.as_raw_nonzero())).unwrap_or_default();
        assert!(state.contains(") Z"), "what it started is gone, or waits to be buried: {state}");
    }
}
