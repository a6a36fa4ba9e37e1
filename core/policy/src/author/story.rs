//! A made-up life of a pair: seeded, and led by what the policy itself declares and asks for, so that its rules fire.

use crate::action::{Action, Urgency};
use crate::event::{
    ActionResult, AgentReport, Command, Connection, Event, Handover, Lan, Link, Order, Outcome, ProbeId, ProbeResult,
    Replication, Role, Service, ServiceState, Sessions, Stage, Start, TimerId, Traffic, Verdict, What,
};
use crate::host::{Instance, StepError};
use crate::{At, CommandInfo, Epoch, Side, Sides};
use std::collections::BTreeMap;
use std::time::Duration;

/// A generator of numbers that is the same everywhere: xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.roll() >> 16) % end.max(1)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn side(&mut self) -> Side {
        if self.one_in(2) { Side::A } else { Side::B }
    }
}

/// The pair as the story has it.
struct World<'a> {
    dice: Dice,
    commands: &'a [CommandInfo],
    now: At,
    seq: u64,
    orders: u64,
    given: u64,
    epoch: Epoch,
    active: Option<Side>,
    /// How likely a side's probes are to fail now, in percent.
    illness: Sides<u64>,
    watches: BTreeMap<ProbeId, (Side, u32)>,
    timers: BTreeMap<TimerId, At>,
    /// What follows from the policy's actions.
    due: Vec<What>,
}

/// `length` events, as an instance lived through them. The same seed and the same plugin give the same story.
pub fn play(
    instance: &mut Instance,
    commands: &[CommandInfo],
    seed: u64,
    length: usize,
) -> Result<Vec<Event>, StepError> {
    let mut world = World {
        dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
        commands,
        now: At::from_millis(1_000),
        seq: 0,
        orders: 0,
        given: 0,
        epoch: Epoch(seed % 4),
        active: [None, Some(Side::A), Some(Side::B)][(seed % 3) as usize],
        illness: Sides::default(),
        watches: BTreeMap::new(),
        timers: BTreeMap::new(),
        due: Vec::new(),
    };
    let mut events = Vec::with_capacity(length);
    for index in 0..length {
        let what = if index == 0 { world.start() } else { world.next() };
        world.seq += 1;
        let event = Event { seq: world.seq, at: world.now, what };
        let actions = instance.step(&event)?;
        events.push(event);
        actions.iter().for_each(|action| world.obey(action));
    }
    Ok(events)
}

impl World<'_> {
    fn start(&mut self) -> What {
        let since_handover = self.dice.one_in(2).then_some(Duration::from_secs(86_400 * 40));
        What::Start(Start { active: self.active, epoch: self.epoch, restored: false, since_handover })
    }

    fn next(&mut self) -> What {
        let pause = [0, 20, 100, 1_000, 5_000, 30_000][self.dice.below(6) as usize];
        self.now = self.now + Duration::from_millis(pause);
        if self.dice.one_in(20) {
            let side = self.dice.side();
            self.illness[side] = [0, 0, 50, 100][self.dice.below(4) as usize];
        }
        let timer = self.timers.iter().map(|(timer, at)| (*at, *timer)).min();
        if let Some((at, timer)) = timer.filter(|(at, _)| *at <= self.now || self.dice.one_in(4)) {
            self.now = self.now.max(at);
            self.timers.remove(&timer);
            return What::Timer(timer);
        }
        if !self.due.is_empty() && self.dice.one_in(2) {
            return self.due.remove(0);
        }
        match self.dice.below(20) {
            0..=9 => self.probe(),
            10..=13 => self.report(),
            14 => self.link(),
            15 => self.traffic(),
            16 => self.order(),
            17 => self.command(),
            18 => self.sessions(),
            _ => self.probe(),
        }
    }

    fn probe(&mut self) -> What {
        let choice = self.dice.below(self.watches.len() as u64) as usize;
        let watch = self.watches.iter().nth(choice).map(|(probe, of)| (*probe, *of));
        // A probe that nobody has declared any more may still be answered.
        let (probe, (side, server)) = watch.unwrap_or((ProbeId(1), (Side::A, 0)));
        let ill = self.dice.below(100) < self.illness[side];
        let bad = [Verdict::Wrong, Verdict::Silent, Verdict::Refused][self.dice.below(3) as usize];
        let verdict = if ill { bad } else { Verdict::Good };
        let status = match verdict {
            Verdict::Good => 200,
            Verdict::Wrong => 503,
            Verdict::Silent | Verdict::Refused => 0,
        };
        let latency = Duration::from_millis(self.dice.below(50));
        What::Probe(ProbeResult { probe, side, server, verdict, latency, status, detail: String::new(), facts: vec![] })
    }

    fn report(&mut self) -> What {
        let side = self.dice.side();
        let active = self.active == Some(side);
        let well = self.dice.below(100) >= self.illness[side];
        let state = |running: bool| if running { ServiceState::Running } else { ServiceState::Exited };
        let service = |name: &str, exclusive, state| Service {
            name: name.to_owned(),
            exclusive,
            state,
            pid: if state == ServiceState::Running { 4_000 } else { 0 },
            restarts: 0,
        };
        let cti = if active { state(well) } else { ServiceState::Stopped };
        What::Agent(AgentReport {
            side,
            role: if active { Role::Active } else { Role::Standby },
            epoch: self.epoch,
            serving: active && well,
            fit: well,
            services: vec![service("web", false, state(well)), service("cti", true, cti)],
            release: "1.0".to_owned(),
            replication: [Replication::Unknown, Replication::Current, Replication::Behind, Replication::Stopped]
                [self.dice.below(4) as usize],
            replication_detail: String::new(),
            lan: if self.dice.one_in(10) { Lan::Isolated } else { Lan::Connected },
            waiting: String::new(),
        })
    }

    fn link(&mut self) -> What {
        let connection = if self.dice.one_in(2) { Connection::Main } else { Connection::Auxiliary };
        What::Link(Link { side: self.dice.side(), connection, up: !self.dice.one_in(3) })
    }

    fn traffic(&mut self) -> What {
        let side = self.dice.side();
        let refused = if self.illness[side] > 0 { 3 } else { 0 };
        let window = Duration::from_millis(100);
        What::Traffic(Traffic { side, window, good: 20, server_errors: 0, refused, resets: 0, timeouts: 0, slow: 0 })
    }

    fn order(&mut self) -> What {
        self.orders += 1;
        let rights = if self.dice.one_in(4) { vec![] } else { vec!["all".to_owned()] };
        let (to, confirmed) = (self.dice.side(), self.dice.one_in(2));
        What::Order(Order { order: self.orders, to, confirmed, by: "eva".to_owned(), rights })
    }

    fn command(&mut self) -> What {
        self.orders += 1;
        let known = self.commands.get(self.dice.below(self.commands.len() as u64 + 1) as usize);
        let name = known.map_or_else(|| "no-such-command".to_owned(), |command| command.name.to_string());
        let side = self.dice.one_in(2).then(|| self.dice.side());
        let argument = ["", "start", "stop"][self.dice.below(3) as usize].to_owned();
        let (confirmed, rights) = (self.dice.one_in(2), vec!["all".to_owned()]);
        What::Command(Command { order: self.orders, name, side, argument, confirmed, by: "eva".to_owned(), rights })
    }

    fn sessions(&mut self) -> What {
        let on = Sides { a: self.dice.below(100) as u32, b: self.dice.below(100) as u32 };
        let (moved, left) = (self.dice.below(10) as u32, self.dice.below(10) as u32);
        What::Sessions(Sessions { share: 1, on, moved, left, failed: 0, ended: left == 0, names: vec![] })
    }

    /// Does what the policy asks for, or does not: hosts may refuse.
    fn obey(&mut self, action: &Action) {
        self.given += 1;
        match action {
            Action::Watch(watch) => {
                self.watches.insert(watch.probe, (watch.side, watch.server));
            }
            Action::Unwatch(probe) => {
                self.watches.remove(probe);
            }
            Action::SetTimer(timer, at) => {
                self.timers.insert(*timer, *at);
            }
            Action::SetAlarm(timer, _) => {
                self.timers.insert(*timer, self.now + Duration::from_secs(3_600));
            }
            Action::CancelTimer(timer) => {
                self.timers.remove(timer);
            }
            Action::Switch(switch) => self.hand_over(switch.to, switch.urgency),
            Action::StandDown(_) | Action::RestartService(_) | Action::RunHook(_) | Action::ConfirmGate(_) => {
                let outcome = if self.dice.one_in(3) { Outcome::Failed } else { Outcome::Done };
                self.due.push(result(self.given, outcome));
            }
            _ => {}
        }
    }

    fn hand_over(&mut self, to: Side, urgency: Urgency) {
        if self.dice.one_in(5) {
            return self.due.push(result(self.given, Outcome::Refused));
        }
        self.epoch = self.epoch.next();
        let (epoch, before) = (self.epoch, self.active);
        let told = |stage, active| What::Handover(Handover { epoch, to, stage, active });
        self.due.push(told(Stage::Begun, before));
        match (self.dice.below(4), urgency) {
            (0, Urgency::Planned) => {
                self.due.extend([told(Stage::RolledBack, before), result(self.given, Outcome::Failed)])
            }
            (0, Urgency::Failover) => {
                self.active = None;
                self.due.extend([told(Stage::NoActive, None), result(self.given, Outcome::Failed)]);
            }
            _ => {
                self.active = Some(to);
                self.due.extend([told(Stage::Completed, Some(to)), result(self.given, Outcome::Done)]);
            }
        }
    }
}

fn result(action: u64, outcome: Outcome) -> What {
    let why = if outcome == Outcome::Done { "" } else { "as the story goes" };
    What::Result(ActionResult { action, outcome, why: why.to_owned() })
}
