//! Priority and memory, as Linux gives them.
//!
//! The priority is given by `chrt`, which every Linux has in util-linux: only the kernel knows threads by a number that another thread
//! may name, and its call for that has no safe form.

use nix::sys::mman::{MlockAllFlags, mlockall};
use std::fs;
use std::process::{Command, Stdio};

/// Above all that has no real-time priority, and below what others may want to have above it.
const PRIORITY: &str = "10";
/// The threads of a runtime that carries leases are named so, by tokio.
const RUNTIME: [&str; 2] = ["tokio-rt-worker", "tokio-runtime-w"];
/// Lock pages when they are first used, not all that is mapped: `MCL_ONFAULT` of mlockall(2), which nix has no name for.
const ON_FAULT: i32 = 4;
/// CAP_IPC_LOCK among the bits of capabilities.
const MAY_LOCK: u64 = 1 << 14;

/// What was asked for, and what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// Why the threads have no real-time priority; none: they have.
    pub(super) priority: Result<(), String>,
    /// Why the memory is not locked; none: it is.
    pub(super) memory: Result<(), String>,
}

impl Given {
    /// Says in the log what was given and what was refused, and what would permit it: as a warning when the leases need it.
    /// `whom`: the agent, the edge.
    pub(super) fn note(&self, whom: &str, needed: bool) {
        let refused = |text: String| match needed {
            true => tracing::warn!("{text}"),
            false => tracing::info!("{text}"),
        };
        match &self.priority {
            Ok(()) => tracing::info!("realtime: yes: {whom}'s leases are renewed before other programs' work"),
            Err(why) => refused(format!(
                "realtime: no: {whom} gets no real-time priority ({why}): a busy machine may cost a lease. To permit it: \
                 LimitRTPRIO=10 or AmbientCapabilities=CAP_SYS_NICE in its unit"
            )),
        }
        if let Err(why) = &self.memory {
            refused(format!(
                "{whom}'s memory is not locked ({why}): a machine that swaps may cost a lease. To permit it: \
                 LimitMEMLOCK=infinity or AmbientCapabilities=CAP_IPC_LOCK in its unit"
            ));
        }
    }
}

/// Asks for both, for this process. Takes some milliseconds, and starts programs: not to be called where a lease waits.
pub(super) fn ask() -> Given {
    Given { priority: priority(), memory: memory() }
}

fn priority() -> Result<(), String> {
    let tasks = fs::read_dir("/proc/self/task").map_err(|error| format!("/proc/self/task: {error}"))?;
    let carries = |name: &str| RUNTIME.contains(&name.trim_end());
    let of_runtime =
        |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| carries(&name));
    let mut threads =
        tasks.filter_map(Result::ok).filter(of_runtime).filter_map(|task| task.file_name().into_string().ok());
    threads.try_for_each(|thread| lift(&thread))
}

fn lift(thread: &str) -> Result<(), String> {
    // What is started by the thread has no priority by that.
    let words = ["--rr", "--reset-on-fork", "--pid", PRIORITY, thread];
    let ended = Command::new("chrt").args(words).stdin(Stdio::null()).output();
    let ended = ended.map_err(|error| format!("chrt, of util-linux: {error}"))?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).trim().to_owned()) }
}

/// Where it is not permitted for all that is to come, the next allocation would fail.
fn memory() -> Result<(), String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    let limit = read("/proc/self/limits");
    let unlimited = limit.lines().any(|line| {
        line.strip_prefix("Max locked memory").is_some_and(|rest| rest.split_whitespace().next() == Some("unlimited"))
    });
    if bits & MAY_LOCK == 0 && !unlimited {
        return Err("the limit of locked memory is finite".to_owned());
    }
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | MlockAllFlags::from_bits_retain(ON_FAULT);
    mlockall(flags).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is permitted or not is the machine's affair: it is said, and nothing breaks by it.
    #[test]
    fn what_is_asked_for_is_given_or_refused_with_a_reason() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let given = runtime.block_on(async { tokio::task::spawn_blocking(priority).await.unwrap() });
        match given {
            Ok(()) => {
                let policies =
                    runtime.block_on(async { tokio::spawn(async { policy_of_this_thread() }).await.unwrap() });
                assert_eq!(policies, "2", "a thread of the runtime is served in turns of real time");
                let child = runtime.block_on(async { tokio::spawn(async { policy_of_a_child() }).await.unwrap() });
                assert_eq!(child, "0", "and what it starts is not");
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }

    /// The 41st field of its statistics; the second is its name, in brackets.
    fn policy(statistics: &str) -> String {
        let (_, fields) = statistics.rsplit_once(") ").unwrap();
        fields.split(' ').nth(38).unwrap().to_owned()
    }

    fn policy_of_this_thread() -> String {
        policy(&fs::read_to_string("/proc/thread-self/stat").unwrap())
    }

    fn policy_of_a_child() -> String {
        let shown = Command::new("cat").arg("/proc/self/stat").output().unwrap();
        policy(&String::from_utf8(shown.stdout).unwrap())
    }
}
