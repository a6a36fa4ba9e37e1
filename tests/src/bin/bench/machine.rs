//! The machine and the programs that figures are of, and which processors are whose.

use std::process::Command;

/// More than this is at work: the ratios of a run would be the others' doing.
const QUIET: f64 = 0.7;

/// What keeps the machine busy, in words; none when it is quiet.
pub fn is_busy() -> Option<String> {
    let load = load();
    let last_minute: f64 = load.split(' ').next()?.parse().ok()?;
    (last_minute > QUIET).then(|| format!("this machine is busy: its load is {load}, of the last minute above {QUIET}"))
}

/// The load averages.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Lines of a list: when, where, and which versions.
pub fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let lockstep = lockstep_tests::lockstep();
    let size = std::fs::metadata(&lockstep).map_or(0, |file| file.len()) / 1_000_000;
    format!(
        "- {}\n- {} processors, {}; Linux {}; load before {}\n- {}, {size} MB, of {}; {}; {}; {}; {}\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        processors(),
        model.trim_start_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim(),
        load(),
        said(&lockstep.display().to_string(), &["--version"]),
        profile(&lockstep),
        said("haproxy", &["-v"]),
        said("nginx", &["-v"]),
        said("wrk", &["-v"]),
        said("h2load", &["--version"]),
    )
}

fn profile(lockstep: &std::path::Path) -> String {
    let folder = lockstep.parent().and_then(std::path::Path::file_name).unwrap_or_default();
    format!("the profile `{}`", folder.to_string_lossy())
}

/// The first line of what a program says, wherever it says it.
fn said(program: &str, words: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(words).output() else { return format!("no {program}") };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    let end = line.find(" Copyright").or_else(|| line.find(" - https")).unwrap_or(line.len());
    line[..end].trim().to_owned()
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processors of a contender with so many workers, as `taskset` takes them.
pub fn of_contender(workers: usize) -> String {
    span(0, workers.min(processors()))
}

/// Those of whoever else is at work: the rest, or all when there is none.
pub fn of_others(workers: usize) -> String {
    if workers < processors() { span(workers, processors()) } else { span(0, processors()) }
}

fn span(from: usize, to: usize) -> String {
    if to == from + 1 { from.to_string() } else { format!("{from}-{}", to - 1) }
}
