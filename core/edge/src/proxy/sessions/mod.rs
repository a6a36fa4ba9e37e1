//! Sessions, in a pair in which both sides may serve: what names one, and where requests meet what is known of them.
//!
//! What a session does is decided in [`lockstep_pair::share`], which is pure. Here it is kept behind one mutex: it is
//! held for a look into a map, never across an await, and only in such pairs. A request of a pair of which one side is
//! active never comes here.

mod names;

use super::settings::{SessionBy, SessionSettings};
use super::tls::Mark;
use super::websocket::Upgrade;
use http::header::SET_COOKIE;
use lockstep_pair::share::{Attribute, Attributes, Key, Moved, Settings, Sharing};
use lockstep_policy::action::Share;
use lockstep_policy::event::Sessions;
use lockstep_policy::{At, Side, Sides};
use lockstep_wire::clock;
use names::{Value, cookies};
use pingora_core::Result;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest name of a session that people are shown, in characters.
const NAME_MAX: usize = 64;

/// The sessions of a pair.
pub struct SessionRoom {
    by: SessionBy,
    sharing: Mutex<Sharing>,
    /// Digests differ from one edge to the next: nobody can look for two clients that are taken for one.
    digest: [RandomState; 2],
    /// A share says that nobody is let in any more.
    shut: AtomicBool,
    /// Sessions have been moved, or are about to be.
    moved: AtomicBool,
}

/// A request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    key: Key,
    pub(super) number: u64,
    pub(super) side: Side,
    /// The cookie that the client has yet to be given.
    gift: Option<Value>,
}

/// What names a request's session.
enum Named<'r> {
    /// Something that it carries.
    By(Cow<'r, str>),
    /// A cookie of the edge's own, which it carries.
    Own(Value),
    /// The same, which it is to be given.
    Gift(Value),
    /// What its connection has resumed, or others will.
    Resumed(Mark),
    /// Where it comes from.
    Address,
}

/// What the driver calls.
impl SessionRoom {
    pub(super) fn new(settings: SessionSettings) -> SessionRoom {
        let SessionSettings { by, idle, max } = settings;
        SessionRoom {
            by,
            sharing: Mutex::new(Sharing::new(Settings { idle, max })),
            digest: [RandomState::new(), RandomState::new()],
            shut: AtomicBool::new(true),
            moved: AtomicBool::new(false),
        }
    }

    /// How the sessions are shared out now.
    #[must_use]
    pub fn report(&self) -> Sessions {
        self.sharing().report()
    }

    /// The parts of new sessions that each side gets.
    #[must_use]
    pub fn parts(&self) -> Sides<u32> {
        self.sharing().parts()
    }

    /// The side whose sessions are being moved.
    #[must_use]
    pub fn moving_from(&self) -> Option<Side> {
        self.sharing().moving_from()
    }

    /// When [`PairProxy::pass_sessions`](super::PairProxy::pass_sessions) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<At> {
        self.sharing().deadline()
    }

    pub(super) fn share(&self, now: At, number: u64, share: &Share) -> Result<Option<Sessions>, String> {
        let mut sharing = self.sharing();
        let stopped = sharing.share(now, number, share)?;
        self.shut.store(share.parts == Sides::default(), Relaxed);
        if sharing.moving_from().is_some() {
            self.moved.store(true, Relaxed);
        }
        Ok(stopped)
    }

    pub(super) fn pass(&self, now: At, limit: usize) -> Vec<Moved> {
        self.sharing().pass(now, limit)
    }

    fn sharing(&self) -> MutexGuard<'_, Sharing> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What requests need.
impl SessionRoom {
    /// Where a request belongs; `None`: it is of no session, and none is let in. `before` is what was said of it last time.
    pub(super) fn visit(&self, now: At, session: &Session, before: Option<&Visit>) -> Option<Visit> {
        let client = address(session);
        let request = session.req_header();
        let presence = Presence::of(session);
        let named = self.named(request, presence, before);
        let key = self.key_of(&named, client);
        let name = || self.name(client, key, !matches!(named, Named::Address), named.text());
        let placed = {
            let mut sharing = self.sharing();
            // Its server has named it in an answer to this client, in which nobody here looks for names.
            let from = matches!(self.by, SessionBy::Parameter(_)).then(|| self.key_of(&Named::Address, client));
            if let Some(from) = from.filter(|_| sharing.knows(key).is_none())
                && let Some(side) = sharing.knows(from)
            {
                sharing.learn(now, key, name, side);
            }
            sharing.request(now, key, &Request(request), name)?
        };
        let gift = if let Named::Gift(value) = named { Some(value) } else { None };
        let visit = Visit { key, number: placed.number, side: placed.side, gift };
        if let Some(presence) = presence {
            presence.carries(self, &visit, now);
        }
        Some(visit)
    }

    /// Where a connection belongs that says nothing of itself but where it comes from.
    fn visit_from(&self, now: At, client: IpAddr, presence: &Presence) -> Option<Visit> {
        let client = client.to_canonical();
        let named = presence.named();
        let key = self.key_of(&named, client);
        let name = || self.name(client, key, !matches!(named, Named::Address), None);
        let placed = self.sharing().request(now, key, &Silent, name)?;
        let visit = Visit { key, number: placed.number, side: placed.side, gift: None };
        presence.carries(self, &visit, now);
        Some(visit)
    }

    /// What names the request's session.
    fn named<'r>(&self, request: &'r RequestHeader, presence: Option<&Presence>, before: Option<&Visit>) -> Named<'r> {
        let carried = match &self.by {
            SessionBy::Address => None,
            SessionBy::Tls => return presence.map_or(Named::Address, Presence::named),
            SessionBy::Cookie(name) => {
                cookies(request).find(|(of, _)| of == name).map(|(_, value)| String::from_utf8_lossy(value))
            }
            SessionBy::Header(name) => {
                request.headers.get(name.as_str()).map(|value| String::from_utf8_lossy(value.as_bytes()))
            }
            SessionBy::Parameter(name) => names::parameter(request, name),
            SessionBy::Insert(name) => {
                // What asks at once over one connection is one client, and gets one cookie.
                let given = before.and_then(|visit| visit.gift).or_else(|| presence.and_then(Presence::gift));
                return match Value::shown(request, name) {
                    Some(value) => Named::Own(value),
                    None => Named::Gift(given.unwrap_or_else(Value::made)),
                };
            }
        };
        carried.filter(|text| !text.is_empty()).map_or(Named::Address, Named::By)
    }

    fn key_of(&self, named: &Named<'_>, client: IpAddr) -> Key {
        match named {
            Named::Address => self.key(0, &client.to_string()),
            Named::By(text) => self.key(1, text),
            Named::Own(value) | Named::Gift(value) => self.key(2, &value.text()),
            Named::Resumed(mark) => self.key(3, &mark.text()),
        }
    }

    /// Takes out of a request what is no business of servers.
    pub(super) fn hide(&self, request: &mut RequestHeader) -> Result<()> {
        if let SessionBy::Insert(name) = &self.by { names::take_out(request, name) } else { Ok(()) }
    }

    /// Gives the client, with a server's answer, the cookie by which it will be known.
    pub(super) fn give(&self, session: &Session, visit: &Visit, answer: &mut ResponseHeader) -> Result<()> {
        let (SessionBy::Insert(name), Some(value)) = (&self.by, visit.gift) else { return Ok(()) };
        let by_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        value.give(name, by_tls, answer)
    }

    /// A server's answer may name a session: it belongs to that server's side.
    pub(super) fn learn(&self, now: At, session: &Session, answer: &ResponseHeader, side: Side) {
        let SessionBy::Cookie(wanted) = &self.by else { return };
        for field in answer.headers.get_all(SET_COOKIE) {
            let pair = field.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            let Some((name, value)) = names::split(pair).filter(|(name, value)| name == wanted && !value.is_empty())
            else {
                continue;
            };
            let text = String::from_utf8_lossy(value);
            let key = self.key(1, &text);
            tracing::trace!(name, "a server names a session");
            self.sharing().learn(now, key, || self.name(address(session), key, true, Some(&text)), side);
        }
    }

    /// Whether a session that a request found at that side has been moved away from it since.
    pub(super) fn has_left(&self, visit: &Visit, side: Side) -> bool {
        let left = || self.sharing().side_of(visit.key, visit.number).is_some_and(|now| now != side);
        self.moved.load(Relaxed) && left()
    }

    /// Whether connections are to be marked.
    pub(super) fn is_by_tls(&self) -> bool {
        self.by == SessionBy::Tls
    }

    /// Whether neither side has a part.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Relaxed)
    }

    /// To which sides new sessions are given by their parts.
    pub(super) fn lets_in(&self) -> Sides<bool> {
        self.parts().map(|_, part| part > 0)
    }

    fn key(&self, kind: u8, text: &str) -> Key {
        let [high, low] = self.digest.each_ref().map(|state| state.hash_one((kind, text)));
        Key(u128::from(high) << 64 | u128::from(low))
    }

    /// For a person to read. A cookie's or a parameter's value is a secret of its client: a digest stands for it.
    fn name(&self, client: IpAddr, key: Key, is_named: bool, text: Option<&str>) -> String {
        match (&self.by, text) {
            (SessionBy::Header(_), Some(text)) => names::for_people(text, NAME_MAX),
            (SessionBy::Cookie(name) | SessionBy::Parameter(name) | SessionBy::Insert(name), _) if is_named => {
                format!("{client} ({name} #{:08x})", key.0 & 0xffff_ffff)
            }
            (SessionBy::Tls, _) if is_named => format!("{client} (TLS #{:08x})", key.0 & 0xffff_ffff),
            _ => client.to_string(),
        }
    }
}

impl Named<'_> {
    fn text(&self) -> Option<&str> {
        if let Named::By(text) = self { Some(text) } else { None }
    }
}

impl fmt::Debug for SessionRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRoom").field("by", &self.by).finish_non_exhaustive()
    }
}

/// Which session a client's connection carries: it is there as long as the connection is, between requests too.
#[derive(Debug)]
pub(super) struct Presence {
    room: Arc<SessionRoom>,
    mark: Option<Mark>,
    carried: Mutex<Carried>,
}

#[derive(Debug, Default)]
struct Carried {
    session: Option<(Key, u64)>,
    /// The cookie that was made for its client.
    gift: Option<Value>,
}

impl Presence {
    /// A connection of which no request comes; `mark`: by what its client is known again.
    pub(super) fn new(room: &Arc<SessionRoom>, mark: Option<Mark>) -> Presence {
        Presence { room: Arc::clone(room), mark, carried: Mutex::default() }
    }

    /// What the connection itself is named by.
    fn named<'r>(&self) -> Named<'r> {
        self.mark.map_or(Named::Address, Named::Resumed)
    }

    /// Where the connection belongs; `None`: it is of no session, and none is let in.
    pub(super) fn visit_from(&self, now: At, client: IpAddr) -> Option<Visit> {
        self.room.visit_from(now, client, self)
    }

    /// What a connection is given along, so that its requests find it again.
    pub(super) fn digest(room: &Arc<SessionRoom>, mark: Option<Mark>) -> Option<Arc<ProxyDigest>> {
        let presence = Presence::new(room, mark);
        let head = ResponseHeader::build(200, Some(0)).ok()?;
        Some(Arc::new(ProxyDigest::new(Box::new(head), Some(Box::new(presence)))))
    }

    fn of(session: &Session) -> Option<&Presence> {
        let digest = session.digest()?.proxy_digest.as_deref()?;
        Upgrade::carried_within(digest).unwrap_or(digest).user_data.as_ref()?.downcast_ref()
    }

    fn gift(&self) -> Option<Value> {
        self.carried().gift
    }

    fn carried(&self) -> MutexGuard<'_, Carried> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carries(&self, room: &SessionRoom, visit: &Visit, now: At) {
        let mut carried = self.carried();
        carried.gift = visit.gift.or(carried.gift);
        let next = (visit.key, visit.number);
        if carried.session == Some(next) {
            return;
        }
        let mut sharing = room.sharing();
        if let Some((key, number)) = carried.session.replace(next) {
            sharing.closed(now, key, number);
        }
        sharing.opened(visit.key, visit.number);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let carried = self.carried.get_mut().unwrap_or_else(PoisonError::into_inner).session.take();
        if let Some((key, number)) = carried {
            self.room.sharing().closed(clock::now(), key, number);
        }
    }
}

/// A connection, as rules look at it: it carries nothing that they know.
struct Silent;

impl Attributes for Silent {
    fn carries(&self, _: &Attribute, _: &str) -> bool {
        false
    }
}

/// A request, as rules look at it.
struct Request<'r>(&'r RequestHeader);

impl Attributes for Request<'_> {
    fn carries(&self, attribute: &Attribute, value: &str) -> bool {
        match attribute {
            Attribute::Header(name) => {
                self.0.headers.get_all(name.as_str()).iter().any(|of| of.as_bytes() == value.as_bytes())
            }
            Attribute::Cookie(name) => cookies(self.0).any(|(of, given)| of == name && given == value.as_bytes()),
            Attribute::Query(name) => super::respond::parameters(self.0.uri.query().unwrap_or_default())
                .any(|(of, given)| of == name.as_str() && given == value),
        }
    }
}

/// The client's address, without its port. One whose address is not known counts as everybody like it.
fn address(session: &Session) -> IpAddr {
    let client = session.client_addr().and_then(|address| address.as_inet());
    client.map_or(IpAddr::from([0, 0, 0, 0]), |client| client.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &str)], path: &str) -> RequestHeader {
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn room(by: SessionBy) -> SessionRoom {
        SessionRoom::new(SessionSettings { by, ..SessionSettings::default() })
    }

    #[test]
    fn a_session_is_named_by_what_the_configuration_says() {
        let request = request(&[("Cookie", "a=1; JSESSIONID=\"x y\""), ("X-Agent", "1001")], "/a;s=7");
        let named = |by: SessionBy| room(by).named(&request, None, None).text().map(str::to_owned);
        assert_eq!(named(SessionBy::Address), None);
        let cookie = |name: &str| named(SessionBy::Cookie(name.to_owned()));
        assert_eq!(cookie("JSESSIONID").as_deref(), Some("x y"));
        assert_eq!(cookie("jsessionid"), None);
        assert_eq!(named(SessionBy::Header("x-agent".to_owned())).as_deref(), Some("1001"));
        assert_eq!(named(SessionBy::Parameter("s".to_owned())).as_deref(), Some("7"));
    }

    #[test]
    fn people_never_see_a_cookie() {
        let room = room(SessionBy::Cookie("SID".to_owned()));
        let name = room.name(IpAddr::from([10, 0, 0, 5]), Key(0xabc), true, Some("secret"));
        assert_eq!(name, "10.0.0.5 (SID #00000abc)");
    }

    #[test]
    fn rules_look_at_fields_cookies_and_the_query() {
        let request = request(&[("Cookie", "site=south"), ("X-Tenant", "x")], "/a?b=c&site=no%20rth");
        let request = Request(&request);
        let carries = |attribute: &str, value: &str| request.carries(&Attribute::read(attribute).unwrap(), value);
        assert!(carries("X-TENANT", "x") && carries("cookie:site", "south") && carries("query:site", "no rth"));
        assert!(!carries("X-Tenant", "X") && !carries("cookie:Site", "south") && !carries("query:b", "d"));
    }
}
