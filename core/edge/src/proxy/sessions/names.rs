//! What a request carries that names its session, and the cookie that the edge gives to who carries nothing. Touches no socket.

use super::super::respond::parameters;
use http::HeaderValue;
use http::header::{COOKIE, SET_COOKIE};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Hexadecimal digits of a cookie of the edge's own.
const DIGITS: usize = 32;

/// RFC 6265 section 4.2.1, as leniently as servers read it.
pub(super) fn cookies(request: &RequestHeader) -> impl Iterator<Item = (&str, &[u8])> {
    let fields = request.headers.get_all(COOKIE).into_iter();
    fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).filter_map(split)
}

/// A cookie's name and value, without the quotes around it.
pub(super) fn split(pair: &[u8]) -> Option<(&str, &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let name = std::str::from_utf8(pair[..at].trim_ascii()).ok()?;
    let value = pair[at + 1..].trim_ascii();
    Some((name, value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)))
}

/// A parameter of the address that is asked for: of its query, or of one of its path's segments (`/a;jsessionid=1/b`).
pub(super) fn parameter<'r>(request: &'r RequestHeader, name: &str) -> Option<Cow<'r, str>> {
    let of_query = parameters(request.uri.query().unwrap_or_default()).find(|(of, _)| of == name);
    of_query.map(|(_, value)| value).or_else(|| {
        let mut of_path = request.uri.path().split('/').flat_map(|segment| segment.split(';').skip(1));
        of_path
            .find_map(|pair| pair.split_once('=').filter(|(of, _)| *of == name))
            .map(|(_, value)| Cow::Borrowed(value))
    })
}

/// The value of a cookie of the edge's own: it says nothing, and names nothing but a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value(u128);

impl Value {
    /// Values of clients that were never here are taken as well: they choose no more than which session is theirs.
    pub(super) fn made() -> Value {
        Value(fastrand::u128(..))
    }

    /// What the client was given; none, where it shows something that the edge never gives.
    pub(super) fn shown(request: &RequestHeader, name: &str) -> Option<Value> {
        cookies(request).filter(|(of, _)| *of == name).find_map(|(_, value)| Value::read(value))
    }

    fn read(text: &[u8]) -> Option<Value> {
        let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let text =
            std::str::from_utf8(text).ok().filter(|text| text.len() == DIGITS && text.bytes().all(|b| digit(&b)));
        u128::from_str_radix(text?, 16).ok().map(Value)
    }

    pub(super) fn text(self) -> String {
        format!("{:0DIGITS$x}", self.0)
    }

    /// Has the client keep it. Scripts do not see it, and other sites' forms do not send it.
    pub(super) fn give(self, name: &str, by_tls: bool, answer: &mut ResponseHeader) -> Result<()> {
        let secure = if by_tls { "; Secure" } else { "" };
        let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}", self.text());
        answer.append_header(SET_COOKIE, cookie).map(|_| ())
    }
}

/// Takes the edge's own cookie out of a request: servers have nothing to do with it.
pub(super) fn take_out(request: &mut RequestHeader, name: &str) -> Result<()> {
    if !cookies(request).any(|(of, _)| of == name) {
        return Ok(());
    }
    let stays = |pair: &&[u8]| split(pair).is_none_or(|(of, _)| of != name);
    let without = |field: &HeaderValue| {
        let pairs = field.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        pairs.filter(stays).filter(|pair| !pair.is_empty()).collect::<Vec<_>>().join(&b"; "[..])
    };
    let fields: Vec<Vec<u8>> = request.headers.get_all(COOKIE).iter().map(without).collect();
    request.remove_header(&COOKIE);
    for field in fields.into_iter().filter(|field| !field.is_empty()) {
        request.append_header(COOKIE, field)?;
    }
    Ok(())
}

/// What people are shown of a text that a client chose.
pub(super) fn for_people(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for character in text.chars().filter(|character| !character.is_control()).take(most) {
        // Writing into a text cannot fail.
        let _ = shown.write_char(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cookies: &[&str], path: &str) -> RequestHeader {
        let mut request = RequestHeader::build("GET", path.as_bytes(), None).unwrap();
        for cookie in cookies {
            request.append_header(COOKIE, *cookie).unwrap();
        }
        request
    }

    #[test]
    fn a_parameter_stands_in_the_query_or_in_the_path() {
        let found = |path: &str| parameter(&request(&[], path), "sid").map(Cow::into_owned);
        assert_eq!(found("/a?x=1&sid=7%20b").as_deref(), Some("7 b"));
        assert_eq!(found("/a;sid=7;v=1/b").as_deref(), Some("7"));
        assert_eq!(found("/a;v=1;sid=7.node?y=2").as_deref(), Some("7.node"));
        assert_eq!(found("/a;sid=7?sid=8").as_deref(), Some("8"), "the query counts first");
        for none in ["/a", "/a?SID=7", "/sid=7", "/a;xsid=7", "/a?x=sid", "/a;sid"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn what_the_edge_never_gives_is_no_cookie_of_its_own() {
        let good = Value(0xabc);
        let shown = |value: &str| Value::shown(&request(&[&format!("a=b; own={value}")], "/"), "own");
        assert_eq!(shown(&good.text()), Some(good));
        assert_eq!(shown(&format!("\"{}\"", good.text())), Some(good));
        let upper = good.text().to_uppercase();
        let long = format!("{}0", good.text());
        for foreign in ["", "abc", &upper, &long, &"g".repeat(DIGITS), "+0000000000000000000000000000abc", "ä"] {
            assert_eq!(shown(foreign), None, "{foreign}");
        }
        let two = request(&["own=abc", &format!("own={}", good.text())], "/");
        assert_eq!(Value::shown(&two, "own"), Some(good), "the first that is sound");
    }

    #[test]
    fn servers_do_not_see_the_edges_cookie_and_see_all_others_as_they_were() {
        let fields = |cookies: &[&str]| {
            let mut request = request(cookies, "/");
            take_out(&mut request, "own").unwrap();
            let values = request.headers.get_all(COOKIE).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(fields(&["a=1; own=x; b=\"c d\"; bare"]), ["a=1; b=\"c d\"; bare"]);
        assert_eq!(fields(&["own=x", "a=1", "own = y; own=z"]), ["a=1"]);
        assert_eq!(fields(&["a=1;own2=x ;Own=y"]), ["a=1;own2=x ;Own=y"], "untouched where there is none");
        assert!(fields(&["own=x"]).is_empty());
    }

    #[test]
    fn the_cookie_is_for_the_browser_only() {
        let given = |by_tls| {
            let mut answer = ResponseHeader::build(200, None).unwrap();
            Value(1).give("own", by_tls, &mut answer).unwrap();
            answer.headers[SET_COOKIE].to_str().unwrap().to_owned()
        };
        assert_eq!(given(false), "own=00000000000000000000000000000001; Path=/; HttpOnly; SameSite=Lax");
        assert!(given(true).ends_with("; SameSite=Lax; Secure"));
    }

    #[test]
    fn fuzz_names() {
        let seeds: [&[u8]; 4] = [
            b"/a;sid=7?sid=%41&x=1\na=1; own=00000000000000000000000000000abc; b=\"c d\"",
            b"/\nown=x;own=y",
            b"/?sid=\n=; =a;;",
            b"*\nown",
        ];
        lockstep_fuzz::run("session_names", &seeds, &[b"own=", b";", b"sid=", b"%"], |bytes| {
            let (path, cookie) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
            let (Ok(mut request), Ok(cookie)) =
                (RequestHeader::build("GET", path, None), HeaderValue::from_bytes(cookie.trim_ascii()))
            else {
                return 0;
            };
            request.append_header(COOKIE, cookie).unwrap();
            let found = parameter(&request, "sid").map(|value| value.len().min(9));
            let shown = Value::shown(&request, "own");
            let others = |request: &RequestHeader| -> Vec<Vec<u8>> {
                cookies(request)
                    .filter(|(name, _)| *name != "own")
                    .map(|(name, value)| [name.as_bytes(), value].concat())
                    .collect()
            };
            let before = others(&request);
            take_out(&mut request, "own").unwrap();
            assert!(others(&request) == before && !cookies(&request).any(|(name, _)| name == "own"));
            lockstep_fuzz::became((found, shown.is_some(), before.len().min(9)))
        });
    }
}
