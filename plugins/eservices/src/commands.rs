//! What operators say: orders to move the role, and the policy's own commands.

use crate::Eservices;
use crate::moves::Why;
use crate::runbook::Answer;
use crate::settings::{Scope, named};
use crate::sites::Moved;
use lockstep_policy::action::{Action, ConfirmGate, OrderAnswer};
use lockstep_policy::event::{Command, Order};
use lockstep_policy::sdk::Actions;
use lockstep_policy::{At, CommandInfo, Side};

pub(crate) const COMMANDS: &[CommandInfo] = &[
    CommandInfo::new(
        "site",
        "SITE, or `tenant NAME`, `group NAME`, `user NAME` with the side; may be empty",
        true,
        "Moves everybody, or one tenant, group or user, to a site. Where one site is active at a time it moves the active \
         role at once, without the runbook, and asks first.",
    ),
    CommandInfo::new(
        "arm",
        "POOL TIME [runbook]; POOL may be `any`; empty: tells what is armed",
        false,
        "Arms a rule: when all servers of the pool of the active site have been lost for so long, the site is left for the \
         other one, or the runbook starts. It fires once.",
    ),
    CommandInfo::new("disarm", "POOL; empty: all", false, "Takes armed rules back."),
    CommandInfo::new(
        "runbook",
        "start, stop, resume, confirm STEP, show",
        true,
        "Moves the site step by step: stop, suspend, database, core, proxies, site-option, clients. `start` needs the side \
         to move to; `confirm` says in your name that the present step is done, or that the gate at which a node's start \
         waits may be passed.",
    ),
];

impl Eservices {
    pub(crate) fn on_order(&mut self, order: &Order, seq: u64, at: At, out: &mut Actions) {
        let asks = Asks { to: order.to, whom: None, by: &order.by, confirmed: order.confirmed, seq };
        if let Err(answer) = self.ask_to_move(asks, order.order, at, out) {
            answered(order.order, Err(answer), out);
        }
    }

    pub(crate) fn on_command(&mut self, command: &Command, seq: u64, at: At, out: &mut Actions) {
        let answer = match command.name.as_str() {
            "site" => self.on_site(command, seq, at, out),
            "arm" if command.argument.trim().is_empty() => Ok(self.armed_text()),
            "arm" => self.arm(&command.argument, &command.by).map_err(|why| Answer::No(format!("E3: {why}"))),
            "disarm" => self.on_disarm(command.argument.trim()),
            "runbook" => self.on_runbook(command, at, out),
            other => Err(Answer::No(format!("`{other}` is no command; there are: site, arm, disarm, runbook"))),
        };
        answered(command.order, answer, out);
    }

    fn on_site(&mut self, command: &Command, seq: u64, at: At, out: &mut Actions) -> Result<String, Answer> {
        let no = |why: String| Answer::No(format!("E3: {why}"));
        let words: Vec<&str> = command.argument.split_whitespace().collect();
        let names = &self.settings.names;
        let (site, whom) = match words.as_slice() {
            [] => (None, None),
            [site] => (Some(*site), None),
            [scope, name] => (None, Some((*scope, *name))),
            [site, scope, name] => (Some(*site), Some((*scope, *name))),
            _ => return Err(no(format!("`{}` is too much: say SITE, or SCOPE NAME", command.argument))),
        };
        let site = site.map(|site| site.parse().or_else(|_| named(names, "site", site)).map_err(no)).transpose()?;
        let to = match (command.side, site) {
            (Some(side), Some(site)) if side != site => {
                return Err(no("the side and the site are not the same".to_owned()));
            }
            (Some(side), _) | (None, Some(side)) => side,
            (None, None) => return Err(no(format!("to which site? {} or {}", names.a, names.b))),
        };
        let whom = whom.map(|(scope, name)| Ok((scope_of(scope).map_err(no)?, name.to_owned()))).transpose()?;
        let asks = Asks { to, whom, by: &command.by, confirmed: command.confirmed, seq };
        self.ask_to_move(asks, 0, at, out)
    }

    /// `order` is 0 for a command: that is accepted by the text which is returned.
    fn ask_to_move(&mut self, asks: Asks<'_>, order: u64, at: At, out: &mut Actions) -> Result<String, Answer> {
        let no = |why: String| Err(Answer::No(format!("E3: {why}")));
        if let Some(runbook) = self.runbook.as_ref().filter(|_| self.runbook_runs()) {
            return no(format!("{}; finish it, or start another one", runbook.line()));
        }
        if self.moves.busy() {
            return no("a handover is under way; ask again when it has ended".to_owned());
        }
        if self.settings.both { self.ask_to_share(asks, order, out) } else { self.ask_to_switch(asks, order, at, out) }
    }

    fn ask_to_share(&mut self, asks: Asks<'_>, order: u64, out: &mut Actions) -> Result<String, Answer> {
        let Asks { to, whom, by, confirmed, seq } = asks;
        let no = |why: String| Err(Answer::No(format!("E3: {why}")));
        let site = self.site_name(to);
        let who = match &whom {
            None if self.site() == Some(to) => return no(format!("the application's site is {site} already")),
            None => "everybody who has no site of his own".to_owned(),
            Some((scope, name)) => {
                self.movable(*scope, name).map_err(|why| Answer::No(format!("E3: {why}")))?;
                format!("{} `{name}`", scope.name())
            }
        };
        if let Some(why_not) = self.could_move_to(to).err().filter(|_| !confirmed) {
            return Err(Answer::Ask(format!("E3: at {site} {why_not}. Move {who} there all the same?")));
        }
        let reason = format!("E3: {} moves {who} to {site}", person(by));
        let text = format!("{reason}; {}", self.spread());
        self.move_site(to, whom, Moved { to: Some(to), reason, evidence: vec![seq], order }, out);
        Ok(text)
    }

    fn ask_to_switch(&mut self, asks: Asks<'_>, order: u64, at: At, out: &mut Actions) -> Result<String, Answer> {
        let Asks { to, whom, by, confirmed, seq } = asks;
        let no = |why: String| Err(Answer::No(format!("E3: {why}")));
        let site = self.site_name(to);
        if let Some((scope, _)) = whom {
            return no(format!(
                "one site serves at a time, so no {} can have another: `sites = \"both\"`",
                scope.name()
            ));
        }
        if self.active == Some(to) && self.works(to) {
            return no(format!("{site} is active already"));
        }
        if let Err(why_not) = self.sites[to].can_take_over() {
            return no(format!("{site} cannot become active: {why_not}"));
        }
        if !confirmed && self.active != Some(to) {
            let text = format!(
                "E3: this moves the core to {site} at once. Is its database the primary? `runbook start` would take the \
                 steps one by one. Move it now?"
            );
            return Err(Answer::Ask(text));
        }
        let reason = format!("E3: {} moves the site to {site}", person(by));
        let text = format!("{reason}; {}", self.spread());
        self.switch(to, Why { reason, evidence: vec![seq], order, told: true }, at, out);
        Ok(text)
    }

    fn armed_text(&self) -> String {
        let rules = self.armed.rules().iter().map(|rule| format!("; {}, armed by {}", rule.text(), person(&rule.by)));
        let rules: String = rules.collect();
        if rules.is_empty() { "E3: nothing is armed".to_owned() } else { format!("E3: armed{rules}") }
    }

    fn on_disarm(&mut self, pool: &str) -> Result<String, Answer> {
        let gone = self.armed.disarm(pool);
        if gone.is_empty() {
            return Err(Answer::No(format!("E3: no such rule is armed. {}", self.armed_text())));
        }
        Ok(format!("E3: taken back: {}", gone.iter().map(|rule| rule.text()).collect::<Vec<_>>().join("; ")))
    }

    fn on_runbook(&mut self, command: &Command, at: At, out: &mut Actions) -> Result<String, Answer> {
        let by = person(&command.by);
        let words: Vec<&str> = command.argument.split_whitespace().collect();
        match words.as_slice() {
            ["start"] => match command.side {
                Some(to) => self.runbook_start(to, by, command.confirmed, at),
                None => Err(Answer::No("E5: to which side? Say it with `start`".to_owned())),
            },
            ["stop"] => self.runbook_stop(by, at),
            ["resume"] => self.runbook_resume(by, at),
            ["confirm", gate] if self.waits_at(gate).is_some() && !self.is_step(gate) => {
                self.confirm_gate(gate, command, at, out)
            }
            ["confirm", step] => self.runbook_confirm(step, command.by.trim()),
            ["show"] | [] => self.runbook_show(),
            _ => Err(Answer::No(format!(
                "E5: `{}` is not understood: say start, stop, resume, confirm STEP or show",
                command.argument
            ))),
        }
    }

    fn is_step(&self, name: &str) -> bool {
        self.runbook.as_ref().is_some_and(|runbook| runbook.step().is_some_and(|step| step.name() == name))
    }

    /// The side whose start waits at a gate.
    fn waits_at(&self, gate: &str) -> Option<Side> {
        let waits = |side: &Side| self.sites[*side].word().is_some_and(|report| report.waiting == gate);
        Side::BOTH.into_iter().find(waits)
    }

    /// A gate in a node's start that is none of the runbook's steps, or without a runbook.
    fn confirm_gate(&mut self, gate: &str, command: &Command, at: At, out: &mut Actions) -> Result<String, Answer> {
        let (by, side) = (command.by.trim().to_owned(), self.waits_at(gate));
        let Some(side) = side.filter(|_| !by.is_empty()) else {
            return Err(Answer::No("E5: a gate is confirmed by a person with a name".to_owned()));
        };
        let text = format!("E5: gate `{gate}` of {side} is confirmed by {by}");
        if let Some(runbook) = &mut self.runbook {
            runbook.note(at, format!("gate `{gate}` of {side}: confirmed by {by}"));
        }
        out.push(Action::ConfirmGate(ConfirmGate { side, gate: gate.to_owned(), by }));
        Ok(text)
    }
}

/// What an operator asks for.
struct Asks<'a> {
    to: Side,
    whom: Option<(Scope, String)>,
    by: &'a str,
    confirmed: bool,
    seq: u64,
}

fn person(by: &str) -> &str {
    if by.trim().is_empty() { "an operator" } else { by.trim() }
}

fn scope_of(word: &str) -> Result<Scope, String> {
    let scope = Scope::NARROWEST_FIRST.into_iter().find(|scope| scope.name() == word);
    scope.ok_or_else(|| format!("`{word}` is no scope: say tenant, group or user"))
}

fn answered(order: u64, answer: Result<String, Answer>, out: &mut Actions) {
    out.push(match answer {
        Ok(text) => Action::AcceptOrder(OrderAnswer { order, text }),
        Err(Answer::No(text)) => Action::RefuseOrder(OrderAnswer { order, text }),
        Err(Answer::Ask(text)) => Action::AskConfirmation(OrderAnswer { order, text }),
    });
}
