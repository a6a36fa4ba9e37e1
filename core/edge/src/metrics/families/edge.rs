//! The edge itself.

use super::{Family, Kind};

/// What it is, and what it has lost.
pub(super) const EDGE: &[Family] = &[
    Family {
        name: "lockstep_build_info",
        kind: Kind::Gauge,
        labels: &["version", "edge"],
        unit: "1",
        help: "The version of lockstep, and the edge's name; always 1.",
        read: |look, samples| {
            samples.put(&[("version", &look.status.version), ("edge", &look.status.edge)], 1);
        },
    },
    Family {
        name: "lockstep_journal_lost_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "records",
        help: "Records that the journals have lost because the disk was too slow or full.",
        read: |look, samples| samples.put(&[], look.status.journal_lost),
    },
    Family {
        name: "lockstep_access_log_lines_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "lines",
        help: "Lines of the access log that were written; only where there is one.",
        read: |look, samples| look.status.access_log.iter().for_each(|log| samples.put(&[], log.written)),
    },
    Family {
        name: "lockstep_access_log_lost_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "lines",
        help: "Lines of the access log that were lost because the disk was too slow or full; only where there is one.",
        read: |look, samples| look.status.access_log.iter().for_each(|log| samples.put(&[], log.lost)),
    },
];

/// What it takes of its machine, by the names that all exporters use.
pub(super) const PROCESS: &[Family] = &[
    Family {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        unit: "bytes",
        help: "Memory that the process has in RAM.",
        read: |look, samples| samples.put(&[], look.process.resident),
    },
    Family {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        unit: "bytes",
        help: "Memory that the process may address.",
        read: |look, samples| samples.put(&[], look.process.addressed),
    },
    Family {
        name: "process_threads",
        kind: Kind::Gauge,
        labels: &[],
        unit: "threads",
        help: "Threads of the process.",
        read: |look, samples| samples.put(&[], look.process.threads),
    },
    Family {
        name: "process_open_fds",
        kind: Kind::Gauge,
        labels: &[],
        unit: "descriptors",
        help: "Open files and connections of the process.",
        read: |look, samples| samples.put(&[], look.process.descriptors),
    },
    Family {
        name: "process_max_fds",
        kind: Kind::Gauge,
        labels: &[],
        unit: "descriptors",
        help: "How many files and connections the process may have open.",
        read: |look, samples| samples.put(&[], look.process.descriptors_max),
    },
    Family {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        labels: &[],
        unit: "seconds",
        help: "Time of processors that the process has taken.",
        read: |look, samples| samples.put(&[], look.process.cpu.as_secs_f64()),
    },
    Family {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        unit: "seconds",
        help: "When the process was started, in seconds after 1970.",
        read: |look, samples| samples.put(&[], look.process.started),
    },
];
