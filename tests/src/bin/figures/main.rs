//! Measures what is promised in numbers, on real processes in networks of their own: `docs/measured.md` has the results.
//!
//! `figures soak --minutes 20`, `figures unplug --runs 200`, `figures rapid --runs 50 --minutes 3`, `figures agent --seconds 60`. Each of
//! them runs itself again, once for each world that it needs; a world says what it has found as its last line.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement ends where something is not as it must be")]

mod balancer;
mod burn;
mod footprint;
mod options;
mod rapid;
mod site;
mod soak;
mod table;
mod unplug;
mod worlds;

use options::{Options, Verb};

fn main() -> std::process::ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("figures: {why}\n\n{}", options::USAGE);
            return std::process::ExitCode::from(2);
        }
    };
    let met = match &options.verb {
        Verb::Soak => soak::measure(&options),
        Verb::SoakWorld => worlds::within(|dir| soak::in_world(&options, dir)),
        Verb::Unplug => unplug::measure(&options),
        Verb::UnplugWorld => worlds::within(|dir| unplug::in_world(&options, dir)),
        Verb::Rapid => rapid::measure(&options),
        Verb::RapidWorld => worlds::within(|dir| rapid::load_in_world(&options, dir)),
        Verb::BalancerWorld => worlds::within(|dir| balancer::in_world(&options, dir)),
        Verb::Daemon => balancer::daemon(&options),
        Verb::Agent => footprint::measure(&options),
        Verb::AgentWorld => worlds::within(|dir| footprint::in_world(&options, dir)),
        Verb::Burn => burn::burn(options.percent),
    };
    if met { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
