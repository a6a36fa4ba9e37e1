//! What was found as tables, with what is promised beside it.

use crate::options::Options;
use crate::spread::Spread;
use crate::work::{WORKS, Way, Work};
use serde_json::Value;
use std::fmt::Write;

const PEERS: [(&str, &str); 2] = [("haproxy", "HAProxy"), ("nginx", "nginx")];
/// The promises that are no work's own.
const P99: f64 = 1.1;
const IDLE_KIB: f64 = 16.0;
const CHECKS_PERCENT: f64 = 5.0;
/// A proxy that took less than this of its processors was not what bounded the work.
const BUSY: f64 = 0.9;

/// The measured part of the page.
pub fn text(machine: &str, options: &Options, found: &Value) -> String {
    let mut text = format!(
        "{machine}- {} rounds of {} s; medians, and in brackets the least and the greatest of the rounds' own ratios\n\n",
        options.rounds, options.seconds
    );
    let (one, two) = (&found["one"], &found["two"]);
    if !one.is_null() {
        write!(
            text,
            "One worker: the contender on processor {}, origin and load on {}; load after {}.\n\n",
            word(&one["contender_on"]),
            word(&one["others_on"]),
            word(&one["load"])
        )
        .unwrap();
        text += &costs(&one["paced"]);
        text += &latencies(&one["paced"]);
        text += &saturation("one worker", &one["full"]);
        text += &streams(&one["full"]);
    }
    if !two.is_null() {
        text += &saturation("two workers", &two["full"]);
        text += "Contender, origin and load share the processors here: what a contender leaves to the others counts too.\n\n";
    }
    if !one.is_null() {
        text += &idle(&one["idle"]);
        text += &calls(&one["calls"]);
    }
    text += &switches(found);
    text += &checks(&found["checks"]);
    text += &commands(one);
    text
}

fn costs(runs: &Value) -> String {
    let rows = works(runs).map(|work| {
        let cost = |name| middle(runs, work, name, "cost");
        let ratio = ratio(runs, work, "haproxy", "cost");
        let mut row = vec![format!("{}, {}/s", work.name, work.rate)];
        row.extend(["lockstep", "haproxy", "nginx"].map(|name| figure(cost(name), 1)));
        row.extend(PEERS.map(|(peer, _)| spread(self::ratio(runs, work, peer, "cost"))));
        row.extend([work.cost.map_or("–".to_owned(), |most| format!("≤ {most}")), at_most(ratio, work.cost)]);
        row
    });
    table(
        "Processor time per request at a fixed rate, µs",
        &["work", "lockstep", "HAProxy", "nginx", "÷ HAProxy", "÷ nginx", "target ÷ HAProxy", ""],
        rows.collect(),
    )
}

fn latencies(runs: &Value) -> String {
    let rows = works(runs).map(|work| {
        let three = |name: &str| {
            let parts = ["p50", "p99", "p999"].map(|key| figure(middle(runs, work, name, key), 0));
            if parts[0] == "–" { "–".to_owned() } else { parts.join(" / ") }
        };
        let ratio = ratio(runs, work, "haproxy", "p99");
        let mut row = vec![format!("{}, {}/s", work.name, work.rate)];
        row.extend(["direct", "lockstep", "haproxy", "nginx"].map(three));
        row.extend([spread(ratio), format!("≤ {P99}"), at_most(ratio, Some(P99))]);
        row
    });
    table(
        "Latency at a fixed rate: p50 / p99 / p99.9, µs",
        &["work", "direct", "lockstep", "HAProxy", "nginx", "p99 ÷ HAProxy", "target", ""],
        rows.collect(),
    )
}

fn saturation(workers: &str, runs: &Value) -> String {
    let rows = works(runs).filter(|work| work.way != Way::Stream).map(|work| {
        let ratio = ratio(runs, work, "haproxy", "rate");
        let target = work.throughput.filter(|_| workers == "one worker");
        let mut row = vec![work.name.to_owned()];
        row.extend(["direct", "lockstep", "haproxy", "nginx"].map(|name| done(runs, work, name)));
        row.extend(PEERS.map(|(peer, _)| spread(self::ratio(runs, work, peer, "rate"))));
        row.push(spread(self::ratio(runs, work, "haproxy", "cost")));
        let bound = ["lockstep", "haproxy"]
            .iter()
            .all(|name| middle(runs, work, name, "busy").is_some_and(|busy| busy >= BUSY));
        let verdict = if bound || target.is_none() { at_least(ratio, target) } else { "not judged".to_owned() };
        row.extend([target.map_or("–".to_owned(), |least| format!("≥ {least}")), verdict]);
        row
    });
    let head = [
        "work",
        "direct",
        "lockstep",
        "HAProxy",
        "nginx",
        "÷ HAProxy",
        "÷ nginx",
        "processor time per request ÷ HAProxy",
        "target ÷ HAProxy",
        "",
    ];
    let title =
        format!("Requests a second at saturation, {workers}; in brackets the processors that the contender took");
    table(&title, &head, rows.collect())
}

fn done(runs: &Value, work: &Work, name: &str) -> String {
    let rate = figure(middle(runs, work, name, "rate"), 0);
    let Some(busy) = middle(runs, work, name, "busy").filter(|busy| *busy > 0.0) else { return rate };
    let idle = if busy < BUSY { ", not the bound" } else { "" };
    format!("{rate} ({busy:.2}{idle})")
}

fn streams(runs: &Value) -> String {
    let rows = works(runs).filter(|work| work.way == Way::Stream).flat_map(|work| {
        let names = [
            ("direct", "direct"),
            ("lockstep", "lockstep"),
            ("haproxy", "HAProxy"),
            ("haproxy-splice", "HAProxy, splice"),
        ];
        names.map(|(name, shown)| {
            let ratio = if name == "lockstep" { ratio(runs, work, "haproxy-splice", "cost_gb") } else { None };
            let target = work.cost.filter(|_| name == "lockstep");
            let speed = middle(runs, work, name, "bytes").map(|bytes| bytes / 1e9);
            let cost = middle(runs, work, name, "cost_gb").filter(|cost| *cost > 0.0);
            let target_text = target.map_or("–".to_owned(), |most| format!("≤ {most}"));
            vec![
                shown.to_owned(),
                figure(speed, 2),
                figure(cost, 2),
                spread(ratio),
                target_text,
                at_most(ratio, target),
            ]
        })
    });
    let head = ["TCP streams, 4 at once", "GB/s", "CPU-s per GB", "CPU ÷ HAProxy with splice", "target", ""];
    table("Streams", &head, rows.collect())
}

fn idle(runs: &Value) -> String {
    let kib = |name: &str| of(runs, name).and_then(|run| run["kib"].as_f64());
    let rows = ["lockstep", "haproxy", "nginx"].into_iter().filter_map(|name| {
        let run = of(runs, name)?;
        let target = (name == "lockstep").then_some(IDLE_KIB);
        let found = kib(name).and_then(|kib| Spread::of([kib]));
        let text = target.map_or("–".to_owned(), |most| format!("≤ {most}"));
        Some(vec![name.to_owned(), run["clients"].to_string(), figure(kib(name), 1), text, at_most(found, target)])
    });
    let head = ["", "connections", "KiB each", "target", ""];
    table(
        "Memory of an idle connection in the clear, after one request (resident; the kernel's own is not in it)",
        &head,
        rows.collect(),
    )
}

fn calls(runs: &Value) -> String {
    let rows = ["lockstep", "haproxy", "nginx"].into_iter().filter_map(|name| {
        let run = of(runs, name)?;
        let each = |call: &Value| Some(format!("{} {:.2}", call[0].as_str()?, call[1].as_f64()?));
        let calls: Vec<_> = run["calls"].as_array()?.iter().filter_map(each).collect();
        Some(vec![name.to_owned(), figure(run["all"].as_f64(), 2), calls.join(", ")])
    });
    table("System calls per request, 2 B, keep-alive, 20 clients", &["", "all", "of them"], rows.collect())
}

fn switches(found: &Value) -> String {
    let mut rows = Vec::new();
    for (kind, title) in [("planned", "planned switch"), ("killed", "`kill -9` of the active server")] {
        for (key, name) in [("switch", "lockstep"), ("haproxy_switch", "HAProxy")] {
            let empty = Vec::new();
            let all = found[key]["events"].as_array().unwrap_or(&empty);
            let events: Vec<_> = all.iter().filter(|event| event["kind"] == kind).collect();
            if events.is_empty() {
                continue;
            }
            let of = |field: &str| Spread::of(events.iter().filter_map(|event| event[field].as_f64()));
            let mut row = vec![title.to_owned(), name.to_owned(), events.len().to_string()];
            row.extend(
                ["gets_failed", "posts_failed", "by_standby", "held", "gap", "p99", "max"]
                    .map(|field| counted(of(field))),
            );
            let failed = |field: &str| of(field).map_or(f64::NAN, |spread| spread.greatest);
            let verdict = match (name, kind) {
                ("lockstep", "planned") => {
                    met(failed("gets_failed") + failed("posts_failed") + failed("by_standby") == 0.0)
                }
                ("lockstep", _) => met(failed("gets_failed") == 0.0),
                _ => String::new(),
            };
            row.push(verdict);
            rows.push(row);
        }
    }
    let head = [
        "500 requests/s, every tenth a POST",
        "",
        "events",
        "GETs failed",
        "POSTs failed",
        "by a standby",
        "held",
        "longest gap, ms",
        "p99 of 3 s, ms",
        "slowest, ms",
        "0 failed, 0 wrong-role; 0 GETs lost",
    ];
    table("Switches: checks every 0.1 s, CTI start 300 ms; median, and in brackets the worst", &head, rows)
}

fn checks(found: &Value) -> String {
    let rows = [("lockstep", "lockstep"), ("haproxy", "HAProxy")].into_iter().filter_map(|(key, name)| {
        let run = found.get(key)?;
        let target = (key == "lockstep").then_some(CHECKS_PERCENT);
        let share = run["percent"].as_f64();
        let verdict = at_most(share.and_then(|share| Spread::of([share])), target);
        let processes = run["processes"].as_array()?.iter();
        let memory: Vec<_> = processes.map(|one| format!("{} {} MB", word(&one["process"]), one["mb"])).collect();
        let target = target.map_or("–".to_owned(), |most| format!("≤ {most} %"));
        let share = figure(share, 1);
        Some(vec![
            name.to_owned(),
            figure(run["checks"].as_f64(), 0),
            format!("{share} %"),
            memory.join(", "),
            target,
            verdict,
        ])
    });
    let head = ["1,000 pairs, 2 servers each", "checks a second", "of a processor", "memory", "target", ""];
    table("Checks", &head, rows.collect())
}

fn commands(one: &Value) -> String {
    let Some(said) = one["commands"].as_array().filter(|said| !said.is_empty()) else { return String::new() };
    let lines: Vec<_> = said.iter().map(word).collect();
    format!("### Commands\n\n```\n{}\n```\n", lines.join("\n"))
}

/// A table of Markdown under its title; nothing when it has no rows.
fn table(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!("### {title}\n\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).unwrap();
    }
    text + "\n"
}

/// The works that lockstep was seen to do.
fn works(runs: &Value) -> impl Iterator<Item = &'static Work> {
    WORKS.iter().filter(move |work| middle(runs, work, "lockstep", "rate").is_some())
}

fn runs_of<'a>(runs: &'a Value, work: &'a Work, contender: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = runs.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |run| run["work"] == work.name && run["contender"] == contender)
}

fn of<'a>(runs: &'a Value, contender: &str) -> Option<&'a Value> {
    runs.as_array()?.iter().find(|run| run["contender"] == contender)
}

fn middle(runs: &Value, work: &Work, contender: &str, key: &str) -> Option<f64> {
    Some(Spread::of(runs_of(runs, work, contender).filter_map(|run| run[key].as_f64()))?.middle)
}

/// lockstep ÷ the peer, of each round in which both have done it.
fn ratio(runs: &Value, work: &Work, peer: &str, key: &str) -> Option<Spread> {
    let of_round = |ours: &Value| {
        let theirs = runs_of(runs, work, peer).find(|run| run["round"] == ours["round"])?;
        Some(ours[key].as_f64()? / theirs[key].as_f64()?)
    };
    Spread::of(runs_of(runs, work, "lockstep").filter_map(of_round))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("–").to_owned()
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

fn spread(ratio: Option<Spread>) -> String {
    ratio
        .map_or("–".to_owned(), |ratio| format!("**{:.2}** ({:.2}–{:.2})", ratio.middle, ratio.least, ratio.greatest))
}

fn counted(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| format!("{:.0} ({:.0})", spread.middle, spread.greatest))
}

fn at_most(found: Option<Spread>, most: Option<f64>) -> String {
    found.zip(most).map_or(String::new(), |(found, most)| met(found.middle <= most))
}

fn at_least(found: Option<Spread>, least: Option<f64>) -> String {
    found.zip(least).map_or(String::new(), |(found, least)| met(found.middle >= least))
}

fn met(met: bool) -> String {
    if met { "met" } else { "**missed**" }.to_owned()
}
