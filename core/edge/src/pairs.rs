//! A pair at work: its proxy, its driver and its doors, as they start, change and end.
//!
//! Whatever can fail is done while it is made ready; what follows cannot. A pair can be made again while it serves: another proxy and
//! another driver take over, as after a restart of the edge, and what the proxy before still has obeys the new one's roles.

use crate::admin::api::PairStatus;
use crate::admin::server::PairDoor;
use crate::config::{PairConfig, UpstreamConfig};
use crate::doors::{self, Closed, Door, Open, Plan, Sockets};
use crate::driver::{self, Ask, Driver, Feed, Parts};
use crate::encryption::{self, Encryption};
use crate::journal::Journal;
use crate::probe::Means;
use crate::proxy::{BindError, Generation, PairProxy, Seeing, Termination, TlsError, Upstream};
use crate::store::{Found, Store, StoreError};
use arc_swap::ArcSwap;
use lockstep_wire::trust::Trust;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// What the pairs of an edge have in common.
#[derive(Clone)]
pub(crate) struct Ground {
    pub edge: String,
    /// Which agents are trusted; none: there are none, or it is insecure.
    pub trust: Option<Trust>,
    pub store: Store,
    pub journal: Journal,
    pub means: Arc<Means>,
    pub seeing: Seeing,
    /// Where requests are done.
    pub threads: Handle,
}

/// The tasks of an edge. A task that ends has been told to, or gives the name of what has broken.
#[derive(Default)]
pub(crate) struct Tasks {
    pub listeners: JoinSet<()>,
    pub drivers: JoinSet<Result<(), String>>,
}

/// Why a pair cannot be made ready, with the key under which it stands.
pub(crate) enum Unready {
    Encryption(&'static str, TlsError),
    Listen(String, BindError),
}

/// A pair whose addresses are bound and whose files are read.
pub(crate) struct Ready {
    config: PairConfig,
    encryption: Encryption,
    doors: Vec<Door>,
}

impl Ready {
    /// Opens all that is new; sockets that listen already are kept.
    pub fn new(config: &PairConfig, sockets: &Sockets) -> Result<Ready, Unready> {
        let encryption = Encryption::open(config).map_err(|(key, error)| Unready::Encryption(key, error))?;
        let plans = doors::plans(config, &encryption).into_iter();
        let doors = plans.map(|(plan, tls)| bind(plan, tls, sockets)).collect::<Result<_, _>>()?;
        Ok(Ready { config: config.clone(), encryption, doors })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Puts it to work. `former`: what of an earlier process still has clients.
    pub fn start(
        self,
        ground: &Ground,
        found: Found,
        former: Option<&Arc<dyn Generation>>,
        tasks: &mut Tasks,
    ) -> AtWork {
        let Ready { config, encryption, doors } = self;
        let inlet = driver::inlet();
        let door = Arc::new(PairDoor {
            name: config.name.clone(),
            feeds: Arc::new(ArcSwap::from_pointee(inlet.0.clone())),
            policy: Arc::new(ArcSwap::from_pointee(config.policy.clone())),
        });
        let proxy = made(&config, &door, ground);
        proxy.set_upstream(encryption.upstream);
        if let Some(former) = former {
            proxy.comes_after(Arc::clone(former));
        }
        let doors = doors.into_iter().map(|door| door.open(&proxy, &ground.threads, &mut tasks.listeners)).collect();
        let course = drive(&config, &door, &proxy, inlet, ground, found, tasks);
        AtWork { config, proxy, door, doors, course: Some(course) }
    }
}

fn bind(plan: Plan, tls: Option<Arc<Termination>>, sockets: &Sockets) -> Result<Door, Unready> {
    let key = plan.key.clone();
    Door::bind(plan, tls, sockets).map_err(|error| Unready::Listen(key, error))
}

fn made(config: &PairConfig, door: &PairDoor, ground: &Ground) -> Arc<PairProxy> {
    let proxy = doors::proxy(config, Arc::clone(&door.feeds));
    proxy.be_seen(ground.seeing.clone());
    proxy
}

/// A pair's driver, at work.
struct Course {
    stop: watch::Sender<bool>,
    /// It has ended when this breaks.
    ended: oneshot::Receiver<()>,
}

fn drive(
    config: &PairConfig,
    door: &PairDoor,
    proxy: &Arc<PairProxy>,
    inlet: driver::Inlet,
    ground: &Ground,
    found: Found,
    tasks: &mut Tasks,
) -> Course {
    let parts = Parts {
        edge: ground.edge.clone(),
        trust: ground.trust.clone(),
        in_force: Arc::clone(&door.policy),
        journal: ground.journal.pair(&config.name, found.next_seq),
        config: config.clone(),
        found,
        store: ground.store.clone(),
        means: Arc::clone(&ground.means),
        proxy: Arc::clone(proxy),
        inlet,
    };
    let (stop, stopped) = watch::channel(false);
    let (ending, ended) = oneshot::channel::<()>();
    let run = Driver::new(parts).run(stopped);
    tasks.drivers.spawn(async move {
        run.await;
        drop(ending);
        Ok(())
    });
    Course { stop, ended }
}

/// What a pair is found with. Waits for disks.
pub(crate) fn found(pair: &str, store: &Store, journal: &Journal) -> Result<Found, StoreError> {
    let mut found = store.find(pair)?;
    found.next_seq = match journal.goes_on(pair) {
        Some(next) => next,
        // Either may have been lost, and has then been told of fewer numbers than were used.
        None => found.next_seq.max(journal.next_seq(pair)),
    };
    Ok(found)
}

/// A pair at work.
pub(crate) struct AtWork {
    pub config: PairConfig,
    pub proxy: Arc<PairProxy>,
    pub door: Arc<PairDoor>,
    doors: Vec<Open>,
    /// None: its driver has left.
    course: Option<Course>,
}

/// What is to become of a pair's doors, made ready.
pub(crate) struct Turn {
    config: PairConfig,
    upstream: Upstream,
    /// In the configuration's order.
    doors: Vec<Next>,
}

/// What one door is to be.
enum Next {
    /// As it is, but for certificates that were read anew.
    Same(Box<Plan>, Option<Arc<Termination>>),
    Other(Box<Door>),
}

/// What a change of doors was.
#[derive(Default)]
pub(crate) struct Turned {
    pub opened: usize,
    pub closed: Vec<Closed>,
    /// Listeners with other certificates.
    pub certificates: usize,
    pub upstream: bool,
}

impl AtWork {
    /// The sockets that it listens on.
    pub fn sockets(&self) -> Sockets {
        self.doors.iter().map(|door| (door.plan.address, Arc::clone(&door.socket))).collect()
    }

    /// Its TLS, for who looks at dates.
    pub fn encrypted(&self) -> encryption::Live {
        let mut listeners: Vec<Arc<Termination>> = Vec::new();
        for tls in self.doors.iter().filter_map(|door| door.tls.as_ref()) {
            if !listeners.iter().any(|known| Arc::ptr_eq(known, tls)) {
                listeners.push(Arc::clone(tls));
            }
        }
        encryption::Live { pair: self.config.name.clone(), listeners, proxy: Arc::clone(&self.proxy) }
    }

    /// Makes ready what the doors are to be; `all`: each is to be another one. Nothing has changed yet.
    pub fn prepare(&self, config: &PairConfig, sockets: &Sockets, all: bool) -> Result<Turn, Unready> {
        let encryption = Encryption::open(config).map_err(|(key, error)| Unready::Encryption(key, error))?;
        let stays = |plan: &Plan| !all && self.doors.iter().any(|door| door.plan == *plan);
        let plans = doors::plans(config, &encryption).into_iter();
        let doors = plans.map(|(plan, tls)| {
            if stays(&plan) {
                return Ok(Next::Same(Box::new(plan), tls));
            }
            bind(plan, tls, sockets).map(|door| Next::Other(Box::new(door)))
        });
        let doors = doors.collect::<Result<_, _>>()?;
        Ok(Turn { config: config.clone(), upstream: encryption.upstream, doors })
    }

    /// Opens and closes doors, and has other certificates in force, as was made ready.
    pub fn turn(&mut self, turn: Turn, ground: &Ground, tasks: &mut Tasks) -> Turned {
        let Turn { config, upstream, doors } = turn;
        let mut turned = Turned { upstream: !self.proxy.upstream().is_like(&upstream), ..Turned::default() };
        self.proxy.set_upstream(upstream);
        let mut before = std::mem::take(&mut self.doors);
        let mut told: Vec<Arc<Termination>> = Vec::new();
        for next in doors {
            match next {
                Next::Same(plan, fresh) => {
                    let Some(same) = before.iter().position(|door| door.plan == *plan) else { continue };
                    let same = before.swap_remove(same);
                    // One that has several doors reads once.
                    if let (Some(live), Some(fresh)) = (&same.tls, fresh)
                        && !told.iter().any(|known| Arc::ptr_eq(known, live))
                    {
                        turned.certificates += usize::from(live.take_over(&fresh));
                        told.push(Arc::clone(live));
                    }
                    self.doors.push(same);
                }
                Next::Other(door) => {
                    turned.opened += 1;
                    self.doors.push(door.open(&self.proxy, &ground.threads, &mut tasks.listeners));
                }
            }
        }
        // Only now: where there is another door to an address, nobody is turned away in between.
        turned.closed = before.into_iter().map(Open::close).collect();
        self.config.listen = config.listen;
        self.config.listeners = config.listeners;
        self.config.listener = config.listener;
        self.config.limits = config.limits;
        self.config.answer = config.answer;
        self.config.upstream = UpstreamConfig { crowd: self.config.upstream.crowd, ..config.upstream };
        turned
    }

    /// Puts another proxy and another driver in the place of those that are at work. The driver has left.
    pub fn make_again(&mut self, turn: Turn, ground: &Ground, found: Found, tasks: &mut Tasks) -> Turned {
        let inlet = driver::inlet();
        self.door.feeds.store(Arc::new(inlet.0.clone()));
        self.door.policy.store(Arc::new(turn.config.policy.clone()));
        let proxy = made(&turn.config, &self.door, ground);
        proxy.replaces(&self.proxy);
        self.proxy = proxy;
        self.config = turn.config.clone();
        let turned = self.turn(turn, ground, tasks);
        let course = drive(&self.config, &self.door, &self.proxy, inlet, ground, found, tasks);
        self.course = Some(course);
        turned
    }

    /// Puts a driver to work where the one before has left, and nothing else has changed.
    pub fn resume(&mut self, ground: &Ground, found: Found, tasks: &mut Tasks) {
        if self.course.is_none() {
            let inlet = driver::inlet();
            self.door.feeds.store(Arc::new(inlet.0.clone()));
            let course = drive(&self.config, &self.door, &self.proxy, inlet, ground, found, tasks);
            self.course = Some(course);
        }
    }

    /// Has its driver leave, between two handovers only. An error: what is under way.
    pub async fn leave(&mut self) -> Result<(), String> {
        let Some(course) = &mut self.course else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        let feeds = self.door.feeds.load_full();
        let told = feeds.send(Feed::Ask(Ask::Leave(reply))).await;
        if told.is_ok()
            && let Ok(Err(busy)) = answer.await
        {
            return Err(format!("pair \"{}\": {busy}", self.config.name));
        }
        let _ = (&mut course.ended).await;
        self.course = None;
        Ok(())
    }

    /// How it stands; none while it has no driver.
    pub async fn status(&self) -> Option<PairStatus> {
        let (reply, answer) = oneshot::channel();
        self.door.feeds.load_full().send(Feed::Ask(Ask::Status(reply))).await.ok()?;
        answer.await.ok()
    }

    /// Takes no more clients. What goes on goes on, by what the driver says.
    pub fn close(&mut self) -> Vec<Closed> {
        std::mem::take(&mut self.doors).into_iter().map(Open::close).collect()
    }

    /// Takes no more clients; requests under way end.
    pub fn shut(&mut self) {
        std::mem::take(&mut self.doors).into_iter().for_each(Open::shut);
    }

    /// Ends its driver.
    pub fn stop(&mut self) {
        if let Some(course) = &self.course {
            course.stop.send_replace(true);
        }
    }
}
