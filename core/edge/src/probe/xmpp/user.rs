//! A user's session: he logs in once, stays, and sees who else is there.

use super::element::{Element, escaped};
use super::sasl::{Mechanism, Scram, plain};
use super::wire::{Wire, wrong};
use crate::probe::judge::{Finding, bounded};
use crate::probe::session::Ended;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockstep_policy::event::{Fact, Verdict};
use std::collections::BTreeSet;
use std::time::Duration;

const CLIENT: &str = "jabber:client";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
const ROSTER: &str = "jabber:iq:roster";
const PING: &str = "urn:xmpp:ping";

/// Other stanzas that are taken in before an answer; a server that says more does not answer.
const OTHERS: usize = 5000;

/// Connections of the watched user that are told apart.
const RESOURCES: usize = 100;

/// Who logs in, and whom he watches.
pub(super) struct Who {
    pub user: String,
    pub domain: String,
    /// Whose presence; empty: nobody's.
    pub watched: String,
}

/// Why nobody is logged in.
pub(super) enum NotIn {
    Ended(Ended),
    /// The server does not want this user with this password.
    Refused(String),
}

impl From<Ended> for NotIn {
    fn from(ended: Ended) -> NotIn {
        NotIn::Ended(ended)
    }
}

pub(super) struct User {
    wire: Wire,
    who: Who,
    /// Connections of the watched user that are available.
    available: BTreeSet<String>,
    /// The server tells this user of the watched one's presence.
    may_see: bool,
    asked: u64,
}

impl User {
    /// Logs in on a stream with these features.
    pub async fn log_in(
        mut wire: Wire,
        features: &Element,
        who: Who,
        password: String,
        settle: Duration,
    ) -> Result<User, NotIn> {
        authenticate(&mut wire, features, &who.user, password).await?;
        let (wire, features) = wire.restart().await?;
        let mut user = User { wire, who, available: BTreeSet::new(), may_see: false, asked: 0 };
        user.ask("set", &format!("<bind xmlns='{BIND}'/>"), "").await?.map_err(|why| wrong(format!("bind: {why}")))?;
        // RFC 3921, 3; RFC 6121 has no use for it.
        if features.child("session", SESSION).is_some_and(|session| session.child("optional", SESSION).is_none()) {
            let session = format!("<session xmlns='{SESSION}'/>");
            user.ask("set", &session, "").await?.map_err(|why| wrong(format!("session: {why}")))?;
        }
        if !user.who.watched.is_empty() {
            user.look(settle).await?;
        }
        Ok(user)
    }

    /// Becomes present, so that the server tells who else is (RFC 6121, 4.2). With a negative priority, so that nobody's
    /// messages come here.
    async fn look(&mut self, settle: Duration) -> Result<(), Ended> {
        if let Ok(roster) = self.ask("get", &format!("<query xmlns='{ROSTER}'/>"), "").await? {
            let items = roster.child("query", ROSTER).map(|query| query.children.as_slice()).unwrap_or_default();
            let seen = |item: &&Element| {
                item.attribute("jid").is_some_and(|jid| self.is_watched(jid))
                    && matches!(item.attribute("subscription"), Some("to" | "both"))
            };
            self.may_see = items.iter().find(seen).is_some();
        }
        self.wire.send(&format!("<presence xmlns='{CLIENT}'><priority>-1</priority></presence>")).await?;
        self.ping().await?;
        // The server answers in order; others, behind it, need not.
        if self.may_see && self.available.is_empty() {
            tokio::time::sleep(settle).await;
            self.ping().await?;
        }
        Ok(())
    }

    /// Asks the server for a sign of life; takes in what it has said since the last.
    pub async fn ping(&mut self) -> Result<(), Ended> {
        let domain = self.who.domain.clone();
        // An error is an answer as well: the server is alive, and does not know what a ping is (XEP-0199, 4.2).
        self.ask("get", &format!("<ping xmlns='{PING}'/>"), &domain).await.map(|_| ())
    }

    /// What is known of the watched user.
    pub fn finding(&self) -> Finding {
        let who = &self.who;
        if who.watched.is_empty() {
            return Finding::good(0, "");
        }
        if !self.may_see && self.available.is_empty() {
            let why = format!("{} may not see the presence of {}: he is not in his roster", who.user, who.watched);
            return Finding::good(0, why);
        }
        let presence = if self.available.is_empty() { "unavailable" } else { "available" };
        let facts = vec![Fact { name: "presence".to_owned(), value: presence.to_owned() }];
        Finding { facts, ..Finding::good(0, format!("{} is {presence}", who.watched)) }
    }

    pub async fn close(self) {
        self.wire.closed().await;
    }

    /// Asks, and waits for the answer; its error is one of the question, not of the session.
    async fn ask(&mut self, kind: &str, content: &str, to: &str) -> Result<Result<Element, String>, Ended> {
        self.asked += 1;
        let id = format!("lockstep-{}", self.asked);
        let to = if to.is_empty() { String::new() } else { format!(" to='{}'", escaped(to)) };
        self.wire.send(&format!("<iq xmlns='{CLIENT}' type='{kind}' id='{id}'{to}>{content}</iq>")).await?;
        for _ in 0..OTHERS {
            let stanza = self.wire.next().await?;
            match (stanza.name.as_str(), stanza.attribute("type")) {
                ("iq", Some("result")) if stanza.attribute("id") == Some(&id) => return Ok(Ok(stanza)),
                ("iq", Some("error")) if stanza.attribute("id") == Some(&id) => {
                    let error = stanza.child("error", CLIENT).map_or("unknown", Element::condition);
                    return Ok(Err(error.to_owned()));
                }
                ("iq", Some("get" | "set")) => self.decline(&stanza).await?,
                ("presence", kind) => self.note(&stanza, kind),
                _ => {}
            }
        }
        Err(wrong(format!("{OTHERS} stanzas, and none of them the answer")))
    }

    /// Every question has to be answered (RFC 6120, 8.2.3); a roster's push with yes, all else with no.
    async fn decline(&mut self, stanza: &Element) -> Result<(), Ended> {
        let Some(id) = stanza.attribute("id") else { return Ok(()) };
        let to = stanza.attribute("from").map(|from| format!(" to='{}'", escaped(from))).unwrap_or_default();
        let known = stanza.child("query", ROSTER).is_some() || stanza.child("ping", PING).is_some();
        let (kind, content) = match known {
            true => ("result", ""),
            false => (
                "error",
                "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
            ),
        };
        let id = escaped(id);
        self.wire.send(&format!("<iq xmlns='{CLIENT}' type='{kind}' id='{id}'{to}>{content}</iq>")).await
    }

    fn note(&mut self, stanza: &Element, kind: Option<&str>) {
        let Some(from) = stanza.attribute("from").filter(|from| self.is_watched(from)) else { return };
        match kind {
            None if self.available.len() < RESOURCES => drop(self.available.insert(from.to_owned())),
            Some("unavailable" | "error") if !from.contains('/') => self.available.clear(),
            Some("unavailable" | "error") => drop(self.available.remove(from)),
            _ => {}
        }
    }

    fn is_watched(&self, jid: &str) -> bool {
        let bare = jid.split_once('/').map_or(jid, |(bare, _)| bare);
        bare.eq_ignore_ascii_case(&self.who.watched)
    }
}

async fn authenticate(wire: &mut Wire, features: &Element, user: &str, password: String) -> Result<(), NotIn> {
    let offered = features.child("mechanisms", SASL).map(|list| list.children.as_slice()).unwrap_or_default();
    let offered = offered.iter().map(|mechanism| mechanism.text.trim());
    let mechanism = Mechanism::choose(offered, wire.is_unheard()).map_err(wrong)?;
    if mechanism == Mechanism::Plain {
        return succeed(wire, mechanism, &plain(user, &password)).await.map(|_| ());
    }
    let mut nonce = [0; 18];
    getrandom::fill(&mut nonce).map_err(|error| wrong(format!("no random numbers: {error}")))?;
    let scram = Scram::new(mechanism, user, STANDARD.encode(nonce));
    let challenge =
        say(wire, &format!("<auth xmlns='{SASL}' mechanism='{}'>{}</auth>", mechanism.name(), scram.first())).await?;
    if challenge.name != "challenge" {
        return Err(wrong(format!("{}: {} instead of a challenge", mechanism.name(), challenge.name)).into());
    }
    let answered = tokio::task::spawn_blocking(move || scram.answer(&challenge.text, &password)).await;
    let proof = answered.unwrap_or_else(|error| Err(error.to_string()));
    let proof = proof.map_err(|why| wrong(format!("{}: {why}", mechanism.name())))?;
    let mut said = say(wire, &format!("<response xmlns='{SASL}'>{}</response>", proof.response)).await?;
    if !proof.is_answered_by(&said.text) {
        return Err(wrong("the server does not know the password itself: it is not who it says it is").into());
    }
    // Some say it in a challenge of its own.
    if said.name == "challenge" {
        said = say(wire, &format!("<response xmlns='{SASL}'/>")).await?;
    }
    if said.name == "success" { Ok(()) } else { Err(wrong(format!("{} instead of success", said.name)).into()) }
}

async fn succeed(wire: &mut Wire, mechanism: Mechanism, first: &str) -> Result<Element, NotIn> {
    let said = say(wire, &format!("<auth xmlns='{SASL}' mechanism='{}'>{first}</auth>", mechanism.name())).await?;
    if said.name == "success" { Ok(said) } else { Err(wrong(format!("{} instead of success", said.name)).into()) }
}

/// A step of a log-in, and what the server says to it.
async fn say(wire: &mut Wire, text: &str) -> Result<Element, NotIn> {
    wire.send(text).await?;
    let said = wire.next().await?;
    if said.namespace != SASL {
        return Err(wrong(format!("{} in the middle of a log-in", said.name)).into());
    }
    if said.name != "failure" {
        return Ok(said);
    }
    match said.condition() {
        // RFC 6120, 6.5.9: it would be another one at another time.
        "temporary-auth-failure" => Err(wrong("log-ins fail for now (temporary-auth-failure)").into()),
        condition => Err(NotIn::Refused(bounded(condition))),
    }
}

impl NotIn {
    pub fn finding(self) -> Finding {
        match self {
            NotIn::Ended(ended) => ended.into(),
            NotIn::Refused(why) => {
                let text = format!("the server refuses the log-in: {why}; it is not tried again for five minutes");
                Finding::new(Verdict::Wrong, 0, text)
            }
        }
    }
}
