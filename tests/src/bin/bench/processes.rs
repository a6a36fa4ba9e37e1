//! Programs that a world starts, where they may run, and what they have taken of processors and memory.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Lines of each log that are shown.
const LINES: usize = 15;

/// A program bound to processors, as `taskset` takes them. It becomes that program: its number is the same.
pub fn pinned(processors: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", processors]).arg(program);
    command
}

/// A program at work; it ends when this is dropped.
#[derive(Debug)]
pub struct Program(Child);

impl Program {
    /// Starts it; what it says goes into a log of that name.
    pub fn start(mut command: Command, dir: &Path, name: &str) -> Program {
        let log = OpenOptions::new().append(true).create(true).open(dir.join(format!("{name}.log"))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Program(command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}")))
    }

    /// It and all that it has started.
    pub fn tree(&self) -> BTreeSet<u32> {
        tree(self.0.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When a world's work fails, it shows the ends of all logs.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Path);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for log in logs(self.0) {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            println!("--- the end of {}\n{}", log.display(), lockstep_tests::processes::tail(&text, LINES));
        }
    }
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map_while(Result::ok).map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

/// Empties the logs of a world, which are in memory: all of them are added to.
pub fn empty_logs(dir: &Path) {
    for log in logs(dir) {
        let _ = OpenOptions::new().write(true).open(log).and_then(|log| log.set_len(0));
    }
}

/// Raises the limit of open files for this program and what it starts; where the machine refuses so many, to the most that it allows.
pub fn allow_files(most: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) });
    if raised.is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    }
}

/// The most files that this program may have open.
pub fn files_allowed() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn tree(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = numbers("/proc").into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(pid, of)| found.contains(of) && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in brackets and may have blanks in it.
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The processor time of these processes, user and system together, in nanoseconds. What threads had taken that have ended is gone with
/// them: none of those that serve requests ends.
pub fn spent(pids: &BTreeSet<u32>) -> u64 {
    let of_thread = |pid: u32, thread: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let of = |pid: &u32| {
        numbers(&format!("/proc/{pid}/task")).into_iter().filter_map(|thread| of_thread(*pid, thread)).sum::<u64>()
    };
    pids.iter().map(of).sum()
}

/// Their resident memory, in KiB.
pub fn resident(pids: &BTreeSet<u32>) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}
