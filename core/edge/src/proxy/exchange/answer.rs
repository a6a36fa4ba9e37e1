//! The head of a server's answer: where it ends, what follows it, and what the client is told. Touches no socket.

use crate::proxy::outline::{FIELDS_MAX, Line, Lines, Span};
use crate::proxy::request::{AnswerHead, Edit, Fields};
use http::{HeaderName, HeaderValue, Method, Version};
use httparse::{Header, ParserConfig, Response, Status};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::mem::MaybeUninit;

/// As many fields as most answers have.
const FIELDS_HINT: usize = 16;

/// How a head begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Of the head, with the empty line at its end, in bytes.
    pub(super) length: usize,
    status: u16,
    version: Version,
    reason: Span,
    /// A value stands on several lines.
    is_folded: bool,
}

/// Where an answer's body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// There is none.
    Nothing,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunks,
    /// With the connection; of HTTP/2, with the stream.
    Close,
}

/// Reads a head: `None` while it is not whole. Its fields are noted.
pub(super) fn read(bytes: &[u8], lines: &mut Vec<Line>) -> Result<Option<Start>> {
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    match parse(&config, bytes, lines) {
        Err(httparse::Error::HeaderName) => {
            // As it looks when a value goes on in the next line.
            config.allow_obsolete_multiline_headers_in_responses(true);
            parse(&config, bytes, lines).map(|start| start.map(|start| Start { is_folded: true, ..start }))
        }
        read => read,
    }
    .map_err(|error| Error::because(ErrorType::InvalidHTTPHeader, "the head of an answer", error).into_up())
}

fn parse(
    config: &ParserConfig,
    bytes: &[u8],
    lines: &mut Vec<Line>,
) -> std::result::Result<Option<Start>, httparse::Error> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut answer = Response::new(&mut []);
    let Status::Complete(length) = config.parse_response_with_uninit_headers(&mut answer, bytes, &mut fields)? else {
        return Ok(None);
    };
    lines.clear();
    lines.extend(answer.headers.iter().map(|field| Line::of(field, bytes)));
    let status = answer.code.filter(|status| *status >= 100).ok_or(httparse::Error::Status)?;
    let version = if answer.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = Span::of(answer.reason.unwrap_or_default().as_bytes(), bytes);
    Ok(Some(Start { length, status, version, reason, is_folded: false }))
}

/// A head on its way to the client.
#[derive(Debug)]
pub(in crate::proxy) struct Head<'b> {
    start: Start,
    bytes: &'b [u8],
    lines: Lines<'b>,
}

impl<'b> Head<'b> {
    pub(super) fn new(start: Start, bytes: &'b [u8], lines: &'b [Line], added: &'b mut Vec<u8>) -> Head<'b> {
        Head { start, bytes, lines: Lines::new(bytes, lines, added) }
    }

    /// Where the body ends of what answers such a request. An error: nobody can say.
    pub(super) fn framing(&mut self, method: &Method) -> Result<Framing> {
        let is_chunked = self.has("transfer-encoding");
        if is_chunked {
            // Chunks count, and nobody is told of another length.
            self.take_out(|name| name.eq_ignore_ascii_case("content-length"));
        }
        let length = self.content_length()?;
        Ok(match length {
            _ if *method == Method::HEAD || matches!(self.start.status, 204 | 304) => Framing::Nothing,
            _ if is_chunked => Framing::Chunks,
            Some(0) => Framing::Nothing,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        })
    }

    /// RFC 9110 section 8.6: the same length said twice is one.
    fn content_length(&self) -> Result<Option<u64>> {
        let mut length = None;
        for said in self.all("content-length").flat_map(|value| value.split(|byte| *byte == b',')) {
            let said = number(said.trim_ascii()).filter(|said| length.is_none_or(|length| length == *said));
            let Some(said) = said else {
                return Err(Error::explain(ErrorType::InvalidHTTPHeader, "an answer's length").into_up());
            };
            length = Some(said);
        }
        Ok(length)
    }

    /// Whether the server keeps its connection (RFC 9112 section 9.3).
    pub(super) fn lasts(&self) -> bool {
        match self.all("connection").next() {
            Some(said) if names(said, b"close") => false,
            Some(said) if said.eq_ignore_ascii_case(b"keep-alive") => true,
            _ => self.start.version == Version::HTTP_11,
        }
    }

    /// Writes it as it came, for what comes before the answer.
    pub(super) fn write_interim(&mut self, into: &mut Vec<u8>) {
        self.take_out(|name| name.eq_ignore_ascii_case("connection"));
        self.write(into);
    }

    /// Writes it, with what is ours to say: how the body ends, and whether the connection lasts.
    pub(in crate::proxy) fn write_final(&mut self, into: &mut Vec<u8>, out: Framing, lasts: bool) {
        match out {
            Framing::Nothing | Framing::Length(_) => {
                self.take_out(|name| name.eq_ignore_ascii_case("connection"));
            }
            Framing::Chunks | Framing::Close => {
                self.take_out(|name| {
                    ["connection", "content-length", "transfer-encoding"].iter().any(|of| of.eq_ignore_ascii_case(name))
                });
            }
        }
        if out == Framing::Chunks {
            self.lines.add("Transfer-Encoding", b"chunked");
        }
        // RFC 9110 section 6.6.1: who has a clock says it where nobody has.
        if !self.has("date") {
            self.lines.add("Date", get_cached_date().as_bytes());
        }
        self.lines.add("Connection", if lasts { b"keep-alive" } else { b"close" });
        self.write(into);
    }

    /// Writes it for HTTP/2, which has a date and fields of the connection of its own (`HttpSession::write_response_header`).
    pub(in crate::proxy) fn for_http2(&mut self, out: Framing) -> Result<Box<ResponseHeader>> {
        if !matches!(out, Framing::Nothing | Framing::Length(_)) {
            self.take_out(|name| name.eq_ignore_ascii_case("content-length"));
        }
        let mut head = ResponseHeader::build_no_case(self.start.status, Some(FIELDS_HINT))?;
        let bad = |error: http::Error| Error::because(ErrorType::InvalidHTTPHeader, "the head of an answer", error);
        self.lines.each(self.start.is_folded, |name, value| {
            let name = HeaderName::from_bytes(name).map_err(|error| bad(error.into()).into_up())?;
            let value = HeaderValue::from_bytes(value).map_err(|error| bad(error.into()).into_up())?;
            head.append_header(name, value).map(|_| ())
        })?;
        Ok(Box::new(head))
    }

    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(b"HTTP/1.1 ");
        let status = self.start.status;
        into.extend([100, 10, 1].map(|place| b'0' + u8::try_from(status / place % 10).unwrap_or(0)));
        into.push(b' ');
        into.extend_from_slice(self.start.reason.within(self.bytes));
        into.extend_from_slice(b"\r\n");
        self.lines.write(into, self.start.is_folded);
        into.extend_from_slice(b"\r\n");
    }
}

impl Fields for Head<'_> {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        self.lines.all(name)
    }
}

impl Edit for Head<'_> {
    fn take_out(&mut self, is_such: impl Fn(&str) -> bool) {
        self.lines.take_out(is_such);
    }

    fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) -> Result<()> {
        self.lines.put(name, value)
    }
}

impl AnswerHead for Head<'_> {
    fn status(&self) -> u16 {
        self.start.status
    }

    fn version(&self) -> Version {
        self.start.version
    }

    fn length(&self) -> usize {
        self.lines.length()
    }
}

/// Whether a list has an option.
pub(super) fn names(list: &[u8], option: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|said| said.trim_ascii().eq_ignore_ascii_case(option))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The framing, whether the server's connection lasts, and what the client is told.
    fn told(method: &Method, answer: &str, out: Option<Framing>) -> Result<(Framing, bool, String)> {
        let (mut lines, mut added, mut text) = (Vec::new(), Vec::new(), Vec::new());
        let start = read(answer.as_bytes(), &mut lines)?.expect("a whole head");
        let mut head = Head::new(start, answer.as_bytes(), &lines, &mut added);
        let (framing, lasts) = (head.framing(method)?, head.lasts());
        head.write_final(&mut text, out.unwrap_or(framing), true);
        Ok((framing, lasts, String::from_utf8(text).unwrap()))
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let framing = |method: &Method, fields: &str, status: u16| {
            told(method, &format!("HTTP/1.1 {status} X\r\n{fields}\r\n"), None).map(|told| told.0).ok()
        };
        let get = |fields: &str| framing(&Method::GET, fields, 200);
        assert_eq!(get("Content-Length: 5\r\n"), Some(Framing::Length(5)));
        assert_eq!(get("Content-Length: 5, 5\r\nContent-Length: 5\r\n"), Some(Framing::Length(5)));
        assert_eq!(get("Content-Length: 0\r\n"), Some(Framing::Nothing));
        assert_eq!(get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Some(Framing::Chunks));
        assert_eq!(get(""), Some(Framing::Close));
        for bad in ["5, 6", "", "+5", "-5", "0x5", "5 5", "99999999999999999999"] {
            assert_eq!(get(&format!("Content-Length: {bad}\r\n")), None, "{bad}");
        }
        assert_eq!(framing(&Method::HEAD, "Content-Length: 5\r\n", 200), Some(Framing::Nothing));
        for status in [204, 304] {
            assert_eq!(framing(&Method::GET, "Content-Length: 5\r\n", status), Some(Framing::Nothing));
            assert_eq!(framing(&Method::GET, "", status), Some(Framing::Nothing));
        }
    }

    #[test]
    fn what_a_client_is_told_is_ours_where_the_connection_is() {
        let date = "Date: Sat, 21 Nov 2026 21:00:00 GMT\r\n";
        let answer =
            format!("HTTP/1.0 200 Fine, thanks\r\n{date}Connection: keep-alive\r\nContent-Length: 5\r\nX:  y \r\n\r\n");
        let (_, lasts, text) = told(&Method::GET, &answer, None).unwrap();
        assert!(lasts);
        let expected =
            format!("HTTP/1.1 200 Fine, thanks\r\n{date}Content-Length: 5\r\nX: y\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(text, expected);
        let chunked = told(&Method::GET, &answer, Some(Framing::Chunks)).unwrap().2;
        assert!(chunked.contains("Transfer-Encoding: chunked\r\n") && !chunked.contains("Content-Length"), "{chunked}");
        let closing = told(&Method::GET, "HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", None).unwrap();
        assert!(!closing.1 && closing.2.contains("\r\nDate: "), "{closing:?}");
        assert!(!told(&Method::GET, "HTTP/1.0 200 OK\r\n\r\n", None).unwrap().1);
    }

    #[test]
    fn a_head_that_is_none_is_refused_and_half_a_head_is_waited_for() {
        let read = |bytes: &str| read(bytes.as_bytes(), &mut Vec::new()).map(|start| start.is_some()).ok();
        assert_eq!(read("HTTP/1.1 200 OK\r\nX: y\r\n"), Some(false));
        assert_eq!(read("HTTP/1.1 200\r\n\r\n"), Some(true));
        assert_eq!(read("HTTP/1.1 200 OK\r\nX : y\r\nA: b\r\n c\r\n\r\n"), Some(true));
        for bad in
            ["hello\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 099 X\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n"]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(300));
        assert_eq!(read(&many), None);
        let folded = told(&Method::GET, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\n", None).unwrap();
        assert!(folded.2.contains("X: a   b\r\nContent-Length: 1\r\n"), "{}", folded.2);
    }
}
