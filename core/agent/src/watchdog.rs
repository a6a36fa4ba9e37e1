//! The machine's own watchdog (`/dev/watchdog`): when nobody feeds it any more, it resets the machine.
//!
//! It is armed for as long as something exclusive runs, or may run, and fed by the loop that keeps the lease: a loop that hangs
//! feeds nothing, and neither does an agent that was killed. When nothing exclusive runs any more it is closed with the
//! magic letter, which ends its count. A new life of the agent takes it over from an earlier one, which may have left it
//! counting.
//!
//! How long it counts is the device's own affair: to set it takes an ioctl, and the agent makes none. The system tells it.

use crate::config;
use lockstep_policy::At;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fed at least so often, however long it counts.
const OFTEN: Duration = Duration::from_secs(1);
/// One that counts for less could bite a busy machine that is well.
const LEAST: Duration = Duration::from_secs(2);
/// What the kernel takes for an orderly end (`Documentation/watchdog/watchdog-api.rst`).
const MAGIC_CLOSE: &[u8] = b"V";
const FEED: &[u8] = b"\0";

/// One device.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: PathBuf,
    interval: Duration,
    /// The kernel was told that nothing ends its count once it has begun.
    endless: bool,
    open: Option<File>,
    due: At,
    /// That it cannot be fed was said.
    told: bool,
}

/// What the system tells of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    timeout: Duration,
    endless: bool,
}

impl Watchdog {
    /// An error says what to do.
    pub(crate) fn new(config: &config::Watchdog) -> Result<Watchdog, String> {
        Watchdog::with(config, facts(&config.device, Path::new("/sys")))
    }

    fn with(config: &config::Watchdog, facts: Option<Facts>) -> Result<Watchdog, String> {
        let device = config.device.display();
        let timeout = match (config.timeout, facts) {
            (Some(said), Some(Facts { timeout, .. })) if said != timeout => {
                return Err(format!(
                    "{device} counts for {timeout:?}, and `timeout` says {said:?}: the agent cannot set it. Set it where the \
                     device's driver is loaded, or leave `timeout` out"
                ));
            }
            (_, Some(facts)) => facts.timeout,
            (Some(said), None) => said,
            (None, None) => {
                return Err(format!(
                    "the system does not tell how long {device} counts: say it by `timeout` under [watchdog], as its driver \
                     was told"
                ));
            }
        };
        if timeout < LEAST {
            return Err(format!("{device} counts for {timeout:?} only: set its driver to {LEAST:?} at least"));
        }
        let endless = facts.is_some_and(|facts| facts.endless);
        let interval = (timeout / 4).min(OFTEN);
        Ok(Watchdog { device: config.device.clone(), interval, endless, open: None, due: At::ZERO, told: false })
    }

    /// Whether an orderly end leaves it counting.
    pub(crate) fn is_endless(&self) -> bool {
        self.endless
    }

    /// Lets it count, from now on.
    pub(crate) fn arm(&mut self, now: At) -> Result<(), String> {
        if self.open.is_none() {
            let opened = open(&self.device);
            let fault = |error| format!("the watchdog {} cannot be opened: {error}", self.device.display());
            self.open = Some(opened.map_err(fault)?);
            tracing::info!(device = %self.device.display(), "the machine's watchdog counts");
            self.due = now;
            self.feed(now);
        }
        Ok(())
    }

    /// When it must be fed; none: it does not count.
    pub(crate) fn due(&self) -> Option<At> {
        self.open.as_ref().map(|_| self.due)
    }

    /// Feeds it, where that is due.
    pub(crate) fn feed(&mut self, now: At) {
        let Some(device) = self.open.as_mut().filter(|_| self.due <= now) else { return };
        self.due = now + self.interval;
        let fed = device.write_all(FEED);
        match &fed {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                self.told = true;
                tracing::error!(device = %self.device.display(), %error, "the watchdog cannot be fed: it will reset the machine");
            }
            Err(_) => {}
        }
    }

    /// Ends its count, as far as the kernel permits that: what counts on is fed.
    pub(crate) fn rest(&mut self, now: At) {
        if self.endless {
            return self.feed(now);
        }
        if let Some(mut device) = self.open.take() {
            match device.write_all(MAGIC_CLOSE) {
                Ok(()) => tracing::info!(device = %self.device.display(), "the machine's watchdog rests"),
                Err(error) => tracing::error!(
                    device = %self.device.display(),
                    %error,
                    "the watchdog cannot be told to rest: it will reset the machine"
                ),
            }
        }
    }
}

/// Never waits: neither for a reader, where the device is a stand-in, nor later for its place.
#[cfg(target_os = "linux")]
fn open(device: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    File::options().write(true).custom_flags(flags).open(device)
}

#[cfg(not(target_os = "linux"))]
fn open(_: &Path) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no such devices: leave [watchdog] out"))
}

/// What `sysfs` tells of a device; none: nothing.
#[cfg(target_os = "linux")]
fn facts(device: &Path, sys: &Path) -> Option<Facts> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let metadata = std::fs::metadata(device).ok()?;
    if !metadata.file_type().is_char_device() {
        return None;
    }
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    // The old name has a number of its own, and is always the first device.
    let first = (major, minor) == (10, 130);
    let own = sys.join(format!("dev/char/{major}:{minor}"));
    told(&if first { sys.join("class/watchdog/watchdog0") } else { own })
}

#[cfg(not(target_os = "linux"))]
fn facts(_: &Path, _: &Path) -> Option<Facts> {
    None
}

#[cfg(target_os = "linux")]
fn told(directory: &Path) -> Option<Facts> {
    let number = |name: &str| std::fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(Facts { timeout: Duration::from_secs(number("timeout")?), endless: number("nowayout") == Some(1) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::Command;

    fn config(device: &Path, timeout: Option<u64>) -> config::Watchdog {
        config::Watchdog { device: device.to_owned(), timeout: timeout.map(Duration::from_secs) }
    }

    #[test]
    fn how_long_it_counts_is_what_the_system_tells() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("timeout"), "60\n").unwrap();
        let facts = Facts { timeout: Duration::from_secs(60), endless: false };
        assert_eq!(told(directory.path()), Some(facts));
        std::fs::write(directory.path().join("nowayout"), "1\n").unwrap();
        let endless = Facts { endless: true, ..facts };
        assert_eq!(told(directory.path()), Some(endless));

        let device = Path::new("/dev/watchdog");
        assert!(Watchdog::with(&config(device, None), Some(endless)).unwrap().is_endless());
        assert!(Watchdog::with(&config(device, Some(60)), Some(facts)).is_ok());
        let long = Watchdog::with(&config(device, None), Some(facts)).unwrap();
        let short = Watchdog::with(&config(device, Some(2)), None).unwrap();
        assert_eq!((long.interval, short.interval), (OFTEN, Duration::from_millis(500)));
        for (timeout, facts, word) in [
            (Some(10), Some(facts), "`timeout` says 10s"),
            (None, None, "say it by `timeout`"),
            (None, Some(Facts { timeout: Duration::from_secs(1), endless: false }), "2s at least"),
        ] {
            let error = Watchdog::with(&config(device, timeout), facts).unwrap_err();
            assert!(error.contains(word) && error.contains("/dev/watchdog"), "{error}");
        }
    }

    #[test]
    fn it_is_fed_when_that_is_due_and_closed_with_the_magic_letter() {
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path().join("watchdog");
        assert!(Command::new("mkfifo").arg(&device).status().unwrap().success());
        let mut watchdog = Watchdog::new(&config(&device, Some(4))).unwrap();
        let error = watchdog.arm(At::from_millis(1_000)).unwrap_err();
        assert!(error.contains("cannot be opened") && watchdog.due().is_none(), "nobody has the other end: {error}");

        let mut kernel = File::options().read(true).write(true).open(&device).unwrap();
        let mut fed = |count: usize| {
            let mut bytes = vec![b'?'; count];
            kernel.read_exact(&mut bytes).unwrap();
            bytes
        };
        watchdog.arm(At::from_millis(1_000)).unwrap();
        watchdog.arm(At::from_millis(1_500)).unwrap();
        assert_eq!(watchdog.due(), Some(At::from_millis(2_000)));
        watchdog.feed(At::from_millis(1_999));
        watchdog.feed(At::from_millis(2_000));
        watchdog.rest(At::from_millis(2_001));
        assert_eq!((fed(3), watchdog.due()), (b"\0\0V".to_vec(), None));

        // One that nothing ends is fed for as long as the agent lives.
        watchdog.endless = true;
        watchdog.arm(At::from_millis(5_000)).unwrap();
        watchdog.rest(At::from_millis(6_000));
        assert_eq!((fed(2), watchdog.due()), (b"\0\0".to_vec(), Some(At::from_millis(7_000))));
    }
}
