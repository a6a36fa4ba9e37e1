//! Names in answers that are replaced: a server that tells clients its own name would lead them past the VIP. Touches no socket.
//!
//! A body is kept until it is whole, up to a bound, and only where a rule asks for it. What is larger, or coded, passes as it
//! is and is counted.

use super::request::{AnswerHead, Edit};
use bytes::{Bytes, BytesMut};
use pingora_core::Result;
use std::sync::Arc;

/// Where, and by what, names in answers are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The path, without the query.
    pub path: String,
    /// Paths that only begin so are meant too.
    pub is_prefix: bool,
    /// Media types without parameters, in lower case; none: any.
    pub content_types: Vec<String>,
    /// What is replaced, and by what. Where several fit at a place, the longest is taken.
    pub replace: Vec<(String, String)>,
    /// A larger body passes as it is.
    pub max_bytes: usize,
}

/// An answer's body that is being kept to be rewritten.
#[derive(Debug)]
pub(super) struct Rewriting {
    rule: Arc<Rewrite>,
    kept: BytesMut,
    /// It was larger than it may be, and passes.
    passes: bool,
}

impl Rewrite {
    pub(super) fn is_for(&self, path: &str) -> bool {
        if self.is_prefix { path.starts_with(&self.path) } else { path == self.path }
    }

    /// A server shall answer with the whole body, as it is.
    pub(super) fn ask_plainly(&self, request: &mut impl Edit) -> Result<()> {
        request.take_out(|name| among(name, &["range", "if-range"]));
        request.put("accept-encoding", "identity")
    }

    /// Begins with an answer. None: it is not for this rule; an error: it is, and must pass as it is.
    pub(super) fn begin(self: &Arc<Self>, answer: &mut impl AnswerHead) -> Option<Result<Rewriting, ()>> {
        let content_type = std::str::from_utf8(answer.value("content-type")).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !self.content_types.is_empty() && !self.content_types.iter().any(|known| known.eq_ignore_ascii_case(essence))
        {
            return None;
        }
        let coded =
            answer.all("content-encoding").next().is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let length = std::str::from_utf8(answer.value("content-length")).ok().and_then(|length| length.parse().ok());
        if coded || answer.status() == 206 || length.is_some_and(|length: usize| length > self.max_bytes) {
            return Some(Err(()));
        }
        weaken(answer);
        // How long it will be is known when it is whole; the head goes before that.
        answer.take_out(|name| among(name, &["content-length", "transfer-encoding", "accept-ranges"]));
        Some(Ok(Rewriting { rule: Arc::clone(self), kept: BytesMut::new(), passes: false }))
    }

    fn replaced(&self, body: &[u8]) -> Vec<u8> {
        let mut written = Vec::with_capacity(body.len());
        let mut at = 0;
        while at < body.len() {
            let rest = &body[at..];
            let fitting = self.replace.iter().filter(|(what, _)| !what.is_empty() && rest.starts_with(what.as_bytes()));
            match fitting.max_by_key(|(what, _)| what.len()) {
                Some((what, by)) if stands_alone(body, at, what.len()) => {
                    written.extend_from_slice(by.as_bytes());
                    at += what.len();
                }
                _ => {
                    written.push(body[at]);
                    at += 1;
                }
            }
        }
        written
    }
}

/// `node-a` is not replaced in `node-a2` or `my-node-a`, and is in `https://node-a:8445`.
fn stands_alone(body: &[u8], at: usize, length: usize) -> bool {
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_';
    let before = at.checked_sub(1).and_then(|before| body.get(before));
    let starts_with_name = body.get(at).is_some_and(of_name);
    let ends_with_name = body.get(at + length - 1).is_some_and(of_name);
    let is_inside =
        starts_with_name && before.is_some_and(of_name) || ends_with_name && body.get(at + length).is_some_and(of_name);
    !is_inside
}

/// Two bodies that differ by their names only are not the same bytes any more (RFC 9110 section 8.8.1).
fn weaken(answer: &mut impl AnswerHead) {
    let Some(tag) = answer.all("etag").next().filter(|tag| !tag.starts_with(b"W/")) else { return };
    let weak = [b"W/", tag].concat();
    // A tag's bytes are a value's bytes.
    let _ = answer.put("etag", weak);
}

fn among(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

impl Rewriting {
    /// Takes a part of the body, and leaves what may go now. True: it was too large, and passes as it is.
    pub(super) fn take(&mut self, part: &mut Option<Bytes>, end: bool) -> bool {
        if self.passes {
            return false;
        }
        if let Some(bytes) = part.take() {
            self.kept.extend_from_slice(&bytes);
        }
        if self.kept.len() > self.rule.max_bytes {
            self.passes = true;
            *part = Some(std::mem::take(&mut self.kept).freeze());
            return true;
        }
        if end {
            *part = Some(Bytes::from(self.rule.replaced(&std::mem::take(&mut self.kept))));
            self.passes = true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_http::{RequestHeader, ResponseHeader};

    fn rule(replace: &[(&str, &str)]) -> Arc<Rewrite> {
        Arc::new(Rewrite {
            path: "/finesse/api/SystemInfo".to_owned(),
            is_prefix: false,
            content_types: vec!["application/xml".to_owned()],
            replace: replace.iter().map(|(what, by)| ((*what).to_owned(), (*by).to_owned())).collect(),
            max_bytes: 100,
        })
    }

    fn answer(fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            answer.insert_header(*name, *value).unwrap();
        }
        answer
    }

    #[test]
    fn names_are_replaced_where_they_stand_alone() {
        let rule = rule(&[("node-a", "vip"), ("node-a.example", "vip.example"), ("10.0.0.1", "10.0.0.9")]);
        let replaced = |body: &str| String::from_utf8(rule.replaced(body.as_bytes())).unwrap();
        assert_eq!(replaced("<host>node-a.example</host>"), "<host>vip.example</host>");
        assert_eq!(replaced("https://node-a:8445, node-a"), "https://vip:8445, vip");
        assert_eq!(replaced("node-a2 my-node-a node-a_x"), "node-a2 my-node-a node-a_x");
        assert_eq!(replaced("10.0.0.1 10.0.0.11 110.0.0.1"), "10.0.0.9 10.0.0.11 110.0.0.1");
        assert_eq!(replaced(""), "");
    }

    #[test]
    fn desktops_are_led_to_the_vip_by_a_system_info() {
        let nodes = ["finesse-a.example", "finesse-b.example"];
        // The XMPP domain is no address: it must stay what the server calls itself.
        let hosts = nodes.map(|node| format!("<host>{node}</host>"));
        let rule = rule(&[0, 1].map(|node: usize| (hosts[node].as_str(), "<host>finesse.example</host>")));
        let info = "<SystemInfo>\n  <primaryNode>\n    <host>finesse-a.example</host>\n    <httpsPort>8445</httpsPort>\n  \
                    </primaryNode>\n  <secondaryNode>\n    <host>finesse-b.example</host>\n  </secondaryNode>\n  \
                    <status>IN_SERVICE</status>\n  <xmppDomain>finesse-a.example</xmppDomain>\n</SystemInfo>";
        let told = String::from_utf8(rule.replaced(info.as_bytes())).unwrap();
        assert_eq!(told.matches("<host>finesse.example</host>").count(), 2);
        assert!(told.contains("<xmppDomain>finesse-a.example</xmppDomain>"), "{told}");
    }

    #[test]
    fn a_body_is_kept_until_it_is_whole() {
        let rule = rule(&[("node-a", "the-vip")]);
        let mut answer =
            answer(&[("content-type", "Application/XML; charset=utf-8"), ("content-length", "7"), ("etag", "\"1\"")]);
        let mut rewriting = rule.begin(&mut answer).unwrap().unwrap();
        assert!(!answer.headers.contains_key("content-length"));
        assert_eq!(answer.headers["etag"], "W/\"1\"");
        let mut part = Some(Bytes::from_static(b"x nod"));
        assert!(!rewriting.take(&mut part, false));
        assert_eq!(part, None);
        let mut part = Some(Bytes::from_static(b"e-a y"));
        assert!(!rewriting.take(&mut part, true));
        assert_eq!(part.unwrap(), "x the-vip y");
    }

    #[test]
    fn what_is_too_large_or_coded_passes_as_it_is() {
        let rule = rule(&[("node-a", "vip")]);
        let begin = |fields: &[(&'static str, &str)]| rule.begin(&mut answer(fields)).map(|begun| begun.is_ok());
        assert_eq!(begin(&[("content-type", "application/xml"), ("content-length", "101")]), Some(false));
        assert_eq!(begin(&[("content-type", "application/xml"), ("content-encoding", "gzip")]), Some(false));
        assert_eq!(begin(&[("content-type", "application/xml")]), Some(true));
        assert_eq!(begin(&[("content-type", "image/png")]), None);
        let mut answer = answer(&[("content-type", "application/xml")]);
        let mut rewriting = rule.begin(&mut answer).unwrap().unwrap();
        let mut part = Some(Bytes::from("node-a".repeat(20)));
        assert!(rewriting.take(&mut part, false), "it is told once");
        assert_eq!(part.take().unwrap(), "node-a".repeat(20));
        let mut last = Some(Bytes::from_static(b"node-a"));
        assert!(!rewriting.take(&mut last, true));
        assert_eq!(last.unwrap(), "node-a");
    }

    #[test]
    fn a_server_is_asked_for_what_can_be_rewritten() {
        let rule = rule(&[]);
        assert!(rule.is_for("/finesse/api/SystemInfo") && !rule.is_for("/finesse/api/SystemInfo/x"));
        let prefix = Rewrite { is_prefix: true, ..Rewrite::clone(&rule) };
        assert!(prefix.is_for("/finesse/api/SystemInfo/x") && !prefix.is_for("/other"));
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header("accept-encoding", "gzip").unwrap();
        request.insert_header("range", "bytes=0-1").unwrap();
        rule.ask_plainly(&mut request).unwrap();
        assert_eq!(request.headers["accept-encoding"], "identity");
        assert!(!request.headers.contains_key("range"));
    }
}
