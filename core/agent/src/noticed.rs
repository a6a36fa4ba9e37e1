//! What is found out beside the services, by tasks that take their time: how the copy is, what the release is, what a
//! hook has come to, whether the LAN is there.

use crate::config::{Release, Replication, ReplicationSource};
use crate::program;
use lockstep_policy::event::{self, Lan, Outcome};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The longest detail that goes to the edge, in characters.
const DETAIL_MAX: usize = 256;
/// From one look for the release to the next.
const RELEASE_EVERY: Duration = Duration::from_secs(60);
/// A program that takes longer does not know the release.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// Something found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// How the node's copy of the pair's data is.
    Replication(event::Replication, String),
    /// The application's release.
    Release(String),
    /// Whether the node is on its LAN, and why not.
    Lan(Lan, String),
    /// A hook has ended, which an edge's link has asked for.
    Hook { link: u64, id: u64, name: String, outcome: Outcome, text: String },
}

/// Looks at the copy again and again, until nobody listens.
pub(crate) async fn replication(config: Replication, to: mpsc::Sender<Noticed>) {
    let mut last = None;
    loop {
        let found = copy(&config.source).await;
        if last.as_ref() != Some(&found) {
            if last.as_ref().is_none_or(|(state, _)| *state != found.0) {
                tracing::info!(state = ?found.0, detail = found.1, "the copy of the pair's data");
            }
            last = Some(found.clone());
            if to.send(Noticed::Replication(found.0, found.1)).await.is_err() {
                return;
            }
        }
        sleep(config.interval).await;
    }
}

async fn copy(source: &ReplicationSource) -> (event::Replication, String) {
    use event::Replication::{Behind, Current, Stopped};
    match source {
        ReplicationSource::Command { command, timeout } => match program::run(command, &[], *timeout).await {
            Ok(ended) => match ended.status.map(|status| status.code()) {
                Some(Some(0)) => (Current, ended.first_line(DETAIL_MAX)),
                Some(Some(1)) => (Behind, ended.first_line(DETAIL_MAX)),
                Some(_) => (Stopped, ended.first_line(DETAIL_MAX)),
                None => (Stopped, format!("`{}` has not ended within {timeout:?}", command[0])),
            },
            Err(error) => (Stopped, format!("`{}` could not be run: {error}", command[0])),
        },
        ReplicationSource::File { path, max_age } => {
            let (path, max_age) = (path.clone(), *max_age);
            let read = spawn_blocking(move || file(&path, max_age)).await;
            read.unwrap_or_else(|_| (Stopped, "the agent is ending".to_owned()))
        }
    }
}

fn file(path: &Path, max_age: Duration) -> (event::Replication, String) {
    use event::Replication::{Behind, Current, Stopped};
    let name = path.display();
    let (line, age) = match first_line(path) {
        Ok(found) => found,
        Err(error) => return (Stopped, format!("{name} cannot be read: {error}")),
    };
    if age > max_age {
        return (Stopped, format!("{name} was last written {} s ago", age.as_secs()));
    }
    let (word, detail) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
    let state = match word {
        "" | "current" => Current,
        "behind" => Behind,
        "stopped" => Stopped,
        _ => return (Stopped, format!("{name} begins with none of `current`, `behind` and `stopped`: {line}")),
    };
    (state, detail.trim().to_owned())
}

/// A file's first line, bounded, and how long ago it was written.
fn first_line(path: &Path) -> std::io::Result<(String, Duration)> {
    let file = std::fs::File::open(path)?;
    // One that was written by a clock ahead of ours is new.
    let age = SystemTime::now().duration_since(file.metadata()?.modified()?).unwrap_or_default();
    let mut line = Vec::new();
    BufReader::new(file.take(4 * DETAIL_MAX as u64)).read_until(b'\n', &mut line)?;
    Ok((String::from_utf8_lossy(&line).trim().chars().take(DETAIL_MAX).collect(), age))
}

/// Looks for the release again and again, until nobody listens. One that stands in the configuration needs no looking.
pub(crate) async fn release(config: Release, to: mpsc::Sender<Noticed>) {
    let mut last = String::new();
    while let Some(found) = find_release(&config).await {
        if found != last {
            last.clone_from(&found);
            if to.send(Noticed::Release(found)).await.is_err() {
                return;
            }
        }
        sleep(RELEASE_EVERY).await;
    }
}

/// The release as it is found now; empty: it is not known.
async fn find_release(config: &Release) -> Option<String> {
    match config {
        Release::Text(_) => None,
        Release::Command(command) => Some(match program::run(command, &[], RELEASE_MAX).await {
            Ok(ended) if ended.status.is_some_and(|status| status.success()) => ended.first_line(DETAIL_MAX),
            Ok(ended) => {
                tracing::warn!(command = command[0], said = ended.last_lines(1), "does not tell the release");
                String::new()
            }
            Err(error) => {
                tracing::warn!(command = command[0], %error, "cannot be run to tell the release");
                String::new()
            }
        }),
        Release::File(path) => {
            let file = path.clone();
            let read = spawn_blocking(move || first_line(&file)).await.ok()?;
            if let Err(error) = &read {
                tracing::warn!(file = %path.display(), %error, "cannot be read to tell the release");
            }
            Some(read.map(|(line, _)| line).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Replication::{Behind, Current, Stopped};

    #[tokio::test]
    async fn a_program_says_how_the_copy_is_by_its_status() {
        let ask = async |script: &str| {
            let command = ["sh", "-c", script].iter().map(ToString::to_string).collect();
            copy(&ReplicationSource::Command { command, timeout: Duration::from_millis(500) }).await
        };
        assert_eq!(ask("echo 0 s behind").await, (Current, "0 s behind".to_owned()));
        assert_eq!(ask("echo 12 s behind; exit 1").await, (Behind, "12 s behind".to_owned()));
        assert_eq!(ask("echo no slot >&2; exit 2").await, (Stopped, "no slot".to_owned()));
        assert_eq!(ask("kill -9 $$").await.0, Stopped);
        let (state, why) = ask("sleep 100").await;
        assert!(state == Stopped && why.contains("not ended within 500ms"), "{why}");
        let none = ReplicationSource::Command { command: vec!["/no/such".into()], timeout: Duration::from_secs(1) };
        assert!(copy(&none).await.1.contains("could not be run"));
    }

    #[test]
    fn a_file_says_how_the_copy_is_by_its_first_word_and_its_age() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy");
        let minute = Duration::from_secs(60);
        assert!(file(&path, minute).1.contains("cannot be read"));
        for (text, expected) in [
            ("", (Current, "")),
            ("current\n", (Current, "")),
            ("behind 3 files\nmore\n", (Behind, "3 files")),
            ("stopped  disk full", (Stopped, "disk full")),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file(&path, minute), (expected.0, expected.1.to_owned()), "{text}");
        }
        std::fs::write(&path, "OK").unwrap();
        assert!(file(&path, minute).1.contains("none of `current`"));
        std::fs::write(&path, "current").unwrap();
        let written = std::fs::File::options().write(true).open(&path).unwrap();
        written.set_modified(SystemTime::now() - minute * 2).unwrap();
        let (state, why) = file(&path, minute);
        assert!(state == Stopped && why.contains("last written 12"), "{why}");
    }
}
