//! Requests, by the route of the moment: given to the side that the route names, held, or refused.
//!
//! A [`PairProxy`] serves one pair on any number of [`Listener`]s. The pair's driver tells it the route; it tells the
//! driver what requests show. What it keeps, and where:
//!
//! - I2, a request goes to a side only while the route of the current epoch names it: `table` (the route stands still
//!   while a request takes off, and nothing is served after `serve_until`), `flight` (a drained side has no request that
//!   could still reach it), `links` (no connection outlives its epoch).
//! - I6, a held request is answered, and none is sent twice unless that is safe: `hold` (bounded waiting), `choose` and `passage`
//!   (attempts), `again` (what may be sent again), `answer` (what is said when nothing may).
//!
//! In a pair in which both sides may serve there is no epoch to keep: a request goes to the side of its session, which
//! `sessions` knows. In any pair `servers` says which server of the side it is given to: each listener has its pool, and
//! the policy may restrict and order a pool. `answers` is what the edge itself says to balancers and monitors, on
//! listeners of their own; it looks at the same route.
//!
//! `rehearsal` is these decisions without I/O, for the simulation.
//!
//! What becomes of a WebSocket whose side loses the role, and what both of its ends are told, is `websocket`.
//!
//! Streams, TCP connections whose bytes nobody here reads, go to servers by the same rules: `stream`. `proxy_protocol` is how balancers
//! say whose a connection is, `announce` how servers of requests are told.
//!
//! What clients are told when nobody serves them is `notice`, what servers are told of clients `forwarded`, what is changed in
//! answers `rewrite`: all of it as the pair's `manner` says. `shelter` turns clients away, `seats` spares servers, and `turns` spares
//! those that many have waited for.
//!
//! Clients are met by `listen`: it reads each request's head itself (`head`, `client`), and follows its body (`chunks`, `pace`), within limits that pingora does
//! not have. Whole heads go to `exchange`, which carries most requests, or to pingora (`forward`). What follows from what happens to a request is the
//! same for both: `passage`; they show it, and its answer, as `request` says, and `outline` is how a head is looked at where it stands.

mod again;
mod announce;
mod answer;
mod answers;
mod choose;
mod chunks;
mod client;
mod exchange;
mod flight;
mod former;
mod forward;
mod forwarded;
mod h2;
mod head;
mod hold;
mod links;
mod listen;
mod manner;
mod notice;
mod outline;
mod pace;
mod pair;
mod passage;
mod proxy_protocol;
mod rehearsal;
mod request;
mod respond;
mod rewrite;
mod seats;
mod seen;
mod servers;
mod sessions;
mod settings;
mod shelter;
mod stream;
mod table;
mod tls;
mod traffic;
mod turns;
mod websocket;

pub use again::Failed;
pub use former::{Drained, Generation, Word};
pub use forwarded::{ForwardedFields, ForwardedRules};
pub use hold::HoldStats;
pub use listen::{BindError, Listener, Patience};
pub use manner::{CrowdSettings, Manner};
pub use notice::{Notice, PAGE_MAX, Page};
pub use pair::{PairProxy, Pool, PoolId};
pub use rehearsal::{Departure, Place, Rehearsal, Step};
pub use rewrite::Rewrite;
pub use seen::Seeing;
pub(crate) use servers::POOL_MAX;
pub use sessions::SessionRoom;
pub use settings::{HoldSettings, ListenSettings, ProxySettings, SessionBy, SessionSettings, StreamSettings};
pub use shelter::{Networks, TurnedAway};
pub use tls::{Termination, TlsError, Upstream};
pub use traffic::{ProxyEvent, ProxyTotals, TrafficCounts, Trouble};
