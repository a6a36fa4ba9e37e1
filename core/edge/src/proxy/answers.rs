//! What the edge itself says to balancers and monitors: the policy's answers, of which the first that fits is given.

use super::respond::parameters;
use arc_swap::ArcSwap;
use http::header::{HeaderName, HeaderValue};
use httparse::{EMPTY_HEADER, Request};
use lockstep_policy::Sides;
use lockstep_policy::action::{self, When};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers of one pair.
const ANSWERS: usize = 256;

/// The longest path, query and host of an answer, in bytes.
const TEXT: usize = 1024;

/// The longest body of an answer, in bytes.
const BODY: usize = 64 * 1024;

/// The answers of one pair. They are replaced as a whole: a request sees those of one moment.
#[derive(Debug, Default)]
pub(super) struct Answers {
    rules: ArcSwap<BTreeMap<u32, Arc<Rule>>>,
    writer: Mutex<()>,
}

#[derive(Debug)]
struct Rule {
    path: String,
    query: Vec<(String, String)>,
    /// In lower case; empty: any.
    host: String,
    when: When,
    reply: Reply,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    status: http::StatusCode,
    content_type: String,
    body: String,
    allow: bool,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    path: String,
    query: String,
    /// In lower case, without a port.
    host: String,
    pub(super) is_head: bool,
}

impl Answers {
    /// Adds an answer, or replaces the one of its number.
    pub(super) fn set(&self, answer: &action::Answer) -> Result<(), String> {
        let rule = Arc::new(Rule::read(answer)?);
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rules = BTreeMap::clone(&self.rules.load());
        if rules.len() >= ANSWERS && !rules.contains_key(&answer.rule) {
            return Err(format!("a pair gives at most {ANSWERS} answers"));
        }
        rules.insert(answer.rule, rule);
        self.rules.store(Arc::new(rules));
        Ok(())
    }

    pub(super) fn forget(&self, rule: u32) {
        let _one_at_a_time = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.rules.load().contains_key(&rule) {
            let mut rules = BTreeMap::clone(&self.rules.load());
            rules.remove(&rule);
            self.rules.store(Arc::new(rules));
        }
    }

    /// The answer of the lowest number that fits. `served` is one look at the route for all rules: between two looks it
    /// may change, and neither what is said while a side is served nor what is said while it is not would fit.
    pub(super) fn answer(&self, asked: &Asked, served: Sides<bool>) -> Option<Reply> {
        let rules = self.rules.load();
        let fitting = rules.values().find(|rule| rule.fits(asked) && rule.applies(served));
        fitting.map(|rule| rule.reply.clone())
    }
}

impl Rule {
    fn read(answer: &action::Answer) -> Result<Rule, String> {
        let action::Answer { path, query, host, when, status, content_type, body, .. } = answer;
        let number = answer.rule;
        let refuse = |what: &str| Err(format!("answer {number}: {what}"));
        let plain = |text: &str| text.len() <= TEXT && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || !plain(path) || path.contains(['?', '#']) {
            return refuse("its path is not an absolute path of at most 1024 bytes");
        }
        if !plain(query) || !plain(host) {
            return refuse("its query or host has more than 1024 bytes, or bytes that no request can have");
        }
        if host.contains('/') || without_port(host) != *host {
            return refuse("its host is a name or an address, without a port");
        }
        if content_type.len() > TEXT || HeaderValue::from_str(content_type).is_err() {
            return refuse("its media type is not one line of at most 1024 bytes");
        }
        if body.len() > BODY {
            return refuse("its body has more than 64 KiB");
        }
        let Some(status) = http::StatusCode::from_u16(*status).ok().filter(|s| (200..600).contains(&s.as_u16())) else {
            return refuse("its status is none of 200 to 599");
        };
        let owned = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), value.into_owned())
        };
        Ok(Rule {
            path: path.clone(),
            query: parameters(query).map(owned).collect(),
            host: host.to_ascii_lowercase(),
            when: *when,
            reply: Reply { status, content_type: content_type.clone(), body: body.clone(), allow: false },
        })
    }

    fn fits(&self, asked: &Asked) -> bool {
        let has = |(name, value): &(String, String)| {
            parameters(&asked.query).any(|(of, given)| of == name.as_str() && given == value.as_str())
        };
        self.path == asked.path && (self.host.is_empty() || self.host == asked.host) && self.query.iter().all(has)
    }

    fn applies(&self, served: Sides<bool>) -> bool {
        match self.when {
            When::Always => true,
            When::Serves(side) => served[side],
            When::ServesNot(side) => !served[side],
        }
    }
}

impl Asked {
    /// Reads a head that was judged to be sound, and whether the client wants to ask more on its connection.
    pub(super) fn read(bytes: &[u8]) -> Result<(Asked, bool), Reply> {
        let mut fields = [EMPTY_HEADER; super::head::FIELDS_MAX];
        let mut request = Request::new(&mut fields);
        let (Ok(_), Some(method), Some(target)) = (request.parse(bytes), request.method, request.path) else {
            return Err(Reply::of(400, "this is no HTTP/1.1 request\n"));
        };
        let is_head = method == "HEAD";
        if !is_head && method != "GET" {
            return Err(Reply { allow: true, ..Reply::of(405, "only GET and HEAD are answered here\n") });
        }
        let Ok(uri) = target.parse::<http::Uri>() else { return Err(Reply::of(400, "this is no request target\n")) };
        let field = |name: HeaderName| {
            let named = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_str()));
            named.map(|field| String::from_utf8_lossy(field.value).trim().to_ascii_lowercase())
        };
        // RFC 9112 section 3.2.2: what an absolute target names counts before the Host field.
        let host = uri.host().map(str::to_ascii_lowercase).or_else(|| field(http::header::HOST)).unwrap_or_default();
        let connection = field(http::header::CONNECTION).unwrap_or_default();
        let says = |token: &str| connection.split(',').any(|part| part.trim() == token);
        let lasting = if request.version == Some(1) { !says("close") } else { says("keep-alive") };
        let asked = Asked {
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            host: without_port(&host).to_owned(),
            is_head,
        };
        Ok((asked, lasting))
    }
}

/// `name:80` and `[::1]:80` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => {
            // An IPv6 address without brackets is no name with a port.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

impl Reply {
    fn of(status: u16, body: &str) -> Reply {
        let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        Reply { status, content_type: "text/plain; charset=utf-8".to_owned(), body: body.to_owned(), allow: false }
    }

    /// It lists nothing: what is not asked for by its name is nobody's business.
    pub(super) fn not_found() -> Reply {
        Reply::of(404, "there is no answer to this\n")
    }

    pub(super) fn to_wire(&self, is_head: bool, goes_on: bool) -> Vec<u8> {
        let Reply { status, content_type, body, allow } = self;
        let content_type =
            if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        let allow = if *allow { "Allow: GET, HEAD\r\n" } else { "" };
        let connection = if goes_on { "keep-alive" } else { "close" };
        // RFC 9110 section 8.6: these statuses have no body, and say no length of one.
        let bodiless = matches!(status.as_u16(), 204 | 304);
        let length = if bodiless { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!(
            "HTTP/1.1 {status}\r\n{content_type}{length}Cache-Control: no-store\r\n{allow}Connection: {connection}\r\n\r\n"
        );
        let mut wire = head.into_bytes();
        if !is_head && !bodiless {
            wire.extend_from_slice(body.as_bytes());
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::Side;

    fn answer(rule: u32, path: &str, query: &str, host: &str, when: When, body: &str) -> action::Answer {
        action::Answer {
            rule,
            path: path.to_owned(),
            query: query.to_owned(),
            host: host.to_owned(),
            when,
            status: 200,
            content_type: "text/plain".to_owned(),
            body: body.to_owned(),
        }
    }

    fn asked(target: &str, host: &str) -> Asked {
        Asked::read(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap().0
    }

    fn said(answers: &Answers, target: &str, host: &str, serving: Option<Side>) -> String {
        let answer = answers.answer(&asked(target, host), Sides::from_fn(|side| serving == Some(side)));
        answer.map_or_else(String::new, |reply| reply.body)
    }

    #[test]
    fn the_lowest_number_that_fits_is_given() {
        let answers = Answers::default();
        let page = "/IPSCFG/admin/monitor.aspx";
        answers.set(&answer(9, page, "", "", When::Always, "any")).unwrap();
        answers.set(&answer(3, page, "mod=FT&side=a", "", When::Serves(Side::A), "ACTIVE")).unwrap();
        answers.set(&answer(4, page, "mod=FT&side=a", "", When::ServesNot(Side::A), "STANDBY")).unwrap();
        answers.set(&answer(2, page, "", "node-b", When::Always, "b")).unwrap();
        let ft = format!("{page}?x=1&side=a&mod=FT");
        assert_eq!(said(&answers, &ft, "pair:80", Some(Side::A)), "ACTIVE");
        assert_eq!(said(&answers, &ft, "pair:80", Some(Side::B)), "STANDBY");
        assert_eq!(said(&answers, &ft, "pair:80", None), "STANDBY");
        assert_eq!(said(&answers, &format!("{page}?mod=FT"), "pair", None), "any");
        assert_eq!(said(&answers, page, "NODE-B:8080", None), "b");
        assert_eq!(said(&answers, "/ipscfg/admin/monitor.aspx", "pair", None), "");
        answers.forget(2);
        answers.forget(77);
        assert_eq!(said(&answers, page, "node-b", None), "any");
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let answers = Answers::default();
        let good = answer(1, "/a", "", "", When::Always, "good");
        for bad in [
            action::Answer { path: "a".to_owned(), ..good.clone() },
            action::Answer { path: "/a?b".to_owned(), ..good.clone() },
            action::Answer { path: format!("/{}", "a".repeat(TEXT)), ..good.clone() },
            action::Answer { query: "a b".to_owned(), ..good.clone() },
            action::Answer { host: "name:80".to_owned(), ..good.clone() },
            action::Answer { status: 101, ..good.clone() },
            action::Answer { status: 600, ..good.clone() },
            action::Answer { content_type: "a\r\nb: c".to_owned(), ..good.clone() },
            action::Answer { body: "x".repeat(BODY + 1), ..good.clone() },
        ] {
            assert!(answers.set(&bad).is_err(), "{bad:?}");
        }
        for rule in 0..256 {
            answers.set(&action::Answer { rule, ..good.clone() }).unwrap();
        }
        assert!(answers.set(&action::Answer { rule: 256, ..good.clone() }).is_err());
        assert!(answers.set(&action::Answer { rule: 255, ..good }).is_ok(), "one may be replaced");
    }

    #[test]
    fn a_request_is_read_as_it_stands() {
        assert_eq!(asked("/p?q=1", "Name:80").host, "name");
        assert_eq!(asked("http://Other:81/p?q=1", "name").host, "other");
        assert_eq!(asked("/", "[::1]:80").host, "[::1]");
        assert_eq!(asked("/", "::1").host, "::1");
        let lasting = |head: &str| Asked::read(head.as_bytes()).unwrap().1;
        assert!(lasting("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!lasting("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(!lasting("GET / HTTP/1.0\r\n\r\n"));
        let post = Asked::read(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err();
        assert_eq!((post.status.as_u16(), post.allow), (405, true));
    }
}
