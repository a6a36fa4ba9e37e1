//! Probes to bytes and back: one kind of record for each protocol, but for HTTP and TCP, which 1.0 put into one.

use super::codes::Code;
use super::decode::{Malformed, Record as Given};
use super::encode::{Record, nanos};
use super::kind;
use super::layout::{DoWatch, DoWatchAgent, DoWatchCti, DoWatchIcmp, DoWatchXmpp, Extract as Look};
use crate::At;
use crate::action::{AgentProbe, CtiProbe, Extract, HttpProbe, IcmpProbe, IcmpTarget, ProbeKind, Watch, XmppProbe};
use crate::event::ProbeId;
use std::time::Duration;

/// Protocols of `ls_do_watch`.
const HTTP: u32 = 1;
const TCP: u32 = 2;

/// Targets of `ls_do_watch_icmp`.
const SERVER: u32 = 1;
const GATEWAYS: u32 = 2;
const ADDRESSES: u32 = 3;

pub(super) fn encode_watch(watch: &Watch, stamp: (u64, At), out: &mut Vec<u8>) {
    let (probe, side, server) = (watch.probe.0, watch.side.code(), watch.server);
    let (interval_ns, timeout_ns) = (nanos(watch.interval), nanos(watch.timeout));
    match &watch.kind {
        ProbeKind::Tcp { port } => Record::new(out, kind::WATCH, stamp).finish(|head, _| DoWatch {
            head,
            probe,
            side,
            server,
            interval_ns,
            timeout_ns,
            protocol: TCP,
            port: (*port).into(),
            ..DoWatch::default()
        }),
        ProbeKind::Http(http) => Record::new(out, kind::WATCH, stamp).finish(|head, tail| DoWatch {
            head,
            probe,
            side,
            server,
            interval_ns,
            timeout_ns,
            protocol: HTTP,
            port: http.port.into(),
            status: http.status.into(),
            pad: 0,
            path: tail.text(&http.path),
            host: tail.text(&http.host),
            body: tail.text(&http.body),
            tls: http.tls.code(),
            address: tail.text(&http.address),
            facts: tail.list(&http.facts, |fact, tail| Look {
                name: tail.text(&fact.name),
                expression: tail.text(&fact.expression),
                source: fact.source.code(),
                pad: 0,
            }),
        }),
        ProbeKind::Icmp(icmp) => Record::new(out, kind::WATCH_ICMP, stamp).finish(|head, tail| {
            let (target, addresses) = match &icmp.target {
                IcmpTarget::Server => (SERVER, [].as_slice()),
                IcmpTarget::Gateways => (GATEWAYS, [].as_slice()),
                IcmpTarget::Addresses(addresses) => (ADDRESSES, addresses.as_slice()),
            };
            let (dscp, addresses) = (icmp.dscp.into(), tail.texts(addresses));
            DoWatchIcmp { head, probe, side, server, dscp, interval_ns, timeout_ns, target, pad: 0, addresses }
        }),
        ProbeKind::Agent(agent) => Record::new(out, kind::WATCH_AGENT, stamp).finish(|head, tail| DoWatchAgent {
            head,
            probe,
            side,
            connection: agent.connection.code(),
            dscp: agent.dscp.into(),
            interval_ns,
            timeout_ns,
            service: tail.text(&agent.service),
        }),
        ProbeKind::Xmpp(xmpp) => Record::new(out, kind::WATCH_XMPP, stamp).finish(|head, tail| DoWatchXmpp {
            head,
            probe,
            side,
            server,
            port: xmpp.port.into(),
            interval_ns,
            timeout_ns,
            transport: xmpp.transport.code(),
            tls: xmpp.tls.code(),
            path: tail.text(&xmpp.path),
            domain: tail.text(&xmpp.domain),
            user: tail.text(&xmpp.user),
            secret: tail.text(&xmpp.secret),
            presence: tail.text(&xmpp.presence),
        }),
        ProbeKind::Cti(cti) => Record::new(out, kind::WATCH_CTI, stamp).finish(|head, tail| DoWatchCti {
            head,
            probe,
            side,
            server,
            port: cti.port.into(),
            interval_ns,
            timeout_ns,
            tls: cti.tls.code(),
            version: cti.version,
            peripheral: cti.peripheral,
            services: cti.services,
            idle_timeout_ns: nanos(cti.idle_timeout),
            client: tail.text(&cti.client),
            secret: tail.text(&cti.secret),
        }),
    }
}

/// What all declarations of probes say.
struct Timing {
    probe: u32,
    side: u32,
    server: u32,
    interval_ns: u64,
    timeout_ns: u64,
}

impl Given<'_> {
    pub(super) fn watch(&self) -> Result<Watch, Malformed> {
        let watch = self.fixed::<DoWatch>()?;
        let port = self.small("port", watch.port)?;
        let kind = match watch.protocol {
            TCP => ProbeKind::Tcp { port },
            HTTP => ProbeKind::Http(HttpProbe {
                port,
                path: self.text(watch.path)?,
                host: self.text(watch.host)?,
                status: self.small("status", watch.status)?,
                body: self.text(watch.body)?,
                tls: self.value("tls", watch.tls)?,
                address: self.text(watch.address)?,
                facts: self
                    .list::<Look>(watch.facts)?
                    .into_iter()
                    .map(|look| self.extract(look))
                    .collect::<Result<_, _>>()?,
            }),
            value => return Err(self.meaningless("protocol", value)),
        };
        let DoWatch { probe, side, server, interval_ns, timeout_ns, .. } = watch;
        self.watch_of(Timing { probe, side, server, interval_ns, timeout_ns }, kind)
    }

    pub(super) fn watch_icmp(&self) -> Result<Watch, Malformed> {
        let watch = self.fixed::<DoWatchIcmp>()?;
        let target = match watch.target {
            SERVER => IcmpTarget::Server,
            GATEWAYS => IcmpTarget::Gateways,
            ADDRESSES => IcmpTarget::Addresses(self.texts(watch.addresses)?),
            value => return Err(self.meaningless("target", value)),
        };
        let dscp = self.dscp(watch.dscp)?;
        let DoWatchIcmp { probe, side, server, interval_ns, timeout_ns, .. } = watch;
        let timing = Timing { probe, side, server, interval_ns, timeout_ns };
        self.watch_of(timing, ProbeKind::Icmp(IcmpProbe { target, dscp }))
    }

    pub(super) fn watch_agent(&self) -> Result<Watch, Malformed> {
        let watch = self.fixed::<DoWatchAgent>()?;
        let kind = ProbeKind::Agent(AgentProbe {
            connection: self.value("connection", watch.connection)?,
            service: self.text(watch.service)?,
            dscp: self.dscp(watch.dscp)?,
        });
        let DoWatchAgent { probe, side, interval_ns, timeout_ns, .. } = watch;
        self.watch_of(Timing { probe, side, server: 0, interval_ns, timeout_ns }, kind)
    }

    pub(super) fn watch_xmpp(&self) -> Result<Watch, Malformed> {
        let watch = self.fixed::<DoWatchXmpp>()?;
        let kind = ProbeKind::Xmpp(XmppProbe {
            transport: self.value("transport", watch.transport)?,
            port: self.small("port", watch.port)?,
            tls: self.value("tls", watch.tls)?,
            path: self.text(watch.path)?,
            domain: self.text(watch.domain)?,
            user: self.text(watch.user)?,
            secret: self.text(watch.secret)?,
            presence: self.text(watch.presence)?,
        });
        let DoWatchXmpp { probe, side, server, interval_ns, timeout_ns, .. } = watch;
        self.watch_of(Timing { probe, side, server, interval_ns, timeout_ns }, kind)
    }

    pub(super) fn watch_cti(&self) -> Result<Watch, Malformed> {
        let watch = self.fixed::<DoWatchCti>()?;
        let kind = ProbeKind::Cti(CtiProbe {
            port: self.small("port", watch.port)?,
            tls: self.value("tls", watch.tls)?,
            version: watch.version,
            peripheral: watch.peripheral,
            services: watch.services,
            idle_timeout: Duration::from_nanos(watch.idle_timeout_ns),
            client: self.text(watch.client)?,
            secret: self.text(watch.secret)?,
        });
        let DoWatchCti { probe, side, server, interval_ns, timeout_ns, .. } = watch;
        self.watch_of(Timing { probe, side, server, interval_ns, timeout_ns }, kind)
    }

    fn watch_of(&self, timing: Timing, kind: ProbeKind) -> Result<Watch, Malformed> {
        Ok(Watch {
            probe: ProbeId(timing.probe),
            side: self.value("side", timing.side)?,
            server: timing.server,
            kind,
            interval: Duration::from_nanos(timing.interval_ns),
            timeout: Duration::from_nanos(timing.timeout_ns),
        })
    }

    fn extract(&self, look: Look) -> Result<Extract, Malformed> {
        Ok(Extract {
            name: self.text(look.name)?,
            source: self.value("source", look.source)?,
            expression: self.text(look.expression)?,
        })
    }

    fn dscp(&self, value: u32) -> Result<u8, Malformed> {
        u8::try_from(value).ok().filter(|dscp| *dscp < 64).ok_or_else(|| self.meaningless("dscp", value))
    }
}
