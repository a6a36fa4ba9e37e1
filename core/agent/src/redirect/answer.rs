//! What a listener answers by itself: where the client finds who serves, or that nobody does.

use super::body::Body;
use crate::config::Origin;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, RETRY_AFTER};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Uri};

/// When who got 503 should ask again, in seconds.
const RETRY: HeaderValue = HeaderValue::from_static("2");

/// Of a request what is needed to send it elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
}

impl Asked {
    pub(super) fn new(head: &Parts) -> Asked {
        Asked { method: head.method.clone(), uri: head.uri.clone(), host: head.headers.get(HOST).cloned() }
    }

    /// Whether the request was sent to that very origin: a redirect to it would lead here again, and again.
    pub(super) fn is_for(&self, origin: &Origin) -> bool {
        let host = || self.host.as_ref()?.to_str().ok()?.parse().ok();
        let Some(asked) = self.uri.authority().cloned().or_else(host) else { return false };
        asked.host().eq_ignore_ascii_case(origin.authority.host())
            && asked.port_u16().map_or_else(|| origin.is_at_its_own_port(), |port| port == origin.port())
    }

    /// Of `*` and of an authority alone there is no path that could be kept.
    fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/')).unwrap_or("/")
    }
}

/// Sends the client to another origin; path and query stay as they are.
pub(super) fn redirect(asked: &Asked, to: &Origin, status: StatusCode) -> Response<Body> {
    if asked.is_for(to) {
        let text = "This node is not active, and the address that leads to the active one has led here. Whoever has set \
                    it up: the edge's `servers` must name the application's own port, and not a [[redirect]] of an agent.\n";
        return unavailable(text);
    }
    // Only these two are repeated as they are by clients that are told 302.
    let keeps_method = matches!(asked.method, Method::GET | Method::HEAD);
    let status = if keeps_method { status } else { StatusCode::TEMPORARY_REDIRECT };
    let location = format!("{}://{}{}", to.scheme, to.authority, asked.path_and_query());
    let Ok(value) = HeaderValue::try_from(&location) else {
        return text(StatusCode::BAD_REQUEST, "This address cannot be repeated.\n");
    };
    let mut answer = text(status, &format!("This node is not active: {location}\n"));
    answer.headers_mut().insert(LOCATION, value);
    answer
}

/// Nobody is known to serve.
pub(super) fn unavailable(why: &str) -> Response<Body> {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, RETRY);
    answer
}

/// A sentence that no cache keeps.
pub(super) fn text(status: StatusCode, sentence: &str) -> Response<Body> {
    let mut answer = Response::new(Body::own(sentence.to_owned()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// A request that is not understood, or not meant for a server like this; its connection ends.
pub(super) fn refuse(status: StatusCode, sentence: &str) -> Response<Body> {
    let mut answer = text(status, sentence);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http::uri::Scheme;

    fn origin(scheme: Scheme, authority: &str) -> Origin {
        Origin { scheme, authority: authority.parse().unwrap() }
    }

    fn asked(method: &str, uri: &str, host: &str) -> Asked {
        Asked::new(&Request::builder().method(method).uri(uri).header("host", host).body(()).unwrap().into_parts().0)
    }

    fn sent_to(method: &str, uri: &str, status: StatusCode) -> (u16, String) {
        let answer = redirect(&asked(method, uri, "b"), &origin(Scheme::HTTPS, "vip:8443"), status);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap().to_owned())
    }

    #[test]
    fn path_and_query_are_kept() {
        let kept = |uri| sent_to("GET", uri, StatusCode::TEMPORARY_REDIRECT).1;
        assert_eq!(kept("/a/b.aspx?x=1&y=%20z"), "https://vip:8443/a/b.aspx?x=1&y=%20z");
        assert_eq!(kept("/"), "https://vip:8443/");
        assert_eq!(kept("http://elsewhere/a?b"), "https://vip:8443/a?b");
        assert_eq!(kept("//evil.example/a"), "https://vip:8443//evil.example/a");
        assert_eq!(kept("*"), "https://vip:8443/");
    }

    #[test]
    fn methods_are_kept_also_by_302() {
        assert_eq!(sent_to("POST", "/", StatusCode::TEMPORARY_REDIRECT).0, 307);
        assert_eq!(sent_to("GET", "/", StatusCode::FOUND).0, 302);
        assert_eq!(sent_to("HEAD", "/", StatusCode::FOUND).0, 302);
        assert_eq!(sent_to("POST", "/", StatusCode::FOUND).0, 307);
    }

    #[test]
    fn nobody_is_sent_to_where_he_comes_from() {
        let vip = origin(Scheme::HTTP, "vip");
        let status = |host| redirect(&asked("GET", "/", host), &vip, StatusCode::TEMPORARY_REDIRECT).status().as_u16();
        assert_eq!((status("vip"), status("VIP:80"), status("vip:8080"), status("b")), (503, 503, 307, 307));
        let other = origin(Scheme::HTTPS, "vip:8443");
        assert!(asked("GET", "/", "vip:8443").is_for(&other));
        assert!(!asked("GET", "/", "vip").is_for(&other));
    }
}
