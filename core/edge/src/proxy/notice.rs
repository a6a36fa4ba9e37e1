//! What clients are told when no side serves them: a page, in the form that they can read. Touches no socket.

use bytes::Bytes;
use std::time::Duration;

/// The longest body of a page, in bytes.
pub const PAGE_MAX: usize = 64 * 1024;

/// A status, and what is said with it in one or several media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The status.
    pub status: u16,
    /// When it is worth another try.
    pub retry_after: Duration,
    /// What is said. The first is for who accepts any, or none of these; without one, it is a sentence in plain text.
    pub pages: Vec<Page>,
}

/// A body, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its media type, with parameters.
    pub content_type: String,
    /// At most [`PAGE_MAX`] bytes.
    pub body: Bytes,
}

impl Notice {
    /// The page that a client likes best by its `Accept` (RFC 9110 section 12.5.1).
    pub(super) fn page(&self, accept: Option<&str>) -> Option<&Page> {
        let liking = |page: &Page| accept.map_or(0, |accept| liking(accept, essence(&page.content_type)));
        let liked = self.pages.iter().map(|page| (liking(page), page));
        // Of those that are liked as much, the first.
        liked.rev().max_by_key(|(liking, _)| *liking).map(|(_, page)| page)
    }
}

/// `text/html; charset=utf-8` without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// How much a media type is liked, in thousandths; what matches most exactly says it.
fn liking(accept: &str, wanted: &str) -> u32 {
    let mut best = (0, 0);
    // Nobody's list is so long.
    for range in accept.split(',').take(32) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let exactness = match name.split_once('/') {
            Some(("*", "*")) => 1,
            Some((kind, "*")) if wanted.split('/').next().is_some_and(|of| of.eq_ignore_ascii_case(kind)) => 2,
            _ if name.eq_ignore_ascii_case(wanted) => 3,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        if exactness > best.0 {
            best = (exactness, quality.map_or(1000, thousandths));
        }
    }
    best.1
}

/// `0.5` is 500; what is no quality is the lowest.
fn thousandths(quality: &str) -> u32 {
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let digits: String = part.chars().chain("000".chars()).take(3).collect();
    match (whole, digits.parse::<u32>()) {
        ("1", _) => 1000,
        ("0", Ok(part)) => part,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_in_the_form_that_it_can_read() {
        let page = |content_type: &str| Page { content_type: content_type.to_owned(), body: Bytes::new() };
        let pages = vec![page("text/html; charset=utf-8"), page("application/xml"), page("application/json")];
        let notice = Notice { status: 503, retry_after: Duration::from_secs(5), pages };
        let told = |accept| notice.page(accept).unwrap().content_type.as_str();
        assert_eq!(told(None), "text/html; charset=utf-8");
        assert_eq!(told(Some("*/*")), "text/html; charset=utf-8");
        assert_eq!(told(Some("application/xml")), "application/xml");
        assert_eq!(told(Some("text/html;q=0.3, Application/XML;q=0.8, */*;q=0.1")), "application/xml");
        assert_eq!(told(Some("application/*;q=0.5, application/xml;q=0")), "application/json");
        assert_eq!(told(Some("image/png")), "text/html; charset=utf-8");
        assert_eq!(told(Some("text/html;q=0, */*;q=0.001")), "application/xml");
        assert!(Notice { pages: Vec::new(), ..notice }.page(None).is_none());
    }
}
