//! The operator's verbs: ask the edge, print the answer.

use crate::arguments::{EDGE_CONFIG, Reach};
use crate::exit::Failure;
use crate::{render_status, render_why};
use lockstep_edge::admin::api::{
    CommandOrder, GateAnswer, GateOrder, Handover, MaintenanceOrder, PauseOrder, Reloaded, SwitchAnswer, SwitchOrder,
    UpgradeOrder, WholeOrder,
};
use lockstep_edge::admin::client::Client;
use lockstep_pair::record::Outcome;
use lockstep_policy::{Side, event};
use serde::Serialize;
use std::io::{IsTerminal, Write, stdin, stdout};
use std::net::SocketAddr;
use std::path::Path;

/// `lockstep status`.
pub async fn status(reach: &Reach, json: bool) -> Result<(), Failure> {
    let status = client(reach)?.status().await?;
    if json { print_json(&status) } else { print(&render_status::text(&status)) }
}

/// `lockstep reload`.
pub async fn reload(reach: &Reach) -> Result<(), Failure> {
    let Reloaded { applied, said } = client(reach)?.reload(&WholeOrder { by: operator() }).await?;
    let text = said.iter().map(|line| format!("{line}\n")).collect::<String>();
    if applied { print(&text) } else { Err(Failure::failed(text.trim_end().to_owned())) }
}

/// `lockstep upgrade`.
pub async fn upgrade(reach: &Reach, program: Option<&Path>) -> Result<(), Failure> {
    let whole = |program: &Path| std::path::absolute(program).unwrap_or_else(|_| program.to_owned());
    let program = program.map(|program| whole(program).display().to_string()).unwrap_or_default();
    let upgraded = client(reach)?.upgrade(&UpgradeOrder { program, by: operator() }).await?;
    print(&format!("the edge goes on in process {}\n", upgraded.pid))
}

/// `lockstep switch PAIR --to SIDE`.
pub async fn switch(
    reach: &Reach,
    pair: &str,
    to: Side,
    insist: Option<String>,
    yes: bool,
    json: bool,
) -> Result<(), Failure> {
    let client = client(reach)?;
    if insist.is_some() && !yes {
        let other = to.other();
        confirm(&format!(
            "Side {to} becomes active without waiting for side {other}: if that still runs, both are active, and only \
             you know. Make sure that side {other} is off."
        ))?;
    }
    let mut order = SwitchOrder { to, confirmed: false, unsafe_because: insist, by: operator() };
    let mut answer = client.switch(pair, &order).await?;
    if let SwitchAnswer::Question(question) = &answer {
        if !yes {
            confirm(question)?;
        }
        order.confirmed = true;
        answer = client.switch(pair, &order).await?;
    }
    finish(pair, answer, json)
}

/// `lockstep order PAIR NAME`.
pub async fn order(
    reach: &Reach,
    pair: &str,
    name: &str,
    argument: &str,
    side: Option<Side>,
    yes: bool,
) -> Result<(), Failure> {
    let client = client(reach)?;
    let (name, argument) = (name.to_owned(), argument.to_owned());
    let mut order = CommandOrder { name, side, argument, confirmed: false, by: operator() };
    let mut answer = client.command(pair, &order).await?;
    if let SwitchAnswer::Question(question) = &answer {
        if !yes {
            confirm(question)?;
        }
        order.confirmed = true;
        answer = client.command(pair, &order).await?;
    }
    finish(pair, answer, false)
}

/// Prints how an order ended.
fn finish(pair: &str, answer: SwitchAnswer, json: bool) -> Result<(), Failure> {
    match answer {
        SwitchAnswer::Ended(handover) => ended(&handover, json),
        SwitchAnswer::Accepted(text) => print(&format!("{pair}: {text}\n")),
        SwitchAnswer::Refused(why) => Err(Failure::failed(format!("refused: {why}"))),
        SwitchAnswer::Question(question) => Err(Failure::not_confirmed(format!("asked again: {question}"))),
    }
}

/// `lockstep why PAIR [EPOCH]`.
pub async fn why(reach: &Reach, pair: &str, epoch: Option<u64>, json: bool) -> Result<(), Failure> {
    let handover = client(reach)?.why(pair, epoch).await?;
    if json { print_json(&handover) } else { print(&render_why::text(&handover)) }
}

/// `lockstep confirm PAIR GATE --side SIDE`.
pub async fn confirm_gate(reach: &Reach, pair: &str, gate: &str, side: Side) -> Result<(), Failure> {
    let by = operator();
    let order = GateOrder { gate: gate.to_owned(), side, by: by.clone() };
    let GateAnswer { outcome, why } = client(reach)?.confirm(pair, &order).await?;
    match (outcome, why.as_str()) {
        (event::Outcome::Done, "") => {
            print(&format!("{pair}: gate {gate} of side {side} is open: {by} has confirmed it\n"))
        }
        (event::Outcome::Done, why) => print(&format!("{pair}: {why}\n")),
        (event::Outcome::Refused, why) => Err(Failure::failed(format!("refused: {why}"))),
        (event::Outcome::Failed, why) => Err(Failure::failed(format!("failed: {why}"))),
    }
}

/// `lockstep explain PAIR`.
pub async fn explain(reach: &Reach, pair: &str) -> Result<(), Failure> {
    let explanation = client(reach)?.explain(pair).await?;
    print(&explanation.text)
}

/// `lockstep pause PAIR`.
pub async fn pause(reach: &Reach, pair: &str, reason: &str) -> Result<(), Failure> {
    let order = PauseOrder { by: operator(), reason: reason.to_owned() };
    client(reach)?.pause(pair, &order).await?;
    print(&format!("{pair}: paused: its policy's own switches are refused until `lockstep resume {pair}`\n"))
}

/// `lockstep resume PAIR`.
pub async fn resume(reach: &Reach, pair: &str) -> Result<(), Failure> {
    let order = PauseOrder { by: operator(), reason: String::new() };
    client(reach)?.resume(pair, &order).await?;
    print(&format!("{pair}: its policy switches again\n"))
}

/// `lockstep maintenance PAIR on|off`.
pub async fn maintenance(reach: &Reach, pair: &str, on: bool, text: &str) -> Result<(), Failure> {
    let order = MaintenanceOrder { by: operator(), on, text: text.to_owned() };
    client(reach)?.maintenance(pair, &order).await?;
    print(&if on {
        format!("{pair}: clients are told that it is under maintenance, until `lockstep maintenance {pair} off`\n")
    } else {
        format!("{pair}: clients are served again\n")
    })
}

/// `lockstep check FILE`: an edge's configuration, or an agent's.
pub fn check(file: &Path, lint: bool) -> Result<(), Failure> {
    if is_of_agent(file) {
        return print(&lockstep_agent::check(file).map_err(Failure::failed)?);
    }
    let report = lockstep_edge::config::check(file);
    if !report.is_valid() {
        let found = report.errors.len();
        let noun = if found == 1 { "error" } else { "errors" };
        return Err(Failure::failed(format!("{} is not valid, {found} {noun}:\n{report}", file.display())));
    }
    let mut text = format!("{}: valid\n", file.display());
    if lint {
        for sentence in &report.lints {
            text.push_str(sentence);
            text.push('\n');
        }
    }
    print(&text)
}

/// By its tables, so that one that cannot be read as a whole is told apart too.
fn is_of_agent(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let has = |table: &str| text.lines().any(|line| line.trim_start().starts_with(table));
    has("[agent]") && !has("[edge]")
}

pub fn client(reach: &Reach) -> Result<Client, Failure> {
    let default = Path::new(EDGE_CONFIG);
    Ok(match (&reach.config, reach.admin, &reach.token_file) {
        (Some(config), None, None) => Client::from_config(config)?,
        (Some(config), admin, token_file) => Client::from_config_but(config, admin, token_file.as_deref())?,
        (None, None, None) if default.exists() => Client::from_config(default)?,
        (None, admin, token_file) => {
            let token_file = token_file.as_deref().unwrap_or(Path::new("/var/lib/lockstep/admin.token"));
            Client::new(admin.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7480))), token_file)?
        }
    })
}

/// The policy's question, on a terminal; without one there is nobody to say yes.
fn confirm(question: &str) -> Result<(), Failure> {
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        return Err(Failure::not_confirmed(format!("{question}\nSay it again with --yes to go on.")));
    }
    print(&format!("{question}\nGo on? [y/N] "))?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(Failure::from_error)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::not_confirmed("not confirmed: nothing was changed")),
    }
}

/// Prints how a switch ended; one that was rolled back is a failure.
fn ended(handover: &Handover, json: bool) -> Result<(), Failure> {
    if json {
        print_json(handover)?;
    } else {
        let hint = format!("lockstep why {} {}", handover.pair, handover.record.epoch);
        print(&format!("{}\n  {hint}\n", render_why::headline(handover)))?;
    }
    match handover.record.outcome {
        Some(Outcome::Completed) => Ok(()),
        _ => Err(Failure::failed(handover.record.why.clone())),
    }
}

/// Who gives the order, for the record.
pub(crate) fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

fn print_json(what: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(what).map_err(Failure::from_error)?;
    print(&format!("{text}\n"))
}

/// A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::from_error(error)),
        _ => Ok(()),
    }
}
