//! Where the agent's events go: to the console, or into a file that is bounded, because a service has nobody to read along.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// A file of this length is put aside.
const LENGTH_MAX: u64 = 10 * 1024 * 1024;
/// So many are kept aside: `agent.log.1` is the younger one.
const KEPT: u32 = 2;

/// To stderr; `LOCKSTEP_LOG` filters.
pub fn to_console() {
    let events = tracing_subscriber::fmt().with_env_filter(filter()).with_writer(stderr);
    events.with_ansi(stderr().is_terminal()).init();
}

/// Into a file; panics too.
pub fn to_file(path: &Path) -> io::Result<()> {
    let rotating = Rotating::open(path)?;
    tracing_subscriber::fmt().with_env_filter(filter()).with_ansi(false).with_writer(Mutex::new(rotating)).init();
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

fn filter() -> EnvFilter {
    std::env::var("LOCKSTEP_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new("info"))
}

/// A file that is put aside when it is long.
struct Rotating {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Rotating {
    fn open(path: &Path) -> io::Result<Rotating> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok(Rotating { path: path.to_owned(), file, length })
    }

    /// What cannot be put aside goes on growing, which is better than an agent without words.
    fn put_aside(&mut self) {
        for number in (1..KEPT).rev() {
            let _ = fs::rename(aside(&self.path, number), aside(&self.path, number + 1));
        }
        let renamed = fs::rename(&self.path, aside(&self.path, 1));
        if let Ok(next) = renamed.and_then(|()| Rotating::open(&self.path)) {
            *self = next;
        }
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

impl Write for Rotating {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.length >= LENGTH_MAX {
            self.put_aside();
        }
        let written = self.file.write(text)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_put_aside_and_the_oldest_goes() {
        let directory = std::env::temp_dir().join(format!("lockstep-log-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("agent.log");
        let mut log = Rotating::open(&path).unwrap();
        for text in ["one", "two", "three", "four"] {
            log.length = LENGTH_MAX;
            log.write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "four");
        assert_eq!(fs::read_to_string(aside(&path, 1)).unwrap(), "three");
        assert_eq!(fs::read_to_string(aside(&path, 2)).unwrap(), "two");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 3);
        drop(log);
        fs::remove_dir_all(&directory).unwrap();
    }
}
