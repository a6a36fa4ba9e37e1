//! An XMPP session over HTTP (XEP-0124, XEP-0206): each request on a connection of its own, one after another.

use super::element::{Element, escaped, parse};
use super::wire::{Place, STREAMS, wrong};
use crate::probe::connect;
use crate::probe::exchange::post;
use crate::probe::judge::Finding;
use crate::probe::session::Ended;
use crate::probe::tls::Trust;
use lockstep_policy::action::Tls;
use lockstep_policy::event::Verdict;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const BODY: &str = "http://jabber.org/protocol/httpbind";
const XBOSH: &str = "urn:xmpp:xbosh";

/// Answers without content to one question; a server that holds no request must not be asked without end.
const EMPTY: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// What may wait to be sent.
const OUTGOING_MAX: usize = 64 * 1024;

pub(super) struct Bosh {
    trust: Arc<Trust>,
    address: SocketAddr,
    tls: Tls,
    name: ServerName<'static>,
    host: String,
    path: String,
    domain: String,
    wait: Duration,
    sid: String,
    /// The number of the next request.
    rid: u64,
    outgoing: String,
    incoming: VecDeque<Element>,
}

impl Bosh {
    /// Creates a session; gives the server's features.
    pub async fn open(place: &Place<'_>, trust: &Arc<Trust>) -> Result<(Bosh, Element), Ended> {
        let mut bosh = Bosh {
            trust: Arc::clone(trust),
            address: place.address,
            tls: place.tls,
            name: place.name.clone(),
            host: place.host(),
            path: place.path.to_owned(),
            domain: place.domain.clone(),
            wait: place.wait,
            sid: String::new(),
            // Room for all requests of a session below 2^53 (XEP-0124, 14.1).
            rid: fastrand::u64(1 << 20..1 << 40),
            outgoing: String::new(),
            incoming: VecDeque::new(),
        };
        let wait = bosh.wait.as_secs().clamp(1, 60);
        let extra = format!(
            "to='{}' ver='1.6' hold='1' wait='{wait}' content='text/xml; charset=utf-8' xml:lang='en' \
             xmlns:xmpp='{XBOSH}' xmpp:version='1.0'",
            escaped(&bosh.domain)
        );
        let created = bosh.request(&extra, "").await?;
        bosh.sid = created.attribute("sid").ok_or_else(|| wrong("not BOSH: a session without a name"))?.to_owned();
        bosh.incoming.extend(created.children);
        let features = bosh.features().await?;
        Ok((bosh, features))
    }

    /// Restarts the stream after a log-in (XEP-0206, 5).
    pub async fn restart(&mut self) -> Result<Element, Ended> {
        let to = escaped(&self.domain);
        let extra = format!("to='{to}' xmpp:restart='true' xmlns:xmpp='{XBOSH}' xml:lang='en'");
        let answer = self.request(&extra, "").await?;
        self.incoming.extend(answer.children);
        self.features().await
    }

    async fn features(&mut self) -> Result<Element, Ended> {
        let features = self.next().await?;
        if !features.is("features", STREAMS) {
            return Err(wrong(format!("not BOSH: {} instead of features", features.name)));
        }
        Ok(features)
    }

    /// Goes along with the next request.
    pub fn send(&mut self, text: &str) -> Result<(), Ended> {
        if self.outgoing.len() + text.len() > OUTGOING_MAX {
            return Err(wrong("the server has more questions than can be answered at once"));
        }
        self.outgoing.push_str(text);
        Ok(())
    }

    pub async fn next(&mut self) -> Result<Element, Ended> {
        for _ in 0..EMPTY {
            if self.outgoing.is_empty()
                && let Some(stanza) = self.incoming.pop_front()
            {
                return Ok(stanza);
            }
            let text = std::mem::take(&mut self.outgoing);
            let answer = self.request("", &text).await?;
            if answer.children.is_empty() && self.incoming.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            self.incoming.extend(answer.children);
        }
        Err(wrong(format!("{EMPTY} answers without content")))
    }

    async fn request(&mut self, extra: &str, content: &str) -> Result<Element, Ended> {
        let (rid, sid) = (self.rid, escaped(&self.sid));
        self.rid += 1;
        let sid = if sid.is_empty() { String::new() } else { format!(" sid='{sid}'") };
        let text = format!("<body rid='{rid}'{sid} xmlns='{BODY}' {extra}>{content}</body>");
        let stream = connect::open(&self.trust, self.address, self.tls, &self.name).await.map_err(Ended::Gone)?;
        let (status, _, answer) = post(stream, &self.host, &self.path, text).await.map_err(Ended::Gone)?;
        if status != 200 {
            return Err(Ended::Gone(Finding::new(Verdict::Wrong, status, format!("status {status}"))));
        }
        let body = parse(&String::from_utf8_lossy(&answer)).map_err(|why| wrong(format!("not BOSH: {why}")))?;
        if !body.is("body", BODY) {
            return Err(wrong(format!("not BOSH: {} instead of body", body.name)));
        }
        if body.attribute("type") == Some("terminate") {
            let condition = body.attribute("condition").unwrap_or("no condition");
            let why = format!("the server ends the session: {condition}");
            return Err(Ended::Gone(Finding::new(Verdict::Wrong, status, why)));
        }
        Ok(body)
    }

    pub fn is_unheard(&self) -> bool {
        self.tls != Tls::Off || self.address.ip().is_loopback()
    }

    pub async fn close(mut self) {
        // Gone either way.
        let _ = self.request("type='terminate'", "<presence type='unavailable' xmlns='jabber:client'/>").await;
    }
}

impl Place<'_> {
    fn host(&self) -> String {
        match self.domain.as_str() {
            domain if domain == self.address.ip().to_string() => self.address.to_string(),
            domain => domain.to_owned(),
        }
    }
}
