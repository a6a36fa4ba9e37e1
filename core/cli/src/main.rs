//! The binary `lockstep`: arguments, output and exit codes. What it does is in the rooms that it calls.

#![forbid(unsafe_code)]

mod arguments;
mod author;
mod exit;
mod journal;
mod log;
mod pki;
mod policies;
mod render_status;
mod render_why;
mod top;
mod trust;
mod user;
mod verbs;
mod words;

use crate::arguments::{Arguments, Command, JournalVerb, PolicyVerb, Simulate};
use crate::exit::Failure;
use clap::Parser;
use std::future::Future;
use std::process::ExitCode;

fn main() -> ExitCode {
    // One guard stands over each service: it starts in no time, on one thread, and knows none of what follows.
    let mut given = std::env::args_os().skip(1);
    let verb = given.next();
    if verb.as_ref().is_some_and(|verb| verb == "guard") {
        return lockstep_agent::guard::run(given);
    }
    // So does each worker that runs a plugin's code.
    if verb.is_some_and(|verb| verb == "policy-worker") {
        return trust::work();
    }
    let Arguments { command, log_json } = Arguments::parse();
    match run(command, log_json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("lockstep: {}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command, log_json: bool) -> Result<(), Failure> {
    match command {
        Command::Edge { config, succeed } => {
            log::start(log_json);
            on_threads(async {
                let ended = match succeed {
                    true => lockstep_edge::succeed(&config, lockstep_edge::terminated()).await,
                    false => lockstep_edge::run(&config, lockstep_edge::terminated()).await,
                };
                ended.map_err(Failure::from_error)
            })
        }
        Command::Agent { config } => {
            log::start(log_json);
            lockstep_agent::process::run(&config).map_err(Failure::from_error)
        }
        Command::Status { reach, json } => on_one_thread(verbs::status(&reach, json)),
        Command::Top { reach, once } => on_one_thread(top::top(&reach, once)),
        Command::Reload { reach } => on_one_thread(verbs::reload(&reach)),
        Command::Upgrade { reach, program } => on_one_thread(verbs::upgrade(&reach, program.as_deref())),
        Command::Switch { reach, pair, to, insist, yes, json } => {
            on_one_thread(verbs::switch(&reach, &pair, to, insist, yes, json))
        }
        Command::Order { reach, pair, name, argument, side, yes } => {
            on_one_thread(verbs::order(&reach, &pair, &name, &argument, side, yes))
        }
        Command::User { name, rights } => user::make(&name, &rights),
        Command::Explain { reach, pair } => on_one_thread(verbs::explain(&reach, &pair)),
        Command::Why { reach, pair, epoch, json } => on_one_thread(verbs::why(&reach, &pair, epoch, json)),
        Command::Confirm { reach, pair, gate, side } => on_one_thread(verbs::confirm_gate(&reach, &pair, &gate, side)),
        Command::Pause { reach, pair, reason } => on_one_thread(verbs::pause(&reach, &pair, &reason)),
        Command::Resume { reach, pair } => on_one_thread(verbs::resume(&reach, &pair)),
        Command::Maintenance { reach, pair, on, text } => on_one_thread(verbs::maintenance(&reach, &pair, on, &text)),
        Command::Check { file, lint } => verbs::check(&file, lint),
        Command::Journal { verb } => match verb {
            JournalVerb::Export { reach, pair, file, since } => {
                on_one_thread(journal::export(&reach, &pair, since.as_deref(), &file))
            }
            JournalVerb::Show { reach, what, since } => on_one_thread(journal::show(&reach, &what, since.as_deref())),
        },
        Command::Policy { verb } => policy(verb),
        Command::Pki { verb } => pki::pki(verb),
        Command::Demo(options) => lockstep_demo::play::run(options).map_err(Failure::from_verdict),
        Command::Simulate { program } => match program {
            Simulate::App(options) => lockstep_demo::app::run(options),
            Simulate::Appliance(options) => lockstep_demo::appliance::run(options),
            Simulate::Finesse(options) => lockstep_demo::finesse::run(options),
            Simulate::Ged188(options) => lockstep_demo::ged188::run(&options),
            Simulate::Cti(options) => lockstep_demo::cti::run(&options),
            Simulate::TsServer(options) => lockstep_demo::ts_server::run(&options),
            Simulate::Pool(options) => lockstep_demo::pool::run(&options),
            Simulate::Client(options) => lockstep_demo::client::run(options),
            Simulate::Keeper { dir } => lockstep_demo::play::processes::keep(&dir),
        }
        .map_err(Failure::from_verdict),
    }
}

fn policy(verb: PolicyVerb) -> Result<(), Failure> {
    match verb {
        PolicyVerb::New { name, lang, sdk } => author::new(&name, &lang, sdk.as_deref()),
        PolicyVerb::Check { file, judged, here: false } => author::check(&file, judged.from()),
        PolicyVerb::Check { file, judged, here: true } => author::check_here(&file, judged.from()),
        PolicyVerb::Explain { file, judged, markdown } => author::explain(&file, judged.from(), markdown),
        PolicyVerb::Run { scenarios, policy, bless } => author::run(&scenarios, policy.as_deref(), bless),
        PolicyVerb::Trust { files, trust_file, config } => {
            trust::trust(&files, trust_file.as_deref(), config.as_deref())
        }
        PolicyVerb::Shadow { reach, pair, file, set, stop } => {
            on_one_thread(policies::shadow(&reach, &pair, file.as_deref(), &set, stop))
        }
        PolicyVerb::Promote { reach, pair } => on_one_thread(policies::promote(&reach, &pair)),
        PolicyVerb::Rollback { reach, pair } => on_one_thread(policies::rollback(&reach, &pair)),
        PolicyVerb::Replay { journal, policy, set } => journal::replay(&journal, policy.as_deref(), &set),
    }
}

fn on_threads(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on(&mut tokio::runtime::Builder::new_multi_thread(), work)
}

fn on_one_thread(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on(&mut tokio::runtime::Builder::new_current_thread(), work)
}

fn block_on(
    runtime: &mut tokio::runtime::Builder,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    runtime.enable_all().build().map_err(|error| Failure::failed(format!("no runtime: {error}")))?.block_on(work)
}
