//! One pair's proxy: what its driver calls.

use super::flight::Flights;
use super::forward::Forward;
use super::hold::{Hold, HoldStats};
use super::links::Links;
use super::servers::Servers;
use super::settings::ProxySettings;
use super::table::Table;
use super::traffic::{ProxyEvent, ProxyTotals, Traffic, TrafficCounts};
use lockstep_pair::{Route, RouteKind};
use lockstep_policy::{At, Epoch, Side, Sides};
use lockstep_wire::clock;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The proxy of one pair.
///
/// It starts with the route at hold in epoch 0 and serves nothing: [`set_route`](PairProxy::set_route) and
/// [`serve_until`](PairProxy::serve_until) must both have been called before a request is given to a side.
pub struct PairProxy {
    shared: Arc<Shared>,
    http: Arc<HttpProxy<Forward>>,
}

/// What the requests of a pair share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) settings: ProxySettings,
    pub(super) table: Table,
    pub(super) flights: Arc<Flights>,
    pub(super) links: Arc<Links>,
    pub(super) hold: Arc<Hold>,
    pub(super) servers: Sides<Servers>,
    pub(super) traffic: Traffic,
    pub(super) done: Done,
    pub(super) events: Box<dyn Fn(ProxyEvent) + Send + Sync>,
}

/// What was done, counted.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl PairProxy {
    /// The proxy of the pair `name`, whose sides have these servers (`host:port`; a literal address, or a name that is
    /// looked up in the background, for which a tokio runtime must be around this call).
    ///
    /// `events` is called on requests' own tasks and must not block.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        servers: Sides<Vec<String>>,
        settings: ProxySettings,
        events: impl Fn(ProxyEvent) + Send + Sync + 'static,
    ) -> Arc<PairProxy> {
        let links = Arc::<Links>::default();
        let hold = Arc::new(Hold::new(settings.hold.max_requests));
        let shared = Arc::new(Shared {
            name: name.into(),
            settings,
            table: Table::new(Arc::clone(&links), &hold),
            flights: Arc::default(),
            links,
            hold,
            servers: servers.map(|_, names| Servers::new(names, settings.resolve_every)),
            traffic: Traffic::default(),
            done: Done::default(),
            events: Box::new(events),
        });
        let conf = ServerConf {
            upstream_keepalive_pool_size: settings.pool,
            // What bounds a request's attempts is its own deadline and `resends`, not a number of tries.
            max_retries: usize::MAX,
            ..ServerConf::default()
        };
        let http = Arc::new(http_proxy(&Arc::new(conf), Forward::new(Arc::clone(&shared))));
        Arc::new(PairProxy { shared, http })
    }

    pub(super) fn http(&self) -> &Arc<HttpProxy<Forward>> {
        &self.http
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
        if let RouteKind::Serve(side) = route.kind
            && self.route() != route
        {
            shared.servers[side].forget_failures();
        }
        if shared.table.set(route, &shared.hold, &shared.settings) {
            let closed = shared.links.cut_idle_except(shared.table.serving());
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
        self.shared.table.serve_until(until, clock::now());
    }

    /// Requests at the side, or on their way to it. Upgraded connections (WebSocket) do not count.
    #[must_use]
    pub fn in_flight(&self, side: Side) -> usize {
        self.shared.flights.count(side)
    }

    /// Resolves when nothing is in flight at the side. Under a route that does not name the side, that is for good.
    pub async fn drained(&self, side: Side) {
        self.shared.flights.none_left(side).await;
    }

    /// Ends at once every connection to the side that is of a lower epoch: in use, idle, upgraded, or still being made.
    /// Requests on them are sent again, by the route, where that is safe. Returns how many were ended.
    ///
    /// The side is served no more under a lower epoch, whatever the route says.
    pub fn cut(&self, side: Side, before: Epoch) -> usize {
        let cut = self.shared.links.cut(side, before);
        tracing::debug!(pair = self.shared.name, %side, %before, cut, "connections cut");
        cut
    }

    /// What requests showed about each side since the last call.
    #[must_use]
    pub fn take_traffic(&self) -> Sides<TrafficCounts> {
        self.shared.traffic.take()
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
        }
    }

    /// What became of the requests that waited in an epoch; all zero for one that is long gone.
    #[must_use]
    pub fn hold_stats(&self, epoch: Epoch) -> HoldStats {
        self.shared.hold.stats(epoch)
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
