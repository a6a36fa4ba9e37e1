//! What the process takes, as the kernel tells it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the process takes. What the kernel does not tell is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Memory that it has in RAM, in bytes.
    pub resident: u64,
    /// Memory that it may address, in bytes.
    pub addressed: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and connections.
    pub descriptors: u64,
    /// How many of them there may be.
    pub descriptors_max: u64,
    /// Time of processors.
    pub cpu: Duration,
    /// Its start, in seconds after 1970.
    pub started: f64,
}

impl Process {
    /// Looks at this process. Takes the kernel some time where there are many connections.
    #[must_use]
    pub fn look() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Process {
            resident: kibibytes(&status, "VmRSS:"),
            addressed: kibibytes(&status, "VmSize:"),
            threads: field(&status, "Threads:"),
            // The directory that is being read is one of them.
            descriptors: fs::read_dir("/proc/self/fd").map_or(0, |open| (open.count() as u64).saturating_sub(1)),
            descriptors_max: limit.current.unwrap_or(u64::MAX),
            cpu: ticks(&stat, 14) + ticks(&stat, 15),
            started: started(&stat, &uptime, now),
        }
    }
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn kibibytes(status: &str, name: &str) -> u64 {
    field(status, name) * 1024
}

/// A field of `/proc/self/stat` that counts ticks, by its number in proc(5).
fn ticks(stat: &str, number: usize) -> Duration {
    // The second field is a name in brackets, in which anything may be.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().nth(number - 3).and_then(|field| field.parse().ok()).unwrap_or(0);
    let in_a_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs(ticks / in_a_second)
        + Duration::from_secs(ticks % in_a_second) / u32::try_from(in_a_second).unwrap_or(1)
}

fn started(stat: &str, uptime: &str, now: Duration) -> f64 {
    let up: f64 = uptime.split_whitespace().next().and_then(|up| up.parse().ok()).unwrap_or(0.0);
    now.as_secs_f64() - up + ticks(stat, 22).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_the_kernel() {
        let begin = Process::look();
        let more: Vec<_> = (0..10).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let look = Process::look();
        assert!(look.descriptors >= 10 && look.descriptors_max >= look.descriptors, "{look:?}");
        drop(more);
        assert!(look.resident > 1 << 20 && look.addressed > look.resident && look.threads >= 1, "{look:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        // A container's uptime may be its machine's: a day either way is near enough here.
        assert!((look.started - now).abs() < 86_400.0 && (look.started - begin.started).abs() < 60.0, "{look:?}");
    }

    #[test]
    fn a_stat_with_brackets_in_the_name_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 9 0 12300 1 1 1";
        let second = Duration::from_secs(1).as_secs_f64() * rustix::param::clock_ticks_per_second() as f64;
        assert!((ticks(stat, 14).as_secs_f64() - 250.0 / second).abs() < 1e-6);
        assert!((ticks(stat, 22).as_secs_f64() - 12_300.0 / second).abs() < 1e-6);
        assert_eq!(ticks("nonsense", 14), Duration::ZERO);
    }
}
