//! A real systemd for one test: a user manager in namespaces of its own. Needs root, `unshare`, `dbus-daemon`, systemd's files and cgroup v2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// The manager, with a directory of its own.
pub struct Manager {
    directory: tempfile::TempDir,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Manager {
    /// None where it cannot be run; in CI that is a failure.
    pub fn start() -> Option<Manager> {
        let there = Path::new("/usr/lib/systemd/systemd").exists() && Path::new("/usr/bin/dbus-daemon").exists();
        let cgroups = fs::read_to_string("/proc/mounts").unwrap_or_default().contains(" cgroup2 ");
        if !there || !cgroups || !rustix::process::geteuid().is_root() {
            let needs = "needs root, systemd, dbus-daemon and cgroup v2";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI this must run; it {needs}");
            eprintln!("not run: {needs}");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        for path in ["run", "config/systemd/user"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        let script = directory.path().join("manager.sh");
        fs::write(&script, include_str!("manager.sh")).unwrap();
        let mut process = Command::new("unshare")
            .args(["--mount", "sh"])
            .arg(&script)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let manager = Manager { stdin: process.stdin.take(), process, directory };
        let begin = Instant::now();
        while manager.ctl(&["daemon-reload"]).is_none() {
            assert!(begin.elapsed() < PATIENCE, "waited in vain for systemd");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(manager)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Writes a unit. Its processes can be found again: `DIR` in its lines is the test's directory.
    pub fn write(&self, unit: &str, text: &str) {
        let text = text.replace("DIR", self.directory().to_str().unwrap());
        fs::write(self.path("config/systemd/user").join(unit), text).unwrap();
        self.ctl(&["daemon-reload"]).unwrap();
    }

    /// `systemctl --user`; none when it fails.
    pub fn ctl(&self, args: &[&str]) -> Option<String> {
        let output = Command::new("systemctl")
            .arg("--user")
            .args(args)
            // Over the bus: the manager's private socket does not answer to processes of another namespace.
            .env_remove("XDG_RUNTIME_DIR")
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", self.path("run/bus").display()))
            .output()
            .unwrap();
        if !output.status.success() {
            eprintln!("systemctl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// What the manager says of a unit, as in `ActiveState`.
    pub fn of(&self, unit: &str, property: &str) -> String {
        self.ctl(&["show", "--value", "-p", property, unit]).unwrap_or_default().trim().to_owned()
    }

    pub fn is(&self, unit: &str, state: &str) -> bool {
        self.of(unit, "ActiveState") == state
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.process.wait();
    }
}
