//! System calls per request, as `strace` counts them. What a contender does besides is among them: its checks, and an edge's leases.

use crate::contenders::{Contender, Contenders};
use crate::load::Load;
use crate::work::{WORKS, Way};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const REQUESTS: u32 = 5_000;
/// Until it has taken hold of all threads.
const TAKES_HOLD: Duration = Duration::from_millis(500);
/// Rarer ones are not shown.
const SHOWN: f64 = 0.02;

pub fn measure(contender: Contender, all: &Contenders, load: &Load, dir: &Path) -> Value {
    let Some(address) = contender.address(Way::Plain) else { return Value::Null };
    let processes = all.processes(contender);
    if processes.is_empty() {
        return Value::Null;
    }
    let counts = dir.join("calls.txt");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-q", "-o"]).arg(&counts);
    for pid in &processes {
        command.args(["-p", &pid.to_string()]);
    }
    let Ok(mut strace) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        println!("no strace: system calls are not counted");
        return Value::Null;
    };
    std::thread::sleep(TAKES_HOLD);
    let outcome = load.counted(&WORKS[0], address, REQUESTS);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(strace.id()).unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
    let _ = strace.wait();
    let Some(outcome) = outcome else { return Value::Null };
    let text = std::fs::read_to_string(&counts).unwrap_or_default();
    let mut found: Vec<(String, f64)> = text.lines().filter_map(|line| row(line, outcome.requests)).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = found.iter().map(|(_, count)| count).sum();
    found.retain(|(_, count)| *count >= SHOWN);
    json!({ "contender": contender.name(), "all": all, "calls": found })
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`: which, and how often for each request.
fn row(line: &str, requests: u64) -> Option<(String, f64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = *words.last().filter(|name| **name != "total" && **name != "syscall")?;
    let calls: f64 = words.get(3)?.parse().ok()?;
    Some((name.to_owned(), calls / requests as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_strace_are_read_with_and_without_errors() {
        let row = |line| row(line, 100);
        assert_eq!(
            row(" 59.51    0.040362          10      4021       12 recvfrom"),
            Some(("recvfrom".to_owned(), 40.21))
        );
        assert_eq!(row("  1.00    0.000362          10       100           write"), Some(("write".to_owned(), 1.0)));
        assert_eq!(row("100.00    0.067826           8      8045        12 total"), None);
        assert_eq!(row("% time     seconds  usecs/call     calls    errors syscall"), None);
    }
}
