//! The pair's one loop: it owns the coordinator, hands it what happens, and does what it says, in that order.
//!
//! It decides nothing, and it never waits: the policy, the store and each connection work elsewhere, and answer with a
//! [`Feed`] or a [`Reply`].

mod actions;
mod alarm;
mod ask;
mod change;
mod course;
mod feed;
mod heard;
mod last_word;
mod measure;
mod notes;
mod orders;
mod outputs;
mod reports;
mod seat;
mod serving;
mod shadow;
mod sharing;
mod sides;
mod standing;
mod status;
mod window;

pub use alarm::{Alarms, Today};
pub(crate) use feed::{Ask, Feed};
pub use last_word::LastWord;
pub use seat::Timers;

use crate::admin::api::HandoverCounts;
use crate::agents::{AgentOf, AgentPings, Deliver, Links};
use crate::config::{PairConfig, PolicyConfig, RemoteConfig};
use crate::journal::PairJournal;
use crate::probe::{Means, Probes};
use crate::proxy::PairProxy;
use crate::remote;
use crate::store::{Found, Store};
use arc_swap::ArcSwap;
use change::Changing;
use course::{Course, Shared};
use feed::Reply;
use heard::Heard;
use lockstep_pair::coordinator::{Input, Stored};
use lockstep_policy::host::LifeRecord;
use lockstep_policy::{At, Side, Sides};
use lockstep_wire::trust::Trust;
use lockstep_wire::{clock, realtime};
use notes::Notes;
use orders::{ActionOf, Orders};
use outputs::Latest;
use seat::Seat;
use serving::Declared;
use shadow::{Promotion, Shadow};
use sharing::Told;
use sides::SideRoom;
use standing::Standing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use window::Window;

/// What may wait for a driver. It is read within microseconds, so this is a second's worth of a storm.
const QUEUE: usize = 4096;

/// No timer is armed closer than this: whatever is wrong, the loop does not spin.
const LEAST_WAIT: Duration = Duration::from_micros(100);

/// The loop looks around now and then, whatever it waits for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What has come together is taken together, up to so much, before time is looked at again.
const TOGETHER: usize = 16;

/// A pair's way in, before its driver exists: the proxy is made with it.
pub(crate) fn inlet() -> Inlet {
    mpsc::channel(QUEUE)
}

/// Both ends of it.
pub(crate) type Inlet = (mpsc::Sender<Feed>, mpsc::Receiver<Feed>);

/// What a driver is made of.
pub(crate) struct Parts {
    pub edge: String,
    /// Which agents are trusted; none: whoever is at their addresses.
    pub trust: Option<Trust>,
    pub config: PairConfig,
    /// The policy that decides, for who asks about it.
    pub in_force: Arc<ArcSwap<PolicyConfig>>,
    pub found: Found,
    pub store: Store,
    pub journal: PairJournal,
    pub means: Arc<Means>,
    pub proxy: Arc<PairProxy>,
    pub inlet: Inlet,
}

/// One pair's driver.
pub(crate) struct Driver {
    edge: String,
    trust: Option<Trust>,
    config: PairConfig,
    in_force: Arc<ArcSwap<PolicyConfig>>,
    coordinator: Course,
    proxy: Arc<PairProxy>,
    store: Store,
    probes: Probes,
    pings: AgentPings,
    means: Arc<Means>,
    sides: Sides<SideRoom>,
    seat: Seat,
    /// What the policy in force has declared.
    standing: Standing,
    /// Its life, as it began.
    began: Option<LifeRecord>,
    shadow: Shadow,
    /// Seats that there have been.
    seats: u64,
    promotion: Option<Promotion>,
    /// By whom and when a policy was promoted that does not stand in the configuration; empty: none was.
    promoted: String,
    /// Actions of the policy that was in force before, which are also of the one that is now.
    inherited: BTreeMap<ActionOf, u64>,
    changing: Option<Changing>,
    changes: u64,
    /// When the latest handover was ordered, as an earlier life of the edge has stored it.
    last_handover: Option<String>,
    /// How the store was found when this edge was started.
    found: Stored,
    alarms: Alarms,
    declared: Declared,
    told: Told,
    orders: Orders,
    notes: Notes,
    latest: Option<Latest>,
    /// Those that have ended since the edge started.
    handovers: HandoverCounts,
    pause: Option<crate::admin::api::Pause>,
    maintenance: Option<crate::admin::api::Maintenance>,
    store_trouble: String,
    /// It was told to leave, and nothing is under way.
    leaves: bool,
    window: Window,
    feeds: mpsc::Sender<Feed>,
    replies: mpsc::UnboundedSender<Reply>,
    heard: Arc<Heard>,
    inbox: mpsc::Receiver<Feed>,
    answers: mpsc::UnboundedReceiver<Reply>,
}

impl Driver {
    pub fn new(parts: Parts) -> Driver {
        let Parts { edge, trust, config, in_force, found, store, journal, means, proxy, inlet: (feeds, inbox) } = parts;
        let now = clock::now();
        proxy.set_maintenance(found.maintenance.as_ref().map(|begun| begun.text.clone()));
        // As many answers as were asked for: the store's and the policy's own queues bound them.
        let (replies, answers) = mpsc::unbounded_channel();
        let results = feeds.clone();
        // A probe's result that finds no room is followed by another one.
        let deliver = move |declaration, result| drop(results.try_send(Feed::Probe(declaration, result)));
        let heard = Arc::new(Heard::new(replies.clone()));
        let reports = Arc::clone(&heard);
        let tell = Arc::new(move |occupant, report| reports.put(occupant, report));
        let pings = AgentPings::default();
        Driver {
            edge,
            trust,
            coordinator: if config.policy.traits.exclusive {
                Course::exclusive(config.settings, found.stored.clone(), now)
            } else {
                Course::Shared(Shared::default())
            },
            alarms: Alarms::default(),
            declared: Declared::default(),
            told: Told::default(),
            probes: Probes::new(Arc::new(deliver)).with_means(Arc::clone(&means)).with_agents(Arc::new(pings.clone())),
            pings,
            means,
            sides: Sides::from_fn(|_| SideRoom::default()),
            seat: Seat::new(config.policy.clone(), tell),
            standing: Standing::default(),
            began: None,
            shadow: Shadow::default(),
            seats: 0,
            promotion: None,
            promoted: String::new(),
            inherited: BTreeMap::new(),
            changing: None,
            changes: 0,
            last_handover: found.last_handover.clone(),
            found: found.stored,
            orders: Orders::default(),
            notes: Notes::new(&config.name, found.next_seq, journal, store.clone()),
            latest: None,
            handovers: HandoverCounts::default(),
            pause: found.pause,
            maintenance: found.maintenance,
            store_trouble: String::new(),
            leaves: false,
            window: Window::default(),
            proxy,
            store,
            config,
            in_force,
            feeds,
            replies,
            heard,
            inbox,
            answers,
        }
    }

    /// Runs until `stop` is true, or until it was told to leave.
    pub fn run(self, stop: watch::Receiver<bool>) -> impl Future<Output = ()> + Send + 'static {
        // Apart: a future that has it within has room for it once for each future around it.
        let mut driver = Box::new(self);
        async move { driver.work(stop).await }
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>) {
        if !self.coordinator.is_shared() {
            realtime::ask_once(self.config.settings.terms.ttl, "the edge");
        }
        let deliver = self.deliver();
        let _links = self.connect(&deliver);
        let _standing = self.stand_for_agents(&deliver);
        self.fill_seat();
        let stopped = stop.wait_for(|stop| *stop);
        let alarm = tokio::time::sleep(LEAST_WAIT);
        tokio::pin!(stopped, alarm);
        loop {
            self.heard.await_all(self.waits_for_answers());
            self.hear_reports();
            self.pass_time();
            self.carry_out();
            let wait =
                self.deadline().map_or(LONGEST_WAIT, |at| at.since(clock::now()).clamp(LEAST_WAIT, LONGEST_WAIT));
            let until = Instant::now() + wait;
            // One that rings too early is set anew then: most wake-ups need none.
            if until < alarm.deadline() || alarm.is_elapsed() {
                alarm.as_mut().reset(until);
            }
            tokio::select! {
                biased;
                Some(reply) = self.answers.recv() => self.hear(reply),
                Some(feed) = self.inbox.recv() => self.take_all(feed),
                () = &mut alarm => {}
                _ = &mut stopped => return,
            }
            if self.leaves {
                return;
            }
        }
    }

    /// Takes what has come, and what has come with it.
    fn take_all(&mut self, first: Feed) {
        self.hear_reports();
        self.take(first);
        for _ in 1..TOGETHER {
            let Ok(feed) = self.inbox.try_recv() else { return };
            // The coordinator's time passes between any two things that concern it.
            if !matches!(feed, Feed::Probe(..)) {
                self.pass_time();
            }
            self.carry_out();
            self.take(feed);
        }
    }

    /// The way in for what is heard of the sides.
    fn deliver(&self) -> Deliver {
        let feeds = self.feeds.clone();
        Arc::new(move |side, event| {
            let feeds = feeds.clone();
            Box::pin(async move { feeds.send(Feed::Link(side, event)).await.is_ok() })
        })
    }

    /// Both connections to each agent, for as long as the driver runs.
    fn connect(&self, deliver: &Deliver) -> Vec<Links> {
        let agent = |side: Side| {
            Some(AgentOf {
                address: self.config.sides[side].agent?,
                pair: self.config.name.clone(),
                side,
                edge: self.edge.clone(),
                terms: self.config.settings.terms,
                trust: self.trust.clone(),
            })
        };
        let agents = Side::BOTH.into_iter().filter_map(agent);
        agents.map(|agent| Links::spawn(agent, self.pings.clone(), Arc::clone(deliver))).collect()
    }

    /// Somebody in each agent's stead that a node does not admit, for as long as the driver runs.
    fn stand_for_agents(&mut self, deliver: &Deliver) -> Vec<remote::Standing> {
        let mut standing = Vec::new();
        for side in Side::BOTH {
            let Some(config) = self.config.sides[side].remote.clone() else { continue };
            self.alert_edge(&unfenced(side, &config));
            let (pair, settings) = (self.config.name.clone(), self.config.settings);
            let (stored, means) = (self.found.clone(), Arc::clone(&self.means));
            standing.push(remote::stand(
                remote::RemoteOf { pair, side, config, settings, stored, means },
                Arc::clone(deliver),
            ));
        }
        standing
    }

    fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Stored(ticket, Ok(())) => {
                self.store_trouble.clear();
                self.coordinate(Input::Stored(ticket));
            }
            Reply::Stored(ticket, Err(why)) => {
                self.store_trouble.clone_from(&why);
                self.coordinate(Input::StoreFailed { ticket, why });
            }
            Reply::Fenced(side, epoch, result) => self.coordinate(Input::Fenced { side, epoch, result }),
            Reply::Paused(pause, result, reply) => self.paused(pause, result, reply),
            Reply::Maintained(wanted, result, reply) => self.maintained(wanted, result, reply),
            // All reports are heard before anything else is done.
            Reply::Reported => {}
        }
    }

    /// What the occupants of both seats have reported.
    fn hear_reports(&mut self) {
        let mut heard = false;
        while let Some((occupant, report)) = self.heard.take() {
            heard = true;
            if self.seat.is_of(occupant) {
                self.seat_reported(report);
            } else {
                self.shadow_reported(occupant, report);
            }
        }
        if heard {
            self.carry_out();
        }
    }

    /// Whether an answer without an action changes something at once.
    fn waits_for_answers(&self) -> bool {
        self.changing.is_some() || !matches!(self.shadow, Shadow::None)
    }

    fn take(&mut self, feed: Feed) {
        match feed {
            Feed::Link(side, event) => self.link(side, event),
            Feed::Probe(declaration, result) => self.probed(declaration, result),
            Feed::ShadowProbe(declaration, result) => self.shadow_probed(declaration, result),
            Feed::Proxy(event) => self.proxy_event(event),
            Feed::Drained(epoch) => self.coordinate(Input::Drained { epoch }),
            Feed::Ask(ask) => self.asked(ask),
        }
    }

    fn coordinate(&mut self, input: Input) {
        self.coordinator.handle(clock::now(), input);
    }

    /// All that is due by now.
    fn pass_time(&mut self) {
        let now = clock::now();
        if self.coordinator.deadline().is_some_and(|at| now >= at) {
            self.coordinator.handle(now, Input::Tick);
        }
        self.watch_window(now);
        self.forget_outdated_answers();
        self.pass_sharing(now);
        self.ring_alarms(now);
        self.watch_seat();
        self.watch_shadow(now);
        self.watch_change(now);
        self.orders.expire(now);
    }

    /// When there is something to do without any event.
    fn deadline(&self) -> Option<At> {
        let seat = self.seat.deadline(self.promotion.is_none());
        let others = [self.window.deadline(), self.coordinator.deadline(), seat, self.orders.deadline()];
        let more = [self.sharing_deadline(), self.alarm_deadline(), self.shadow_deadline(), self.change_deadline()];
        others.into_iter().chain(more).flatten().min()
    }
}

/// What operators are told of a side without an agent whenever the edge starts.
fn unfenced(side: Side, config: &RemoteConfig) -> String {
    let then = match config.unfenced_delay {
        None => "a failover from it waits for that, for its fencing hook, or for `lockstep switch --unsafe`".to_owned(),
        Some(delay) => format!(
            "a failover from it waits {} for that, and then goes on although both sides may be active",
            humantime::format_duration(delay)
        ),
    };
    format!(
        "side {side} is unfenced: it has no agent and no lease, and only its calls' answers say that it has stopped; {then}"
    )
}
