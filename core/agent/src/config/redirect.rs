//! The listeners for requests that come to the node directly.

use super::file::Check;
use super::{Active, ConfigError, Destination, Identity, Origin, Redirect};
use http::uri::{Authority, Scheme};
use http::{StatusCode, Uri};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

const LISTENERS_MAX: usize = 16;
const EXEMPT_MAX: usize = 32;
const CONNECTIONS: RangeInclusive<usize> = 1..=65_536;
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const WAIT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedirectTable {
    listen: Spanned<SocketAddr>,
    application: Spanned<SocketAddr>,
    #[serde(default)]
    to: To,
    vip: Option<Spanned<String>>,
    active: Option<Spanned<String>>,
    ask: Option<Spanned<String>>,
    status: Option<Spanned<u16>>,
    #[serde(default)]
    exempt: Vec<Spanned<String>>,
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    drain: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    idle: Option<Spanned<String>>,
    connections: Option<Spanned<usize>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum To {
    #[default]
    Vip,
    Active,
}

impl Check<'_> {
    pub(super) fn redirects(&self, tables: Vec<Spanned<RedirectTable>>) -> Result<Vec<Redirect>, ConfigError> {
        if let Some(extra) = tables.get(LISTENERS_MAX) {
            return Err(self.fault(extra, format!("more than {LISTENERS_MAX} listeners")));
        }
        let mut taken = BTreeSet::new();
        tables.into_iter().map(|table| self.redirect(table, &mut taken)).collect()
    }

    fn redirect(
        &self,
        table: Spanned<RedirectTable>,
        taken: &mut BTreeSet<SocketAddr>,
    ) -> Result<Redirect, ConfigError> {
        let span = table.span();
        let table = table.into_inner();
        let listen = *table.listen.get_ref();
        if !taken.insert(listen) {
            return Err(self.fault(&table.listen, format!("two listeners on {listen}: leave one out")));
        }
        if reaches(*table.application.get_ref(), listen) {
            let what = "`application` is this listener itself: name the port on which the application listens";
            return Err(self.fault(&table.application, what));
        }
        let tls = match (table.certificate, table.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.into_inner(), key: key.into_inner() })
            }
            (Some(file), None) => return Err(self.fault(&file, "a `certificate` needs its `key`: name both files")),
            (None, Some(file)) => return Err(self.fault(&file, "a `key` needs its `certificate`: name both files")),
        };
        let vip = table.vip.map(|text| self.origin(&text, "vip")).transpose()?;
        let to = match (table.to, vip, table.active) {
            (To::Vip, Some(vip), None) => {
                if let Some(ask) = table.ask {
                    return Err(self.fault(&ask, "`ask` belongs to `to = \"active\"`"));
                }
                Destination::Vip(vip)
            }
            (To::Vip, _, Some(active)) => {
                return Err(self.fault(&active, "`active` belongs to `to = \"active\"`: say that too, or leave it out"));
            }
            (To::Vip, None, None) => {
                let what = "[[redirect]] needs `vip`, where clients are sent to: write vip = \"http://HOST\"";
                return Err(ConfigError::at(self.path, self.text, span, what));
            }
            (To::Active, vip, Some(active)) => {
                Destination::Active { active: self.active(&active, table.ask.as_ref())?, vip }
            }
            (To::Active, _, None) => {
                let what =
                    "`to = \"active\"` needs `active`, the other side's own name: write active = \"http://HOST\"";
                return Err(ConfigError::at(self.path, self.text, span, what));
            }
        };
        Ok(Redirect {
            listen,
            application: table.application.into_inner(),
            to,
            status: self.redirect_status(table.status)?,
            exempt: self.exempt(table.exempt)?,
            tls,
            drain: self.duration(table.drain, "drain", Duration::from_millis(500), DRAIN)?,
            timeout: self.duration(table.timeout, "timeout", Duration::from_secs(60), WAIT)?,
            idle: self.duration(table.idle, "idle", Duration::from_secs(60), WAIT)?,
            connections: self.connections(table.connections)?,
        })
    }

    fn origin(&self, text: &Spanned<String>, key: &str) -> Result<Origin, ConfigError> {
        let rule =
            || format!("`{}` is no origin: write {key} = \"http://HOST\", with a port if need be", text.get_ref());
        let uri: Uri = text.get_ref().parse().map_err(|_| self.fault::<String>(text, rule()))?;
        let parts = uri.into_parts();
        let bare = parts.path_and_query.is_none_or(|path| path == "/");
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) if bare && (scheme == Scheme::HTTP || scheme == Scheme::HTTPS) => {
                if authority.as_str().contains('@') {
                    return Err(self.fault(text, format!("`{key}` holds a user: everybody would be sent his name")));
                }
                Ok(Origin { scheme, authority })
            }
            (Some(_), Some(_)) if !bare => {
                Err(self.fault(text, format!("`{key}` has a path: leave it out, each request's own is kept")))
            }
            _ => Err(self.fault(text, rule())),
        }
    }

    fn active(&self, text: &Spanned<String>, ask: Option<&Spanned<String>>) -> Result<Active, ConfigError> {
        let origin = self.origin(text, "active")?;
        let ask = match ask {
            Some(ask) => match ask.get_ref().parse::<Authority>() {
                Ok(authority) if authority.port_u16().is_some_and(|port| port > 0) => ask.get_ref().clone(),
                _ => return Err(self.fault(ask, format!("`{}` is no address: write HOST:PORT", ask.get_ref()))),
            },
            None if origin.scheme == Scheme::HTTP => format!("{}:{}", origin.authority.host(), origin.port()),
            None => {
                let what = "the other side is asked whether it is active over plain HTTP: write ask = \"HOST:PORT\", \
                            where a [[redirect]] of its agent listens that has no `certificate`";
                return Err(self.fault(text, what));
            }
        };
        Ok(Active { origin, ask })
    }

    fn redirect_status(&self, status: Option<Spanned<u16>>) -> Result<StatusCode, ConfigError> {
        let Some(status) = status else { return Ok(StatusCode::TEMPORARY_REDIRECT) };
        match *status.get_ref() {
            307 => Ok(StatusCode::TEMPORARY_REDIRECT),
            302 => Ok(StatusCode::FOUND),
            _ => Err(self.fault(&status, "`status` is 307, or 302 for clients that do not know 307")),
        }
    }

    fn exempt(&self, paths: Vec<Spanned<String>>) -> Result<Vec<String>, ConfigError> {
        if let Some(extra) = paths.get(EXEMPT_MAX) {
            return Err(self.fault(extra, format!("more than {EXEMPT_MAX} exempt paths")));
        }
        let checked = paths.into_iter().map(|path| {
            let text = path.get_ref();
            if !text.starts_with('/') || text.contains(['?', '#', '*', ' ']) {
                let what = format!("`{text}` is no path: write the whole of it, as in \"/monitor\", without a query");
                return Err(self.fault(&path, what));
            }
            Ok(path.into_inner())
        });
        checked.collect()
    }

    fn connections(&self, connections: Option<Spanned<usize>>) -> Result<usize, ConfigError> {
        match connections {
            None => Ok(512),
            Some(number) if CONNECTIONS.contains(number.get_ref()) => Ok(number.into_inner()),
            Some(number) => {
                let what = format!("`connections` is {} to {}", CONNECTIONS.start(), CONNECTIONS.end());
                Err(self.fault(&number, what))
            }
        }
    }
}

/// Whether who connects to `to` may arrive at `listen`.
fn reaches(to: SocketAddr, listen: SocketAddr) -> bool {
    to.port() == listen.port()
        && (to.ip() == listen.ip()
            || to.ip().is_unspecified()
            || (listen.ip().is_unspecified() && to.ip().is_loopback()))
}
