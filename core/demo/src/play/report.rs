//! The demo's judgement, from the logs of the client, the applications and the CTI services; the edge's record is shown
//! beside it.

use super::stage::Stage;
use super::steps::{Act, Seen};
use crate::activity::{self, Overlap};
use crate::app::{self, Misplaced};
use crate::tally::{self, Exchange, Summary};
use comfy_table::{CellAlignment, Table, presets};
use lockstep_pair::record::{Outcome, Phase};
use lockstep_policy::Side;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What a planned switch may cost beyond stopping the one CTI and starting the other.
const PLANNED_EXTRA: Duration = Duration::from_millis(50);
/// What a killed application may cost beyond starting the other CTI.
const KILL_EXTRA: Duration = Duration::from_millis(100);
/// What a hang may cost beyond starting the other CTI.
const HANG_EXTRA: Duration = Duration::from_millis(1_000);
/// From the agent's word that it is active to the first request given to it.
const SKEW: Duration = Duration::from_millis(5);

/// A client that sends later than this does not get the processor when it needs it.
const CLIENT_LATE_MS: f64 = 50.0;

/// All that the demo found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Answers that came from a side whose CTI was not active, by the client.
    pub by_standby: u64,
    /// Requests that an application served, to somebody who waited for it, while its CTI was not active, by the
    /// application.
    pub misplaced: u64,
    /// Requests that an application found in a connection that had been cut, while its CTI was not active.
    pub withdrawn: u64,
    /// How often both sides' CTI services ran at once.
    pub overlaps: u64,
    /// For how long, at most.
    pub overlap_ms: f64,
    /// What must hold on any machine.
    pub correctness: Vec<Line>,
    /// What should hold on a machine that is not too busy.
    pub targets: Vec<Line>,
}

/// A step with what the client saw in it.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// As it went.
    #[serde(flatten)]
    pub seen: Seen,
    /// The client's view.
    pub client: Summary,
    /// Requests that failed by what was done: while it was done, or in what was left of the window if nothing else
    /// happened in it.
    pub lost: u64,
    /// From what was done to the end of the longest gap after it: then the service is good again.
    pub good_again_ms: Option<f64>,
    /// How long the new side's CTI took from its process's start to READY.
    pub cti_start_ms: Option<f64>,
}

/// One line of the judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether it holds.
    pub met: bool,
    /// What was asked for and what was found.
    pub text: String,
}

impl Report {
    /// Whether everything holds that must hold on any machine.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        self.correctness.iter().all(|line| line.met)
    }

    /// What does not hold of it.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        self.correctness.iter().filter(|line| !line.met).map(|line| line.text.clone()).collect()
    }
}

/// Reads the logs and judges; also a play that did not come to its end.
pub fn judge(stage: &Stage, seen: Vec<Seen>, stuck: Option<anyhow::Error>) -> anyhow::Result<Report> {
    let exchanges = tally::read(&stage.client_log())?;
    let (log_a, log_b) = (activity::read(&stage.activity(Side::A))?, activity::read(&stage.activity(Side::B))?);
    let misplaced = [app::misplaced(&stage.misplaced(Side::A))?, app::misplaced(&stage.misplaced(Side::B))?].concat();
    let steps: Vec<Step> = seen
        .into_iter()
        .map(|seen| {
            let log = if seen.after == Side::A { &log_a } else { &log_b };
            with_client(seen, &exchanges, log)
        })
        .collect();
    let overlaps = activity::overlaps(&log_a, &log_b);
    let targets = targets(&steps, stage.options.cti_stop, stage.options.cti_start);
    let whole = tally::summarise_all(&exchanges);
    let both_ran = !log_a.is_empty() && !log_b.is_empty();
    let mut correctness = correctness(&steps, &whole, &misplaced, &overlaps, both_ran);
    correctness
        .extend(stuck.map(|why| Line { met: false, text: format!("the play did not come to its end: {why:#}") }));
    Ok(Report {
        correctness,
        targets,
        by_standby: whole.by_standby,
        misplaced: misplaced.iter().filter(|entry| entry.awaited).count() as u64,
        withdrawn: misplaced.iter().filter(|entry| !entry.awaited).count() as u64,
        overlaps: overlaps.len() as u64,
        overlap_ms: longest(&overlaps).as_secs_f64() * 1_000.0,
        steps,
    })
}

fn with_client(seen: Seen, exchanges: &[Exchange], log: &[activity::Instant]) -> Step {
    let client = tally::summarise(exchanges, seen.from, seen.to);
    let good_again = (seen.act != Act::Nothing).then(|| tally::good_again(exchanges, seen.done_at, seen.to));
    let within =
        |mark| log.iter().find(|instant| instant.mark == mark && (seen.done_at..seen.to).contains(&instant.at));
    let cti_start = within(activity::Mark::Start).zip(within(activity::Mark::Active));
    let cti_start = cti_start.map(|(start, active)| Duration::from_nanos(active.at.saturating_sub(start.at)));
    let until = if seen.undisturbed { u64::MAX } else { seen.came_out_at };
    let by_it = exchanges.iter().filter(|exchange| (seen.from..seen.to).contains(&exchange.due) && !exchange.is_good());
    let lost = by_it.filter(|exchange| (seen.done_at..until).contains(&exchange.ended)).count() as u64;
    Step { client, lost, good_again_ms: good_again.map(ms), cti_start_ms: cti_start.map(ms), seen }
}

fn longest(overlaps: &[Overlap]) -> Duration {
    overlaps.iter().map(Overlap::lasted).max().unwrap_or_default()
}

fn correctness(
    steps: &[Step],
    whole: &Summary,
    misplaced: &[Misplaced],
    overlaps: &[Overlap],
    both_ran: bool,
) -> Vec<Line> {
    let planned: Vec<_> = steps.iter().filter(|step| step.seen.act == Act::Planned).collect();
    let (lost, asked): (u64, u64) =
        (planned.iter().map(|step| step.lost).sum(), planned.iter().map(|step| step.client.requests).sum());
    let awaited = misplaced.iter().filter(|entry| entry.awaited).count();
    vec![
        Line { met: lost == 0 && asked > 0, text: format!("planned switches: {lost} of {asked} requests lost") },
        Line {
            met: whole.by_standby == 0 && awaited == 0 && whole.requests > 0,
            text: format!(
                "served by a side whose CTI was not active: {} of {} by the client, {awaited} by the applications",
                whole.by_standby, whole.requests
            ),
        },
        Line {
            met: overlaps.is_empty() && both_ran,
            text: match overlaps.len() {
                0 => "both CTI services at once: never".to_owned(),
                times => format!("both CTI services at once: {times} times, up to {:.1} ms", ms(longest(overlaps))),
            },
        },
    ]
}

fn targets(steps: &[Step], cti_stop: Duration, cti_start: Duration) -> Vec<Line> {
    let mut lines = Vec::new();
    for step in steps {
        let (name, found, most) = match step.seen.act {
            Act::Nothing | Act::KillAgent => continue,
            Act::Planned => ("longest gap", Some(step.client.longest_gap_ms), cti_stop + cti_start + PLANNED_EXTRA),
            Act::KillApplication => ("good again after", step.good_again_ms, cti_start + KILL_EXTRA),
            Act::Hang => ("good again after", step.good_again_ms, cti_start + HANG_EXTRA),
        };
        lines.push(Line {
            met: found.is_some_and(|found| found <= ms(most)),
            text: format!("{}: {name} {}, target {:.0} ms", name_of(step), milliseconds(found), ms(most)),
        });
    }
    let skews: Vec<f64> = steps.iter().filter_map(|step| step.seen.handover.as_ref()?.measures.skew_ms).collect();
    let handovers = steps.iter().filter(|step| step.seen.handover.is_some()).count();
    let worst = skews.iter().copied().fold(0.0, f64::max);
    lines.push(Line {
        met: skews.len() == handovers && worst <= ms(SKEW),
        text: format!(
            "skew (active to first request): at most {worst:.1} ms in {} handovers, target {:.0} ms",
            skews.len(),
            ms(SKEW)
        ),
    });
    lines
}

fn name_of(step: &Step) -> String {
    let before = step.seen.before;
    match step.seen.act {
        Act::Nothing => "nothing".to_owned(),
        Act::Planned => format!("planned switch {before} -> {}", before.other()),
        Act::KillApplication => format!("kill -9 of {before}'s application"),
        Act::Hang => format!("hang of {before}"),
        Act::KillAgent => format!("kill -9 of {before}'s agent"),
    }
}

/// The two tables and the judgement.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nWhat the client saw")?;
        writeln!(f, "{}", self.client_table())?;
        writeln!(f, "\nWhat the edge recorded, in milliseconds")?;
        writeln!(f, "{}", self.handover_table())?;
        writeln!(f, "\nMust hold")?;
        for line in &self.correctness {
            writeln!(f, "  {} {}", if line.met { "✓" } else { "✗" }, line.text)?;
        }
        if self.withdrawn > 0 {
            writeln!(
                f,
                "    ({} more were found by a woken application in connections that had been cut)",
                self.withdrawn
            )?;
        }
        for why in self.disturbances() {
            writeln!(f, "\nThis machine is too busy for the times to mean much: {why}")?;
        }
        writeln!(f, "\nTargets")?;
        for line in &self.targets {
            writeln!(f, "  {} {}", if line.met { "✓ met   " } else { "✗ missed" }, line.text)?;
        }
        writeln!(f)
    }
}

impl Report {
    fn disturbances(&self) -> Vec<String> {
        let late = self.steps.iter().map(|step| step.client.client_late_ms).fold(0.0, f64::max);
        let late = (late > CLIENT_LATE_MS).then(|| format!("the client itself was up to {late:.0} ms late"));
        let others = self.steps.iter().filter(|step| !step.seen.undisturbed);
        let others = others.map(|step| format!("another handover came into the step `{}`", name_of(step)));
        late.into_iter().chain(others).collect()
    }

    fn client_table(&self) -> Table {
        let head =
            ["step", "requests", "failed", "by a standby", "longest gap", "good again", "p50", "p99", "failed because"];
        let rows = self.steps.iter().map(|step| {
            let client = &step.client;
            let failures: Vec<_> = client.failures.iter().map(|(cause, times)| format!("{times} × {cause}")).collect();
            vec![
                name_of(step),
                client.requests.to_string(),
                client.failed.to_string(),
                client.by_standby.to_string(),
                milliseconds(Some(client.longest_gap_ms)),
                milliseconds(step.good_again_ms),
                milliseconds(Some(client.p50_ms)),
                milliseconds(Some(client.p99_ms)),
                failures.join(", "),
            ]
        });
        table(&head, rows, 1..=7)
    }

    fn handover_table(&self) -> Table {
        let head = [
            "epoch",
            "handover",
            "outcome",
            "prepare",
            "drain",
            "fence",
            "activate",
            "commit",
            "hold to commit",
            "skew",
            "CTI start",
        ];
        let rows = self.steps.iter().filter_map(|step| {
            let handover = step.seen.handover.as_ref()?;
            let record = &handover.record;
            let phase = |wanted: Phase| {
                let times = record.phases.iter().filter(|phase| phase.phase == wanted);
                let took: Duration = times.filter_map(|phase| phase.ended.map(|ended| ended.since(phase.began))).sum();
                format!("{:.1}", ms(took))
            };
            let plain = |found: Option<f64>| found.map_or_else(|| "-".to_owned(), |found| format!("{found:.1}"));
            Some(vec![
                record.epoch.to_string(),
                format!(
                    "{} -> {}, {:?}",
                    record.from.map_or_else(|| "-".to_owned(), |side| side.to_string()),
                    record.to,
                    record.urgency
                )
                .to_lowercase(),
                record.outcome.map_or("under way", outcome).to_owned(),
                phase(Phase::Prepare),
                phase(Phase::Drain),
                phase(Phase::Fence),
                phase(Phase::Activate),
                phase(Phase::Commit),
                plain(handover.measures.gap_ms),
                plain(handover.measures.skew_ms),
                plain(step.cti_start_ms),
            ])
        });
        table(&head, rows, 3..=10)
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::RolledBack => "rolled back",
        Outcome::NoActive => "no active side",
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>, numbers: std::ops::RangeInclusive<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(head.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn milliseconds(found: Option<f64>) -> String {
    match found {
        None => "-".to_owned(),
        Some(found) if found < 10.0 => format!("{found:.1} ms"),
        Some(found) => format!("{found:.0} ms"),
    }
}
