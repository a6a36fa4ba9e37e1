//! How a pair treats its clients beside giving their requests to a side: what they are told, and what is changed on the way.
//!
//! All of it may change while requests are under way: a request follows what it finds when it asks.

use super::forwarded::ForwardedRules;
use super::notice::{Notice, Page};
use super::rewrite::Rewrite;
use bytes::Bytes;
use lockstep_policy::Sides;
use std::sync::Arc;
use std::time::Duration;

/// How a pair treats its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// What is said when no side serves; none: a sentence.
    pub unavailable: Option<Notice>,
    /// What is said during maintenance.
    pub maintenance: Option<Notice>,
    /// Requests are not given to the active side, clients are sent to it: to `http://` or `https://` and a host.
    pub redirect: Option<Sides<String>>,
    /// For whom servers are told that a request is forwarded.
    pub forwarded: ForwardedRules,
    /// Names that are replaced in answers. The first that fits is followed.
    pub rewrites: Vec<Arc<Rewrite>>,
    /// How many requests a server is given.
    pub crowd: CrowdSettings,
    /// An answer whose head comes so long after its request was sent counts as slow; none: none does.
    pub slow: Option<Duration>,
}

/// How many requests a server is given at once, and what becomes of more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrowdSettings {
    /// Requests at one server at once; none: as many as come.
    pub connections: Option<usize>,
    /// Requests that may wait for one of a pool's servers.
    pub queue_max: usize,
    /// How long.
    pub queue_timeout: Duration,
}

impl Default for CrowdSettings {
    fn default() -> Self {
        CrowdSettings { connections: None, queue_max: 1000, queue_timeout: Duration::from_secs(5) }
    }
}

impl Manner {
    /// What is said during maintenance, with a person's own words for it.
    pub(super) fn under_maintenance(&self, text: &str, retry_after: Duration) -> Notice {
        let plain = Notice { status: 503, retry_after, pages: Vec::new() };
        let mut notice = self.maintenance.clone().unwrap_or(plain);
        let words = if text.is_empty() { "the service is under maintenance" } else { text };
        if !text.is_empty() || notice.pages.is_empty() {
            let body = Bytes::from(format!("{words}\n"));
            notice.pages = vec![Page { content_type: "text/plain; charset=utf-8".to_owned(), body }];
        }
        notice
    }

    pub(super) fn rewrite(&self, path: &str) -> Option<&Arc<Rewrite>> {
        self.rewrites.iter().find(|rule| rule.is_for(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_words_count_before_the_configured_page() {
        let page = Page { content_type: "text/html".to_owned(), body: Bytes::from_static(b"<p>Back at 6") };
        let retry_after = Duration::from_secs(60);
        let notice = Notice { status: 503, retry_after, pages: vec![page.clone()] };
        let manner = Manner { maintenance: Some(notice), ..Manner::default() };
        let said = |manner: &Manner, text| manner.under_maintenance(text, retry_after).pages.remove(0).body;
        assert_eq!(said(&manner, ""), "<p>Back at 6");
        assert_eq!(said(&manner, "patch day"), "patch day\n");
        assert_eq!(said(&Manner::default(), ""), "the service is under maintenance\n");
    }
}
