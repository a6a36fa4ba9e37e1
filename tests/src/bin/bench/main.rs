//! Measures the data plane beside HAProxy, nginx and nobody, as ratios within one run: `docs/benchmarks.md` has the results.
//!
//! `bench --rounds 5 --seconds 3 --page docs/benchmarks.md`. All of it happens on the loopback of network namespaces of its own: there
//! is no cable whose cost would be the same for everybody and hide what differs, and nothing leaves or disturbs the machine. Only
//! switches need nodes with cables. The program runs itself again for each such world; a world says what it has found as its last line.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement ends where something is not as it must be")]

mod calls;
mod checks;
mod contenders;
mod full;
mod haproxy_switch;
mod idle;
mod load;
mod lockstep;
mod machine;
mod options;
mod origin;
mod paced;
mod page;
mod processes;
mod spread;
mod switch;
mod tables;
mod work;
mod work_world;
#[path = "../figures/worlds.rs"]
mod worlds;

use options::{Options, Part, Verb};
use serde_json::Value;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("bench: {why}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match options.verb {
        Verb::All => all(&options),
        Verb::WorkWorld => worlds::within(|dir| work_world::in_world(&options, dir)),
        Verb::SwitchWorld => worlds::within(|dir| switch::in_world(&options, dir)),
        Verb::HaproxySwitchWorld => worlds::within(|dir| haproxy_switch::in_world(&options, dir)),
        Verb::ChecksWorld => worlds::within(|dir| checks::in_world(&options, dir)),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every part, each in its worlds, one after the other; then the page.
fn all(options: &Options) -> bool {
    if !options.force
        && let Some(busy) = machine::is_busy()
    {
        eprintln!(
            "bench: {busy}: wait until it is quiet, or say FORCE=1 (--force) and take the ratios for what they are worth"
        );
        return false;
    }
    let machine = machine::describe();
    let (rounds, seconds) = (options.rounds.to_string(), options.seconds.to_string());
    let world = |part: Part, name: &str, verb: &str, more: &[&str]| {
        let words = [&[verb, "--rounds", &rounds, "--seconds", &seconds], more].concat();
        if options.parts.contains(&part) { worlds::run(name, &words) } else { Some(Value::Null) }
    };
    let found = [
        ("one", world(Part::Work, "one worker", "work-world", &["--workers", "1"])),
        ("two", world(Part::Two, "two workers", "work-world", &["--workers", "2"])),
        ("switch", world(Part::Switch, "switch", "switch-world", &[])),
        ("haproxy_switch", world(Part::Switch, "switch, HAProxy", "haproxy-switch-world", &[])),
        ("checks", world(Part::Checks, "checks", "checks-world", &[])),
    ];
    let whole = found.iter().all(|(_, found)| found.is_some());
    let found: serde_json::Map<_, _> =
        found.into_iter().map(|(part, found)| (part.to_owned(), found.unwrap_or_default())).collect();
    let text = tables::text(&machine, options, &Value::Object(found));
    let put = match &options.page {
        Some(page) => page::put(page, &text),
        None => {
            println!("{text}");
            true
        }
    };
    whole && put
}
