//! What an answer means.

use lockstep_policy::action::HttpProbe;
use lockstep_policy::event::{Fact, Verdict};
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// The most of an answer's head or body that is read.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// The most that a policy is told of an answer, or as a fact, in bytes.
const DETAIL_MAX: usize = 256;

/// What one probe has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub verdict: Verdict,
    pub status: u16,
    pub detail: String,
    pub facts: Vec<Fact>,
    pub latency: Duration,
    /// Nothing was found: this machine could not even ask. It says nothing about the side.
    pub unasked: bool,
}

impl Finding {
    pub fn new(verdict: Verdict, status: u16, detail: impl Into<String>) -> Finding {
        Finding { verdict, status, detail: detail.into(), facts: Vec::new(), latency: Duration::ZERO, unasked: false }
    }

    pub fn good(status: u16, detail: impl Into<String>) -> Finding {
        Finding::new(Verdict::Good, status, detail)
    }
}

pub(super) fn status_is_good(http: &HttpProbe, status: u16) -> bool {
    if http.status == 0 { (200..300).contains(&status) } else { status == http.status }
}

pub(super) fn body(http: &HttpProbe, status: u16, text: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    if text.starts_with(&http.body) {
        Finding::good(status, text)
    } else if text.is_empty() {
        Finding::new(Verdict::Wrong, status, "an empty body")
    } else {
        Finding::new(Verdict::Wrong, status, text)
    }
}

/// A connection that could not be made, or broke. Only the other end's own refusal is one.
pub(super) fn broken(error: &io::Error) -> Finding {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let refused =
        matches!(error.kind(), ConnectionRefused | ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof);
    let verdict = if refused { Verdict::Refused } else { Verdict::Silent };
    // No descriptor, no port, no memory.
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    let unasked = Errno::from_io_error(error).is_some_and(|error| own.contains(&error));
    Finding { unasked, ..Finding::new(verdict, 0, error.to_string()) }
}

pub(super) fn not_http(error: &hyper::Error) -> Finding {
    if error.is_parse() || error.is_parse_too_large() {
        return Finding::new(Verdict::Wrong, 0, format!("not an HTTP answer: {error}"));
    }
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return broken(io);
        }
        source = inner.source();
    }
    // Closed before, or within, the answer.
    Finding::new(Verdict::Refused, 0, error.to_string())
}

/// A text's first bytes, on a character's border, without what does not print.
pub(super) fn bounded(text: &str) -> String {
    let end = (0..=DETAIL_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_this_machine_is_no_fault_of_the_side() {
        assert!(broken(&Errno::MFILE.into()).unasked);
        assert!(!broken(&Errno::CONNREFUSED.into()).unasked);
        assert!(!broken(&Errno::HOSTUNREACH.into()).unasked);
    }
}
