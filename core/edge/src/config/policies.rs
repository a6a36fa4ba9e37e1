//! `[edge.policies]`: how plugins are run, and which may be; all of it has a default.

use super::PoliciesConfig;
use super::edge::beside;
use super::journal::Size;
use super::table::Table;
use lockstep_policy::host::{Isolation, Terms};
use std::path::Path;
use std::time::Duration;

/// Where the list of trusted plugins lies when the configuration does not say it: beside the configuration.
const TRUST: &str = "policies.trust";

const MEMORY: &str = "a size with its unit from 16MiB to 1TiB, such as \"1GiB\"";

const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn defaults(file: &Path) -> PoliciesConfig {
    PoliciesConfig { terms: Terms::default(), trust: beside(file).join(TRUST), absent_max: Duration::from_secs(10) }
}

/// Reads the table; a relative path starts at the configuration's directory.
pub(super) fn read(table: Option<Table<'_, '_>>, file: &Path) -> PoliciesConfig {
    let mut policies = defaults(file);
    let Some(mut table) = table else { return policies };
    let kinds = [Isolation::Process, Isolation::InProcess].map(|isolation| (isolation.name(), isolation));
    let terms = &mut policies.terms;
    terms.isolation = table.word("isolation", &kinds).unwrap_or_default();
    if let Some(trust) = table.text("trust") {
        policies.trust = beside(file).join(trust.value);
    }
    policies.absent_max = table.duration("absent_max", policies.absent_max, Duration::from_millis(100)..=HOUR).value;
    let least = Duration::from_millis(1);
    terms.warn_cpu = table.duration("warn_cpu", terms.warn_cpu, least..=HOUR).value;
    let kill_cpu = table.duration("kill_cpu", terms.kill_cpu, Duration::from_millis(10)..=HOUR);
    terms.kill_cpu = kill_cpu.value;
    terms.kill_wall = table.duration("kill_wall", terms.kill_wall, Duration::from_millis(100)..=HOUR).value;
    if terms.warn_cpu > terms.kill_cpu {
        let what = format!(
            "{} is less than edge.policies.warn_cpu ({}): nobody would be warned",
            humantime::format_duration(terms.kill_cpu),
            humantime::format_duration(terms.warn_cpu)
        );
        table.refuse(kill_cpu.at, "kill_cpu", what, "at least warn_cpu");
    }
    if let Some(memory) = table.parsed::<Size>("memory", MEMORY) {
        if (16 << 20..=1 << 40).contains(&memory.value.0) {
            terms.memory = memory.value.0;
        } else {
            table.refuse(memory.at, "memory", format!("{} bytes are out of range", memory.value.0), MEMORY);
        }
    }
    table.finish();
    policies
}
