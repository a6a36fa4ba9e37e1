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

#[cfg(test)]
mod tests {
    use super::RedirectTable;
    use crate::config::file::Check;
    use crate::config::{Active, ConfigError, Destination, Redirect};
    use http::StatusCode;
    use serde::Deserialize;
    use std::path::Path;
    use std::time::Duration;
    use toml::Spanned;

    const LISTENER: &str = "[[redirect]]\nlisten = \"10.0.0.1:80\"\napplication = \"127.0.0.1:8080\"\n";

    /// Of a file these tables only.
    #[derive(Deserialize)]
    struct Tables {
        #[serde(default)]
        redirect: Vec<Spanned<RedirectTable>>,
    }

    fn parse(text: &str) -> Result<Vec<Redirect>, String> {
        let path = Path::new("agent.toml");
        let tables = toml::from_str(text).map_err(|error| ConfigError::parse(path, text, &error));
        let redirects = tables.and_then(|Tables { redirect }| Check { path, text }.redirects(redirect));
        redirects.map_err(|error| error.to_string())
    }

    fn fault(lines: &str) -> String {
        parse(&format!("{LISTENER}{lines}")).unwrap_err()
    }

    #[test]
    fn a_listener_needs_little() {
        let found = parse(&format!("{LISTENER}vip = \"http://vip\"\n")).unwrap().remove(0);
        let Destination::Vip(vip) = &found.to else { panic!("{found:?}") };
        assert_eq!((vip.authority.as_str(), vip.port()), ("vip", 80));
        assert_eq!((found.status, found.tls), (StatusCode::TEMPORARY_REDIRECT, None));
        assert_eq!((found.drain, found.connections), (Duration::from_millis(500), 512));
        assert_eq!(parse("").unwrap(), []);
    }

    /// What the example shows as a remark is understood, with the defaults that it names.
    #[test]
    fn the_example_says_what_is_so() {
        let example = include_str!("../../../../config/telisca-agent.toml");
        let lines = example.lines().skip_while(|line| *line != "#[[redirect]]");
        let block = lines.take_while(|line| !line.is_empty());
        let lines: Vec<&str> = block.filter_map(|line| line.strip_prefix('#')).collect();
        let text = lines.join("\n").replace("to = \"vip\"", "to = \"active\"");
        let shown = parse(&text).unwrap().remove(0);
        let Destination::Active { active: Active { origin, ask }, vip: Some(_) } = &shown.to else {
            panic!("{shown:?}")
        };
        assert_eq!((origin.authority.as_str(), ask.as_str()), ("ips-b.example.com", "10.0.0.2:80"));
        assert!(shown.tls.is_some() && shown.exempt == ["/IPSCFG/admin/monitor.aspx"]);
        let Redirect { status, drain, timeout, idle, connections, .. } =
            parse(&format!("{LISTENER}vip = \"http://vip\"\n")).unwrap().remove(0);
        assert_eq!((shown.drain, shown.timeout, shown.idle), (drain, timeout, idle));
        assert_eq!((shown.status, shown.connections), (status, connections));
    }

    #[test]
    fn the_other_side_is_asked_where_it_listens() {
        let ask = |lines: &str| {
            let found = parse(&format!("{LISTENER}to = \"active\"\n{lines}")).unwrap().remove(0);
            let Destination::Active { active, vip: None } = found.to else { panic!("{found:?}") };
            active.ask
        };
        assert_eq!(ask("active = \"http://b\"\n"), "b:80");
        assert_eq!(ask("active = \"http://[fd00::1]:8080/\"\n"), "[fd00::1]:8080");
        assert_eq!(ask("active = \"https://b\"\nask = \"b:8080\"\n"), "b:8080");
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_remedy() {
        let vip = "vip = \"http://vip\"\n";
        for (lines, sentence) in [
            (String::new(), "needs `vip`, where clients are sent to"),
            ("vip = \"vip\"\n".into(), "`vip` is no origin: write vip = \"http://HOST\""),
            ("vip = \"ftp://vip\"\n".into(), "is no origin"),
            ("vip = \"http://vip/path\"\n".into(), "`vip` has a path: leave it out"),
            ("vip = \"http://eva@vip\"\n".into(), "`vip` holds a user"),
            (format!("{vip}active = \"http://b\"\n"), "`active` belongs to `to = \"active\"`"),
            (format!("{vip}ask = \"b:80\"\n"), "`ask` belongs to `to = \"active\"`"),
            (format!("{vip}to = \"active\"\n"), "needs `active`, the other side's own name"),
            ("to = \"active\"\nactive = \"https://b\"\n".into(), "write ask = \"HOST:PORT\""),
            ("to = \"active\"\nactive = \"http://b\"\nask = \"b\"\n".into(), "`b` is no address: write HOST:PORT"),
            (format!("{vip}to = \"other\"\n"), "`other` is no valid value; valid: `vip` or `active`"),
            (format!("{vip}status = 301\n"), "`status` is 307, or 302"),
            (format!("{vip}exempt = [\"monitor\"]\n"), "`monitor` is no path"),
            (format!("{vip}exempt = [\"/monitor?x\"]\n"), "without a query"),
            (format!("{vip}certificate = \"/a.pem\"\n"), "a `certificate` needs its `key`"),
            (format!("{vip}key = \"/a.key\"\n"), "a `key` needs its `certificate`"),
            (format!("{vip}drain = \"5\"\n"), "write `drain` with a unit"),
            (format!("{vip}idle = \"0s\"\n"), "`idle` is 100ms to 3600s"),
            (format!("{vip}connections = 0\n"), "`connections` is 1 to 65536"),
            (format!("{vip}exemptions = []\n"), "did you mean `exempt`?"),
            (format!("{vip}{LISTENER}{vip}"), "two listeners on 10.0.0.1:80"),
        ] {
            let found = fault(&lines);
            assert!(found.contains("agent.toml:") && found.contains(sentence), "{lines}\n{found}\nwanted: {sentence}");
        }
        let to_itself = LISTENER.replace("127.0.0.1:8080", "10.0.0.1:80");
        assert!(parse(&format!("{to_itself}{vip}")).unwrap_err().contains("is this listener itself"));
    }
}
