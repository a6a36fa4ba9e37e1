//! The tables of the driver `http`: its calls, and what answers they expect.

use super::file::Check;
use super::{Call, ConfigError, Expected, HttpStatus};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Uri};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;

/// A call is one small question.
const BODY_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 32;
const CONTAINS_MAX: usize = 1024;

const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallTable {
    url: Spanned<String>,
    method: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, Spanned<String>>,
    body: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    expect: Option<Spanned<ExpectValue>>,
    contains: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusTable {
    url: Spanned<String>,
    method: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, Spanned<String>>,
    body: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    interval: Option<Spanned<String>>,
    running: AnswerTable,
    stopped: Spanned<AnswerTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerTable {
    expect: Option<Spanned<ExpectValue>>,
    contains: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "`expect` is a status or a range, or a list of them: 200, \"200-299\", [200, \"202-204\"]"
)]
enum ExpectValue {
    One(StatusValue),
    Many(Vec<StatusValue>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum StatusValue {
    Status(u16),
    Range(String),
}

impl StatusValue {
    fn range(&self) -> Option<RangeInclusive<u16>> {
        let (first, last) = match self {
            StatusValue::Status(status) => (*status, *status),
            StatusValue::Range(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                (first.trim().parse().ok()?, last.trim().parse().ok()?)
            }
        };
        (100..=599).contains(&first).then_some(first..=last).filter(|range| first <= last && *range.end() <= 599)
    }
}

impl Check<'_> {
    pub(super) fn call(
        &self,
        table: Spanned<CallTable>,
        default: Method,
        key: &str,
        login: bool,
    ) -> Result<Call, ConfigError> {
        let CallTable { url, method, headers, body, timeout, expect, contains } = table.into_inner();
        let expected = self.answer(AnswerTable { expect, contains })?;
        let request = Request { url, method, headers, body, timeout };
        self.request(request, default, key, login, expected)
    }

    pub(super) fn status(&self, table: Spanned<StatusTable>, login: bool) -> Result<HttpStatus, ConfigError> {
        let StatusTable { url, method, headers, body, timeout, interval, running, stopped } = table.into_inner();
        let running = self.answer(running)?;
        let span = stopped.span();
        let stopped = self.answer(stopped.into_inner())?;
        if running == stopped {
            let what = "`stopped` is the answer that `running` is: give one of them another `expect` or `contains`";
            return Err(ConfigError::at(self.path, self.text, span, what));
        }
        let request = Request { url, method, headers, body, timeout };
        let running = self.request(request, Method::GET, "status", login, running)?;
        Ok(HttpStatus {
            running,
            stopped,
            interval: self.duration(interval, "interval", Duration::from_secs(2), INTERVAL)?,
        })
    }

    fn answer(&self, AnswerTable { expect, contains }: AnswerTable) -> Result<Expected, ConfigError> {
        let statuses = match &expect {
            None => Some(vec![200..=299]),
            Some(expect) => match expect.get_ref() {
                ExpectValue::One(one) => one.range().map(|range| vec![range]),
                ExpectValue::Many(many) => many.iter().map(StatusValue::range).collect(),
            },
        };
        let statuses = match (statuses.filter(|statuses| !statuses.is_empty()), &expect) {
            (Some(statuses), _) => statuses,
            (None, Some(expect)) => {
                let what = "`expect` is a status of 100 to 599 or a range of them, or a list: 200, \"200-299\", [200, \"202-204\"]";
                return Err(self.fault(expect, what));
            }
            (None, None) => Vec::new(),
        };
        if let Some(contains) = contains.as_ref().filter(|text| text.get_ref().len() > CONTAINS_MAX) {
            return Err(self.fault(contains, format!("`contains` is longer than {CONTAINS_MAX} bytes")));
        }
        Ok(Expected { statuses, contains: contains.map(Spanned::into_inner).unwrap_or_default() })
    }

    fn request(
        &self,
        request: Request,
        default: Method,
        key: &str,
        login: bool,
        expected: Expected,
    ) -> Result<Call, ConfigError> {
        let Request { url, method, headers, body, timeout } = request;
        let method = match method {
            None => default,
            Some(method) => match method.get_ref().parse::<Method>() {
                Ok(parsed)
                    if parsed != Method::CONNECT && *parsed.as_str() == method.get_ref().to_ascii_uppercase() =>
                {
                    parsed
                }
                _ => {
                    return Err(
                        self.fault(&method, format!("`{}` is no method: write it as in \"POST\"", method.get_ref()))
                    );
                }
            },
        };
        if let Some(body) = body.as_ref().filter(|body| body.get_ref().len() > BODY_MAX) {
            return Err(self.fault(body, format!("`{key}.body` is longer than {BODY_MAX} bytes")));
        }
        Ok(Call {
            method,
            uri: self.url(&url, key, login)?,
            headers: self.headers(headers, key, login)?,
            body: body.map(Spanned::into_inner).unwrap_or_default(),
            expected,
            timeout: self.duration(timeout, "timeout", Duration::from_secs(5), TIMEOUT)?,
        })
    }

    fn url(&self, url: &Spanned<String>, key: &str, login: bool) -> Result<Uri, ConfigError> {
        let text = url.get_ref();
        let parsed = text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some((uri, authority)) = parsed.and_then(|uri| Some((uri.clone(), uri.authority()?.clone()))) else {
            let what =
                format!("`{text}` is no address: write `{key}.url` as http://HOST:PORT/PATH or https://HOST/PATH");
            return Err(self.fault(url, what));
        };
        if authority.as_str().contains('@') {
            return Err(self
                .fault(url, "a password does not belong here: put USER:PASSWORD into a file, and name it by `login`"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if login && uri.scheme_str() == Some("http") && !here {
            let what = format!("`login` would send the password unencrypted to {host}: write https:// in `{key}.url`");
            return Err(self.fault(url, what));
        }
        Ok(uri)
    }

    fn headers(
        &self,
        headers: BTreeMap<Spanned<String>, Spanned<String>>,
        key: &str,
        login: bool,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
        if let Some((extra, _)) = headers.iter().nth(HEADERS_MAX) {
            return Err(self.fault(extra, format!("more than {HEADERS_MAX} headers in `{key}`")));
        }
        let pairs = headers.into_iter().map(|(name, value)| {
            let Ok(parsed) = name.get_ref().parse::<HeaderName>() else {
                return Err(self.fault(&name, format!("`{}` is no header's name", name.get_ref())));
            };
            if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&parsed) {
                return Err(self.fault(&name, format!("`{parsed}` is the agent's own: leave it out")));
            }
            if login && parsed == AUTHORIZATION {
                return Err(self.fault(&name, "`login` writes `authorization`: leave one of them out"));
            }
            match value.get_ref().parse::<HeaderValue>() {
                Ok(value) => Ok((parsed, value)),
                Err(_) => Err(self.fault(&value, format!("the value of `{parsed}` holds what no header may"))),
            }
        });
        pairs.collect()
    }
}

/// What start, stop and status have in common.
struct Request {
    url: Spanned<String>,
    method: Option<Spanned<String>>,
    headers: BTreeMap<Spanned<String>, Spanned<String>>,
    body: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
}
