//! What a frame says: text made of two looks at the edge, and of nothing else.

use crate::render_status::links;
use crate::words::{cut, lasting, word};
use lockstep_edge::admin::api::{PairStatus, SideStatus, Status, route_text};
use lockstep_edge::metrics::{BUCKETS_MS, COUNTS};
use lockstep_policy::Side;
use std::time::Duration;

/// The look before.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// What it saw.
    pub status: &'a Status,
    /// How long ago it was.
    pub ago: Duration,
}

const COLUMNS: [&str; 11] =
    ["PAIR", "ROUTE", "ACTIVE", "EPOCH", "REQ/S", "ERR/S", "HELD", "P50", "P99", "AGENT A", "AGENT B"];

/// All lines of a frame.
pub fn lines(before: Option<Before<'_>>, now: &Status) -> Vec<String> {
    // An edge that was started again has begun to count anew.
    let before = before.filter(|before| before.status.started == now.started);
    let mut lines = vec![head(now), String::new()];
    let rows: Vec<[String; 11]> = now.pairs.iter().map(|pair| row(before, pair)).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([COLUMNS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 11] = std::array::from_fn(width);
    lines.push(aligned(&COLUMNS.map(str::to_owned), &widths));
    for (row, pair) in rows.iter().zip(&now.pairs) {
        lines.push(aligned(row, &widths));
        lines.extend(below(pair).into_iter().map(|text| format!("  {text}")));
    }
    lines
}

/// The lines as far as they fit: columns and lines of a screen. What could move a cursor is shown as `?`.
pub fn fit(lines: &[String], (columns, rows): (usize, usize)) -> Vec<String> {
    let shown = |line: &String| cut(&line.replace(char::is_control, "?"), columns);
    let mut fitting: Vec<String> = lines.iter().take(rows).map(shown).collect();
    if lines.len() > rows
        && let Some(last) = fitting.last_mut()
    {
        *last = cut(&format!("… {} lines more", lines.len() - rows + 1), columns);
    }
    fitting
}

fn head(status: &Status) -> String {
    let mut text = format!("{}: lockstep {}, running since {}", status.edge, status.version, status.started);
    if status.journal_lost > 0 {
        text += &format!("; journal: {} records lost", status.journal_lost);
    }
    if let Some(log) = status.access_log.filter(|log| log.lost > 0) {
        text += &format!("; access log: {} lines lost", log.lost);
    }
    text + "   (q: leave)"
}

fn aligned(cells: &[String; 11], widths: &[usize; 11]) -> String {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let space = " ".repeat(width - cell.chars().count());
        // Numbers stand at the right of their column.
        line += &if (3..9).contains(&column) { format!("{space}{cell}  ") } else { format!("{cell}{space}  ") };
    }
    line.trim_end().to_owned()
}

fn row(before: Option<Before<'_>>, pair: &PairStatus) -> [String; 11] {
    let former = before.and_then(|before| {
        let same = before.status.pairs.iter().find(|former| former.name == pair.name)?;
        Some((same, before.ago.as_secs_f64()))
    });
    let rate = |of: fn(&PairStatus) -> u64| match former {
        Some((former, seconds)) if seconds > 0.0 => {
            format!("{:.1}", of(pair).saturating_sub(of(former)) as f64 / seconds)
        }
        _ => "-".to_owned(),
    };
    let took = former.map(|(former, _)| newer(&counts(pair), &counts(former)));
    let quantile = |part| took.as_ref().and_then(|took| quantile(took, part)).unwrap_or_else(|| "-".to_owned());
    let active = match (&pair.sessions, pair.active) {
        (Some(sessions), _) => format!("{}:{}", sessions.on.a, sessions.on.b),
        (None, Some(active)) => active.side.to_string(),
        (None, None) => "none".to_owned(),
    };
    [
        pair.name.clone(),
        route_text(pair.route).to_owned(),
        active,
        pair.epoch.to_string(),
        rate(|pair| pair.traffic.requests),
        rate(errors),
        pair.traffic.holding.to_string(),
        quantile(0.5),
        quantile(0.99),
        agent(&pair.sides.a),
        agent(&pair.sides.b),
    ]
}

/// What stands below a pair's row, as far as there is something to say.
fn below(pair: &PairStatus) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(handover) = pair.handover {
        said.push(format!("handover to {}, in {}", handover.to, word(&handover.phase)));
    }
    if pair.recovering {
        said.push("asking both agents after the edge's start".to_owned());
    }
    if !pair.policy.working {
        said.push("the policy DOES NOT WORK, the pair keeps its course".to_owned());
    }
    if let Some(pause) = &pair.paused {
        said.push(format!("paused by {} since {}", pause.by, pause.since));
    }
    let streams = &pair.seen.sides;
    if streams.a.streams_open + streams.b.streams_open > 0 {
        said.push(format!("streams open: {} to a, {} to b", streams.a.streams_open, streams.b.streams_open));
    }
    if let Some(alert) = pair.alerts.first() {
        said.push(format!("{} {} {}: {}", word(&alert.level), alert.when, alert.from, alert.text));
    }
    said
}

/// `up, lease 512 ms`.
fn agent(side: &SideStatus) -> String {
    let left = side.report.as_ref().map(|report| report.lease_left_ms - report.age_ms).filter(|left| *left > 0.0);
    match left {
        Some(left) => format!("{}, lease {}", links(side), lasting(left)),
        None => links(side),
    }
}

/// Answers of 500 and above, whosever they are.
fn errors(pair: &PairStatus) -> u64 {
    Side::BOTH.into_iter().map(|side| pair.seen.sides[side].answers[4]).sum::<u64>() + pair.seen.own[4]
}

fn counts(pair: &PairStatus) -> [u64; COUNTS] {
    let sides = &pair.seen.sides;
    std::array::from_fn(|bucket| sides.a.whole.counts[bucket] + sides.b.whole.counts[bucket])
}

fn newer(now: &[u64; COUNTS], before: &[u64; COUNTS]) -> [u64; COUNTS] {
    std::array::from_fn(|bucket| now[bucket].saturating_sub(before[bucket]))
}

/// What that part of the requests did not take longer than, as exactly as the buckets are; none when there were none.
fn quantile(counts: &[u64; COUNTS], part: f64) -> Option<String> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = (all as f64 * part).max(1.0);
    let (mut below, mut from) = (0.0, 0.0);
    for (&count, bound) in counts.iter().zip(BUCKETS_MS) {
        let (count, bound) = (count as f64, bound as f64);
        if below + count >= wanted {
            return Some(lasting(from + (bound - from) * (wanted - below) / count));
        }
        below += count;
        from = bound;
    }
    Some(format!("> {}", lasting(from)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render_status::tests::status;
    use lockstep_edge::admin::api::{AccessLogStatus, Underway};
    use lockstep_pair::record::Phase;

    fn busy() -> (Status, Status) {
        let before = status();
        let mut now = before.clone();
        let pair = &mut now.pairs[0];
        pair.traffic.requests += 500;
        pair.traffic.holding = 12;
        pair.seen.sides.a.answers = [0, 490, 0, 0, 4];
        pair.seen.own[4] = 1;
        pair.seen.sides.a.whole.counts[0] = 400;
        pair.seen.sides.b.whole.counts[3] = 95;
        (before, now)
    }

    fn frame(before: &Status, now: &Status) -> String {
        lines(Some(Before { status: before, ago: Duration::from_secs(2) }), now).join("\n")
    }

    #[test]
    fn a_frame_reads_like_this() {
        let (before, mut now) = busy();
        now.pairs[0].handover = Some(Underway { to: Side::B, phase: Phase::Fence });
        now.access_log = Some(AccessLogStatus { written: 7, lost: 3 });
        assert_eq!(
            frame(&before, &now),
            "\
edge-1: lockstep 0.1.0, running since 2026-03-01T10:00:00Z; journal: 2 records lost; access log: 3 lines lost   (q: leave)

PAIR     ROUTE  ACTIVE  EPOCH  REQ/S  ERR/S  HELD     P50     P99  AGENT A             AGENT B
telisca  a      a           5  250.0    2.5    12  0.6 ms  9.7 ms  up, lease 500.0 ms  no auxiliary
  handover to b, in fence
  paused by jo since 2026-03-01T12:00:00Z
  warning 2026-03-01T12:01:00Z policy: cti restarted"
        );
    }

    #[test]
    fn without_a_look_before_nothing_is_said_of_a_second() {
        let (before, now) = busy();
        let first = lines(None, &now);
        assert!(first[3].contains("      -      -    12"), "{}", first[3]);
        let mut restarted = now.clone();
        restarted.started = "2026-03-02T10:00:00Z".to_owned();
        assert_eq!(
            frame(&before, &restarted).lines().nth(3),
            Some(first[3].as_str()),
            "an edge that was started again"
        );
        assert!(frame(&now, &now).contains("  0.0    0.0    12    -    -  "), "{}", frame(&now, &now));
    }

    #[test]
    fn a_quantile_is_as_exact_as_its_buckets() {
        let mut counts = [0; COUNTS];
        assert_eq!(quantile(&counts, 0.5), None);
        counts[2] = 100;
        assert_eq!(quantile(&counts, 0.5).unwrap(), "3.5 ms");
        counts[COUNTS - 1] = 100;
        assert_eq!(quantile(&counts, 0.99).unwrap(), "> 60.00 s");
        assert_eq!(quantile(&counts, 0.5).unwrap(), "5.0 ms");
    }

    #[test]
    fn a_frame_fits_and_moves_no_cursor() {
        let lines: Vec<String> = ["a\x1b[2J", "ääääää", "c", "d"].map(str::to_owned).into();
        assert_eq!(fit(&lines, (4, 3)), ["a?[…", "äää…", "… 2…"]);
        assert_eq!(fit(&lines, (80, 24)).len(), 4);
    }
}
