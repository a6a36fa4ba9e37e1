//! One pair's proxy: what its driver calls.

use super::answers::Answers;
use super::flight::Flights;
use super::former::{Formers, Word};
use super::hold::{Hold, HoldStats};
use super::links::Links;
use super::manner::Manner;
use super::notice::Notice;
use super::passage::Forward;
use super::seen::Seeing;
use super::servers::Servers;
use super::sessions::SessionRoom;
use super::settings::{ProxySettings, SessionSettings};
use super::shelter::{Shelter, TurnedAway};
use super::stream;
use super::table::Table;
use super::tls::Upstream;
use super::traffic::{Events, Pace, ProxyEvent, ProxyTotals, Traffic, TrafficCounts};
use super::turns::Turns;
use crate::admin::api::{SeenStatus, SideSeen, StreamsSeen};
use crate::metrics::Meters;
use arc_swap::{ArcSwap, ArcSwapOption};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::action::{self, Roster, Share};
use lockstep_policy::{At, Epoch, Side, Sides, event};
use lockstep_wire::clock;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// Sessions that are moved in one go: what asks for something meanwhile does not wait for more.
const TURNS: usize = 512;

/// The proxy of one pair.
///
/// It starts with the route at hold in epoch 0 and serves nothing: [`set_route`](PairProxy::set_route) and
/// [`serve_until`](PairProxy::serve_until) must both have been called before a request is given to a side.
pub struct PairProxy {
    shared: Arc<Shared>,
    /// One for each pool, made for the first request that is pingora's: each takes some 60 KB.
    http: Vec<LazyLock<Arc<HttpProxy<Forward>>, Make>>,
    /// The same, for requests that are not pingora's.
    forwards: Vec<Forward>,
    pub(super) formers: Formers,
}

/// Makes pingora's proxy.
type Make = Box<dyn FnOnce() -> Arc<HttpProxy<Forward>> + Send>;

/// Servers that stand together on both sides, and have listeners of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Its name; empty for the pool without one, which comes first.
    pub name: String,
    /// The servers, `host:port` each.
    pub servers: Sides<Vec<String>>,
}

/// One of a pair's pools. By default the one that comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolId(pub(super) usize);

/// What the requests of a pair share.
pub(super) struct Shared {
    pub(super) name: String,
    pools: Vec<String>,
    pub(super) settings: ProxySettings,
    pub(super) table: Table,
    pub(super) flights: Arc<Flights>,
    pub(super) links: Arc<Links>,
    pub(super) hold: Arc<Hold>,
    pub(super) turns: Turns,
    pub(super) servers: Sides<Servers>,
    pub(super) upstream: ArcSwap<Upstream>,
    /// In a pair in which both sides may serve.
    pub(super) sessions: Option<Arc<SessionRoom>>,
    pub(super) answers: Answers,
    pub(super) manner: ArcSwap<Manner>,
    /// During maintenance: a person's own words for it, which may be none.
    pub(super) maintenance: ArcSwapOption<String>,
    /// Of its listeners.
    shelters: Mutex<Vec<Arc<Shelter>>>,
    pub(super) traffic: Traffic,
    pub(super) done: Done,
    pub(super) streams: stream::Counts,
    pub(super) meters: Meters,
    pub(super) seeing: ArcSwap<Seeing>,
    pub(super) events: Events,
}

/// What was done, counted.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) failed: AtomicU64,
    /// Answers that a rule was for, and that passed as they were: too large, or coded.
    pub(super) unwritten: AtomicU64,
}

impl PairProxy {
    /// The proxy of the pair `name`, one side of which is active at a time, whose sides have these servers in a pool without
    /// a name. See [`PairProxy::with_pools`].
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        servers: Sides<Vec<String>>,
        settings: ProxySettings,
        events: impl Fn(ProxyEvent) + Send + Sync + 'static,
    ) -> Arc<PairProxy> {
        PairProxy::with_pools(name, vec![Pool { name: String::new(), servers }], None, settings, events)
    }

    /// The proxy of the pair `name`, whose servers stand in these pools (`host:port`; a literal address, or a name that is
    /// looked up in the background, for which a tokio runtime must be around this call). They are numbered from 1, pool
    /// after pool. With `sessions` both sides may serve.
    ///
    /// `events` is called on requests' own tasks and must not block.
    #[must_use]
    pub fn with_pools(
        name: impl Into<String>,
        pools: Vec<Pool>,
        sessions: Option<SessionSettings>,
        settings: ProxySettings,
        events: impl Fn(ProxyEvent) + Send + Sync + 'static,
    ) -> Arc<PairProxy> {
        let links = Arc::<Links>::default();
        let events: Events = Arc::new(events);
        let pace = Pace { connections: settings.trouble_interval, answers: settings.answer_interval };
        let hold = Arc::new(Hold::new(settings.hold.max_requests));
        let of_side = |side: Side| pools.iter().map(|pool| pool.servers[side].clone()).collect();
        let shared = Arc::new(Shared {
            name: name.into(),
            settings,
            table: Table::new(Arc::clone(&links), &hold),
            flights: Arc::default(),
            links,
            hold,
            turns: Turns::new(settings.hold.release_at_once),
            servers: Sides::from_fn(|side| Servers::new(of_side(side), settings.resolve_every)),
            upstream: ArcSwap::default(),
            sessions: sessions.map(|sessions| Arc::new(SessionRoom::new(sessions))),
            answers: Answers::default(),
            manner: ArcSwap::default(),
            maintenance: ArcSwapOption::empty(),
            shelters: Mutex::default(),
            traffic: Traffic::new(pace, Arc::clone(&events)),
            done: Done::default(),
            streams: stream::Counts::default(),
            meters: Meters::default(),
            seeing: ArcSwap::default(),
            events,
            pools: pools.into_iter().map(|pool| pool.name).collect(),
        });
        let conf = Arc::new(ServerConf {
            upstream_keepalive_pool_size: settings.pool,
            // What bounds a request's attempts is its own deadline and `resends`, not a number of tries.
            max_retries: usize::MAX,
            // Without a file pingora reads whom the system trusts, once for each of its proxies.
            ca_file: (!settings.system_roots).then(|| "/dev/null".to_owned()),
            ..ServerConf::default()
        });
        let http = |pool| -> LazyLock<_, Make> {
            let (conf, shared) = (Arc::clone(&conf), Arc::clone(&shared));
            LazyLock::new(Box::new(move || Arc::new(http_proxy(&conf, Forward::new(shared, pool)))))
        };
        let http: Vec<_> = (0..shared.pools.len()).map(http).collect();
        if settings.system_roots {
            // Files are read for them: no request waits for that.
            http.iter().for_each(|proxy| drop(Arc::clone(proxy)));
        }
        let forwards = (0..shared.pools.len()).map(|pool| Forward::new(Arc::clone(&shared), pool)).collect();
        Arc::new(PairProxy { shared, http, forwards, formers: Formers::default() })
    }

    /// A pool by its name; the pool without a name is `""`.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<PoolId> {
        self.shared.pools.iter().position(|pool| pool == name).map(PoolId)
    }

    pub(super) fn http(&self, pool: PoolId) -> &Arc<HttpProxy<Forward>> {
        &self.http[pool.0]
    }

    pub(super) fn forward(&self, pool: PoolId) -> &Forward {
        &self.forwards[pool.0]
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The pair's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Requests follow this route from now on, held ones first of all; idle connections that it does not name are closed.
    ///
    /// What is in flight by the former route goes on: [`drained`](PairProxy::drained) waits for it,
    /// [`cut`](PairProxy::cut) ends it.
    pub fn set_route(&self, route: Route) {
        let shared = &self.shared;
        self.formers.tell(&shared.name, || Word::Route(route));
        if let RouteKind::Serve(side) = route.kind
            && self.route() != route
        {
            shared.servers[side].forget_failures();
        }
        if shared.table.set(route, &shared.hold, &shared.settings) {
            let standing = shared.table.fenced();
            let closed = shared.links.cut_idle_unless(|side, epoch| standing.leads_to(side, epoch));
            tracing::debug!(pair = shared.name, epoch = %route.epoch, kind = ?route.kind, closed, "route");
        }
    }

    /// The route that requests follow.
    #[must_use]
    pub fn route(&self) -> Route {
        self.shared.table.standing().route
    }

    /// A request is given to the route's side only before `until`; from then on it waits as if the route were hold, until
    /// a later `until` is told.
    ///
    /// This protects against an edge process that was stopped and wakes up with an old route. The time between the last
    /// look at the clock and the write of the request's first byte is not covered: a few instructions, in which a process
    /// can still be stopped; the lease's margin is for that.
    pub fn serve_until(&self, until: At) {
        self.formers.tell(&self.shared.name, || Word::ServeUntil(until));
        self.shared.table.serve_until(until, clock::now());
    }

    /// What is spoken with the servers from the next attempt on; plain HTTP/1.1 until it is said. Connections that are open are
    /// used on.
    pub fn set_upstream(&self, mut upstream: Upstream) {
        if !self.shared.settings.system_roots {
            upstream.bring_roots();
        }
        self.shared.upstream.store(Arc::new(upstream));
    }

    pub(crate) fn upstream(&self) -> Arc<Upstream> {
        self.shared.upstream.load_full()
    }

    /// Requests at the side, or on their way to it. Upgraded connections (WebSocket) do not count.
    #[must_use]
    pub fn in_flight(&self, side: Side) -> usize {
        self.shared.flights.count(side)
    }

    /// Streams that are open to the side, of whatever epoch.
    #[must_use]
    pub fn streams_at(&self, side: Side) -> u64 {
        self.shared.streams.open[side].load(Relaxed)
    }

    /// Resolves when nothing is in flight at the side. Under a route that does not name the side, that is for good.
    pub async fn drained(&self, side: Side) {
        let formers = self.formers.drained(&self.shared.name, side);
        self.shared.flights.none_left(side).await;
        for former in formers {
            former.await;
        }
    }

    /// Ends at once every connection to the side that is of a lower epoch: in use, idle, upgraded, or still being made.
    /// Requests on them are sent again, by the route, where that is safe. Returns how many were ended.
    ///
    /// The side is served no more under a lower epoch, whatever the route says.
    pub fn cut(&self, side: Side, before: Epoch) -> usize {
        self.formers.tell(&self.shared.name, || Word::Cut(side, before));
        let cut = self.shared.links.cut(side, before);
        tracing::debug!(pair = self.shared.name, %side, %before, cut, "connections cut");
        cut
    }

    /// Restricts a pool of a side to some of its servers, by their numbers, and says in which order they are tried.
    /// None: its requests are refused.
    ///
    /// # Errors
    ///
    /// There is no such pool, or a server is not of it. Nothing has changed then.
    pub fn set_roster(&self, roster: &Roster) -> Result<(), String> {
        let Roster { side, pool: name, pick, servers } = roster;
        let pool = self.pool(name).ok_or_else(|| format!("the pair has no pool \"{name}\""))?;
        self.shared.servers[*side].set_roster(pool.0, *pick, servers)?;
        // Who waited for a server may have one now.
        self.shared.table.wake();
        Ok(())
    }

    /// The sessions, in a pair in which both sides may serve.
    #[must_use]
    pub fn sessions(&self) -> Option<&Arc<SessionRoom>> {
        self.shared.sessions.as_ref()
    }

    /// Shares sessions out anew; `number` is the policy's for this share. Returns how the move stands that is ended by
    /// it, if one was under way.
    ///
    /// # Errors
    ///
    /// A rule that cannot be followed, or sessions are not shared out in this pair. Nothing has changed then.
    pub fn share(&self, now: At, number: u64, share: &Share) -> Result<Option<event::Sessions>, String> {
        let sessions = self.sessions().ok_or("one side is active at a time in this pair: it shares no sessions out")?;
        let stopped = sessions.share(now, number, share)?;
        self.set_route(Route { epoch: Epoch(0), kind: RouteKind::Share });
        self.pass_sessions(now);
        self.shared.table.wake();
        Ok(stopped)
    }

    /// Lets time pass for the sessions: whose turn has come is moved, and loses its connections to the side before.
    /// True: there is more to do at once.
    pub fn pass_sessions(&self, now: At) -> bool {
        let Some(sessions) = self.sessions() else { return false };
        let moved: HashMap<u64, Side> = sessions.pass(now, TURNS).into_iter().map(|m| (m.number, m.from)).collect();
        if !moved.is_empty() {
            let cut = self.shared.links.cut_moved(&moved);
            tracing::debug!(pair = self.shared.name, sessions = moved.len(), cut, "sessions moved");
            self.shared.table.wake();
        }
        moved.len() == TURNS
    }

    /// How clients are treated, from now on.
    pub fn set_manner(&self, manner: Manner) {
        let limit = manner.crowd.connections.unwrap_or(0);
        self.shared.traffic.set_slow(manner.slow);
        self.shared.manner.store(Arc::new(manner));
        for (_, servers) in self.shared.servers.iter() {
            servers.limit_seats(limit);
        }
        self.shared.table.wake();
    }

    /// During maintenance no request is given to a side: each, the held ones too, is told so, in these words where there are any.
    /// `None`: it is over.
    pub fn set_maintenance(&self, words: Option<String>) {
        self.formers.tell(&self.shared.name, || Word::Maintenance(words.clone()));
        self.shared.maintenance.store(words.map(Arc::new));
        self.shared.table.wake();
    }

    /// Answers requests on [`Listener::answer`](super::Listener::answer)'s listeners from now on. An answer of the same
    /// number is replaced.
    ///
    /// # Errors
    ///
    /// It cannot be given, or there are too many. Nothing has changed then.
    pub fn set_answer(&self, answer: &action::Answer) -> Result<(), String> {
        self.shared.answers.set(answer)
    }

    /// Forgets an answer.
    pub fn forget_answer(&self, rule: u32) {
        self.shared.answers.forget(rule);
    }

    /// What requests showed about each side since the last call.
    #[must_use]
    pub fn take_traffic(&self) -> Sides<TrafficCounts> {
        self.shared.traffic.take()
    }

    /// Whether requests showed anything since then. It is told as an event, too, of which one may be lost.
    #[must_use]
    pub fn has_traffic(&self) -> bool {
        self.shared.traffic.has_counted()
    }

    /// What has been done since the start.
    #[must_use]
    pub fn totals(&self) -> ProxyTotals {
        let shared = &self.shared;
        let hold = shared.hold.total();
        ProxyTotals {
            requests: shared.done.requests.load(Relaxed),
            held_now: shared.hold.waiting() as u64,
            held: hold.held,
            released: hold.released,
            refused: shared.done.refused.load(Relaxed),
            abandoned: hold.abandoned,
            retried: shared.done.retried.load(Relaxed),
            failed: shared.done.failed.load(Relaxed),
            longest_hold: hold.longest,
            links: shared.links.count() as u64,
            unwritten: shared.done.unwritten.load(Relaxed),
            queued: shared.queued(),
            turned_away: shared.turned_away(),
            streams: shared.streams.all.load(Relaxed),
            streams_open: Side::BOTH.into_iter().map(|side| self.streams_at(side)).sum(),
            streams_refused: shared.streams.refused.load(Relaxed),
            stream_bytes_in: shared.streams.bytes_in.load(Relaxed),
            stream_bytes_out: shared.streams.bytes_out.load(Relaxed),
        }
    }

    /// Says what is made of requests beside serving them, from now on: nothing, until it is said.
    pub fn be_seen(&self, seeing: Seeing) {
        self.shared.seeing.store(Arc::new(seeing));
    }

    /// What has been seen of requests and sides since the start, but for what only the driver knows.
    #[must_use]
    pub fn seen(&self) -> SeenStatus {
        let shared = &self.shared;
        let hold = shared.hold.total();
        let side = |side| {
            let [refused, resets, timeouts, server_errors, slow] = shared.traffic.troubles(side);
            let connections = shared.links.count_of(side) as u64;
            let streams_open = self.streams_at(side);
            SideSeen {
                refused,
                resets,
                timeouts,
                server_errors,
                slow,
                connections,
                streams_open,
                ..shared.meters.side(side)
            }
        };
        SeenStatus {
            sides: Sides::from_fn(side),
            own: shared.meters.own.read(),
            unanswered: shared.meters.unanswered.load(Relaxed),
            malformed: shared.meters.malformed.load(Relaxed),
            turned_away: shared.turned_away(),
            queued: shared.queued(),
            unwritten: shared.done.unwritten.load(Relaxed),
            retried: shared.done.retried.load(Relaxed),
            holds_refused: hold.refused,
            holds_abandoned: hold.abandoned,
            longest_hold_ms: hold.longest.as_secs_f64() * 1e3,
            streams: StreamsSeen {
                taken: shared.streams.all.load(Relaxed),
                refused: shared.streams.refused.load(Relaxed),
                bytes_in: shared.streams.bytes_in.load(Relaxed),
                bytes_out: shared.streams.bytes_out.load(Relaxed),
            },
            ..SeenStatus::default()
        }
    }

    /// What became of the requests that waited in an epoch; all zero for one that is long gone.
    #[must_use]
    pub fn hold_stats(&self, epoch: Epoch) -> HoldStats {
        self.shared.hold.stats(epoch)
    }
}

impl Shared {
    /// One of the pair's listeners has this shelter.
    pub(super) fn is_behind(&self, shelter: &Arc<Shelter>) {
        self.shelters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(shelter));
    }

    fn turned_away(&self) -> TurnedAway {
        let shelters = self.shelters.lock().unwrap_or_else(PoisonError::into_inner);
        shelters.iter().map(|shelter| shelter.counts()).fold(TurnedAway::default(), TurnedAway::and)
    }

    fn queued(&self) -> u64 {
        self.servers.iter().map(|(_, servers)| servers.queued() as u64).sum()
    }

    /// What a client is told with a 503.
    pub(super) fn notice(&self, retry_after: Duration) -> Option<Notice> {
        let manner = self.manner.load();
        match &*self.maintenance.load() {
            Some(words) => Some(manner.under_maintenance(words, retry_after)),
            None => manner.unavailable.clone(),
        }
    }
}

impl fmt::Debug for PairProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairProxy")
            .field("name", &self.shared.name)
            .field("route", &self.route())
            .finish_non_exhaustive()
    }
}

/// Connections that wait in the pool would be kept by their own tasks.
impl Drop for PairProxy {
    fn drop(&mut self) {
        self.shared.links.cut_all();
    }
}
