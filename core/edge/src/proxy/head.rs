//! A request's head, judged as raw bytes and before pingora sees it. Touches no socket.
//!
//! Pingora takes heads of up to 1 MB, forwards HTTP/1.1 without `Host` and TRACE, takes bare line feeds for line ends, and
//! strips `Content-Length` beside `Transfer-Encoding` before anybody can refuse it. What is let through here, every server
//! reads in the same way: where two could differ, nobody is asked.

use super::answer::Answer;
use super::outline::Outline;
use httparse::{Header, Request, Status};

/// Header fields in one head.
pub(super) const FIELDS_MAX: usize = 100;

/// The largest length that is a number to everybody.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// A whole head that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length, with the empty line at its end.
    pub(super) length: usize,
    pub(super) body: Body,
}

impl Head {
    /// The length of the body, where it is known.
    pub(super) fn body_length(&self) -> Option<usize> {
        match self.body {
            Body::Length(length) => usize::try_from(length).ok(),
            Body::Chunks | Body::Unknown => None,
        }
    }
}

/// What follows a head on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes, and then the next request.
    Length(u64),
    /// Chunks, and then the next request.
    Chunks,
    /// Another protocol, if the server wants it too.
    Unknown,
}

/// Judges what has come so far: `Ok(None)` while the head is not whole. Where the parts of a whole one stand is noted.
pub(super) fn read(bytes: &[u8], outline: &mut Outline) -> Result<Option<Head>, Answer> {
    if bytes.starts_with(CLIENT_HELLO) {
        return Err(TLS);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Complete(length)) if has_bare_line_feed(&bytes[..length]) => Err(NO_HTTP),
        Ok(Status::Complete(length)) => {
            outline.note(&request, bytes);
            Ok(Some(Head { length, body: check(&request, bytes)? }))
        }
        Ok(Status::Partial) if bytes.first() == Some(&b'\n') => Err(NO_HTTP),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Answer::new(431, "the request has more than 100 header fields")),
        Err(_) => Err(NO_HTTP),
    }
}

/// The answer to a head that is longer than it may be.
pub(super) const TOO_LONG: Answer = Answer::new(431, "the request's head is too long");

/// The answer to a head that is not whole in time.
pub(super) const TOO_SLOW: Answer = Answer::new(408, "the request's head did not come in time");

/// The answer to a body that comes drop by drop.
pub(super) const TOO_SLOW_BODY: Answer = Answer::new(408, "the request's body came too slowly");

/// The answer to a body that is longer than it may be.
pub(super) const TOO_LARGE: Answer = Answer::new(413, "the request's body is larger than it may be here");

/// The answer to who speaks TLS where none is spoken.
pub(super) const TLS: Answer = Answer::new(400, "TLS was spoken, and this address speaks HTTP without TLS");

const NO_HTTP: Answer = Answer::new(400, "this is no HTTP/1.1 request");

/// A handshake record of TLS 1.x.
const CLIENT_HELLO: &[u8] = &[0x16, 0x03];

/// RFC 9112 section 2.2 lets a recipient take a bare LF for a line's end; where one does and the next does not, a request
/// is smuggled.
fn has_bare_line_feed(head: &[u8]) -> bool {
    let after_others =
        head.iter().zip(&head[1..]).fold(false, |bad, (one, next)| bad | (*next == b'\n' && *one != b'\r'));
    after_others || head.first() == Some(&b'\n')
}

fn check(request: &Request<'_, '_>, bytes: &[u8]) -> Result<Body, Answer> {
    let version_1_1 = request.version == Some(1);
    let fields = &*request.headers;
    if fields.iter().any(|field| is_disguised(field) || frames(field) && has_tab(field, bytes)) {
        return Err(Answer::new(400, "the request says in an ambiguous way how long it is"));
    }
    let mut hosts = named(fields, "host");
    let host = match (hosts.next(), hosts.next()) {
        (host, None) if host.is_some() || !version_1_1 => host,
        _ => return Err(Answer::new(400, "an HTTP/1.1 request has exactly one Host header field")),
    };
    if !host.is_none_or(is_authority) {
        return Err(Answer::new(400, "the Host header field is not a host with an optional port"));
    }
    target(request.method.unwrap_or_default(), request.path.unwrap_or_default(), host)?;
    // RFC 9110 section 10.1.1. Who expects something else waits for what will not come.
    if named(fields, "expect").any(|expects| !expects.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Answer::new(417, "the only expectation that is met is 100-continue"));
    }
    if named(fields, "connection").any(names_what_must_stay) {
        return Err(Answer::new(400, "the Connection header field names what is not hop by hop"));
    }
    let body = body(fields, version_1_1)?;
    let upgrades =
        |protocol: &[u8]| version_1_1 && named(fields, "upgrade").any(|wanted| wanted.eq_ignore_ascii_case(protocol));
    match body {
        // No other protocol is let through, and a request that asks for one is as good as any.
        Body::Length(0) if upgrades(b"websocket") => Ok(Body::Unknown),
        _ if upgrades(b"websocket") => Err(Answer::new(400, "a request for a WebSocket has no body")),
        body => Ok(body),
    }
}

/// Where the body ends (RFC 9112 section 6.3).
fn body(fields: &[Header<'_>], version_1_1: bool) -> Result<Body, Answer> {
    let length = length(fields)?;
    let mut codings = named(fields, "transfer-encoding");
    match (codings.next(), length) {
        (Some(_), Some(_)) => Err(Answer::new(400, "a request has Content-Length or Transfer-Encoding, not both")),
        (Some(_), None) if !version_1_1 => Err(Answer::new(400, "an HTTP/1.0 request has no Transfer-Encoding")),
        (Some(coding), None) if !coding.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() => {
            Err(Answer::new(501, "the only Transfer-Encoding that is served is chunked"))
        }
        (Some(_), None) => Ok(Body::Chunks),
        (None, length) => Ok(Body::Length(length.unwrap_or(0))),
    }
}

fn length(fields: &[Header<'_>]) -> Result<Option<u64>, Answer> {
    const BAD: Answer = Answer::new(400, "Content-Length is one decimal number");
    let mut lengths = named(fields, "content-length");
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() || length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let length = std::str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    length.filter(|length| *length <= LENGTH_MAX).map(Some).ok_or(BAD)
}

/// What is asked for: a path, or a whole address of the same host (RFC 9112 section 3.2).
fn target(method: &str, target: &str, host: Option<&[u8]>) -> Result<(), Answer> {
    match (method, target) {
        ("TRACE", _) => return Err(Answer::new(405, "TRACE is not served")),
        ("CONNECT", _) => return Err(Answer::new(405, "CONNECT is not served")),
        ("OPTIONS", "*") => return Err(Answer::new(405, "OPTIONS * is not served")),
        _ => {}
    }
    if target.contains('#') {
        return Err(Answer::new(400, "a request's target has no fragment"));
    }
    if target.starts_with('/') {
        return Ok(());
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else {
        return Err(Answer::new(400, "a request's target begins with /, or with http://"));
    };
    let rest = &target[scheme.len()..];
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(Answer::new(400, "the target's host is not a host with an optional port"));
    }
    if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(Answer::new(400, "the target and the Host header field name different hosts"));
    }
    Ok(())
}

/// `host`, `host:port` or `[address]:port`; empty where the target has no host (RFC 9112 section 3.2).
fn is_authority(text: &[u8]) -> bool {
    let port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    let after = |rest: &[u8]| match rest {
        [] => true,
        [b':', digits @ ..] => port(digits),
        _ => false,
    };
    if let Some(rest) = text.strip_prefix(b"[") {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let address = |byte: &u8| byte.is_ascii_alphanumeric() || b":.%-_~".contains(byte);
        return end > 0 && rest[..end].iter().all(address) && after(&rest[end + 1..]);
    }
    let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    // RFC 3986 section 3.2.2, without the comma: nobody's name has one, and lists of names do.
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte);
    text.len() <= 260 && text[..end].iter().all(name) && after(&text[end..])
}

/// A field that says where the body ends.
fn frames(field: &Header<'_>) -> bool {
    field.name.eq_ignore_ascii_case("content-length") || field.name.eq_ignore_ascii_case("transfer-encoding")
}

/// `Content_Length`: gateways to programs take `_` and `-` for the same.
fn is_disguised(field: &Header<'_>) -> bool {
    field.name.contains('_') && {
        let name = field.name.replace('_', "-");
        ["content-length", "transfer-encoding", "host"].iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// Tabs around a value are blanks to some and a part of it to others.
fn has_tab(field: &Header<'_>, bytes: &[u8]) -> bool {
    let start = (field.name.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
    let line = bytes.get(start..).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.contains(&b'\t')
}

/// What a client must not have taken out on the way to the server.
fn names_what_must_stay(options: &[u8]) -> bool {
    let stays = [
        "host",
        "content-length",
        "transfer-encoding",
        "forwarded",
        "x-forwarded-for",
        "x-real-ip",
        "cookie",
        "authorization",
    ];
    let mut options = options.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.any(|option| stays.iter().any(|name| option.eq_ignore_ascii_case(name.as_bytes())))
}

fn named<'a>(fields: &'a [Header<'a>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(bytes: &[u8]) -> Result<Option<Head>, Answer> {
        read(bytes, &mut Outline::default())
    }

    fn status(bytes: &str) -> u16 {
        judge(bytes.as_bytes()).unwrap_err().status
    }

    fn body(bytes: &str) -> Body {
        judge(bytes.as_bytes()).unwrap().unwrap().body
    }

    #[test]
    fn a_whole_head_passes_with_what_follows_it() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let two = format!("{head}GET /next");
        assert_eq!(judge(two.as_bytes()).unwrap(), Some(Head { length: head.len(), body: Body::Length(0) }));
        assert_eq!(body("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n"), Body::Length(7));
        assert_eq!(body("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"), Body::Chunks);
        assert_eq!(body("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n"), Body::Unknown);
        assert_eq!(body("GET / HTTP/1.0\r\n\r\n"), Body::Length(0));
    }

    #[test]
    fn what_clients_really_send_passes() {
        for sound in [
            "GET http://a:80/x?y HTTP/1.1\r\nHost: A:80\r\n\r\n",
            "GET https://a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: under_score.example\r\nX_Y: z\r\n\r\n",
            "GET /\u{e4}?q=[a|b] HTTP/1.1\r\nHost: a\r\nX: \u{e4}\tb\r\n\r\n",
            "OPTIONS /path HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, TE, HTTP2-Settings\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert!(judge(sound.as_bytes()).unwrap().is_some(), "{sound}");
        }
        // Java's client asks for HTTP/2 whenever it begins.
        let java = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(body(java), Body::Length(3));
    }

    #[test]
    fn half_a_head_is_waited_for() {
        assert_eq!(judge(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        assert_eq!(judge(b"").unwrap(), None);
        assert_eq!(judge(b"\r").unwrap(), None);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert_eq!(judge(b"\x16\x03\x01\x02\0\x01\0").unwrap_err(), TLS);
        assert_eq!(status("hello\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/3.0\r\n\r\n"), 400);
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 400);
    }

    #[test]
    fn a_line_ends_with_both_bytes() {
        assert_eq!(status("\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\n\n"), 400);
    }

    #[test]
    fn one_host_and_no_trace() {
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(status("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 405);
        for host in ["a, b", "u@a", "a/b", "a:b", "a:123456", "[::1", "[]", "[::1]x", "a b"] {
            assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), 400, "{host}");
        }
    }

    #[test]
    fn a_body_has_one_clear_end() {
        let with = |fields: &str| status(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        assert_eq!(with("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400);
        assert_eq!(with("Content-Length: 1\r\nContent-Length: 1"), 400);
        assert_eq!(with("Content-Length: +1"), 400);
        assert_eq!(with("Content-Length: 99999999999999999999999"), 400);
        assert_eq!(with("Transfer-Encoding: gzip, chunked"), 501);
        assert_eq!(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 501);
        assert_eq!(with("Transfer-Encoding:\tchunked"), 400);
        assert_eq!(with("Transfer_Encoding: chunked"), 400);
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn fields_are_counted() {
        let many = "a: b\r\n".repeat(FIELDS_MAX);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
    }

    #[test]
    fn fuzz_heads() {
        let seeds: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST http://a:80/x?y HTTP/1.1\r\nHost: A:80\r\nContent-Length: 7\r\nX: \xe4\tb\r\n\r\nGET /next",
            b"POST / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n",
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\nConnection: cookie\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0",
        ];
        let words: [&[u8]; 8] = [
            b"\r\n",
            b"\r\n\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Host: b\r\n",
            b"https://",
            b"\t",
            b" HTTP/1.1",
        ];
        lockstep_fuzz::run("heads", &seeds, &words, |bytes| {
            let judged = judge(bytes);
            if let Ok(Some(head)) = &judged {
                assert!(head.length <= bytes.len() && bytes[..head.length].ends_with(b"\r\n\r\n"));
                assert_eq!(judge(&bytes[..head.length]), Ok(Some(*head)), "what follows changes nothing");
                let text = bytes[..head.length].to_ascii_lowercase();
                let has = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
                assert!(!(has(b"\ncontent-length:") && has(b"\ntransfer-encoding:")), "two lengths have passed");
                assert!(!text.contains(&0) && !has(b"\n "), "a NUL, or a folded line, has passed");
                // No part of a whole head is refused: it would be, while it comes.
                for part in (0..head.length).step_by(7) {
                    assert_eq!(judge(&bytes[..part]), Ok(None), "{part} bytes");
                }
            }
            match judged {
                Ok(Some(Head { body, .. })) => {
                    lockstep_fuzz::became((std::mem::discriminant(&body), bytes.len().min(64)))
                }
                Ok(None) => lockstep_fuzz::became(bytes.iter().filter(|byte| **byte == b'\n').count().min(9)),
                Err(answer) => lockstep_fuzz::became((answer.status, answer.text)),
            }
        });
    }
}
