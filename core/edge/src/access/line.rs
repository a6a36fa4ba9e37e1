//! One line of the access log. What a client sent is untrusted: nothing in it ends a line, closes a quote or reaches a terminal.

use super::Format;
use super::calendar::Instant;
use lockstep_policy::{Epoch, Side};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// What most lines take.
const LINE: usize = 640;

/// The most that is kept of one text of a client's, in bytes; what is left out is marked by `...`.
const TEXT_MAX: usize = 4096;

/// A request, or a stream, that is over.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// When it is over; its line bears the time of its beginning.
    pub ended: SystemTime,
    /// From its beginning to its end.
    pub total: Duration,
    /// Who sent it.
    pub client: Option<SocketAddr>,
    /// The address that it came to.
    pub listener: Option<SocketAddr>,
    /// `HTTP/1.1`, `tcp`.
    pub protocol: &'a str,
    /// What was asked for; none for a stream, and for what was no request.
    pub request: Option<Request<'a>>,
    /// The status that the client was given; none when it was given none.
    pub status: Option<u16>,
    /// Bytes of the body, or of the stream, from the client.
    pub received: u64,
    /// Bytes of the body, or of the stream, to the client.
    pub sent: u64,
    /// The pair.
    pub pair: &'a str,
    /// The side that it was given to last.
    pub side: Option<Side>,
    /// The epoch under which that was.
    pub epoch: Option<Epoch>,
    /// The answer is the edge's own.
    pub by_edge: bool,
    /// How long it was held.
    pub hold: Duration,
    /// From its beginning to the head of the side's answer.
    pub first_byte: Option<Duration>,
    /// How often it was given to a side.
    pub attempts: u32,
    /// The trace that it is part of.
    pub trace: Option<Id<'a>>,
    /// Its `X-Request-Id`.
    pub request_id: Option<Id<'a>>,
    /// Why it failed.
    pub why: Option<&'a dyn fmt::Display>,
}

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as they were sent.
    pub path: &'a [u8],
    /// The field `Referer`; empty when there is none.
    pub referer: &'a [u8],
    /// The field `User-Agent`; empty when there is none.
    pub user_agent: &'a [u8],
}

/// An identifier: as a client sent it, or made here.
#[derive(Clone, Copy, Debug)]
pub enum Id<'a> {
    /// As it was sent.
    Given(&'a [u8]),
    /// A number, shown as 32 hexadecimal digits.
    Made(u128),
}

impl Entry<'_> {
    /// The line, its end included.
    #[must_use]
    pub fn line(&self, format: Format) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE);
        match format {
            Format::Json => self.json(&mut line),
            Format::Combined => self.combined(&mut line),
        }
        line.push(b'\n');
        line
    }

    fn begun(&self) -> Instant {
        Instant::of(self.ended.checked_sub(self.total).unwrap_or(SystemTime::UNIX_EPOCH))
    }

    fn json(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"time\":\"");
        self.begun().rfc3339(line);
        line.push(b'"');
        if let Some(client) = self.client {
            line.extend_from_slice(b",\"client\":");
            socket(line, client);
        }
        if let Some(listener) = self.listener {
            line.extend_from_slice(b",\"listener\":");
            socket(line, listener);
        }
        text(line, b",\"protocol\":\"", self.protocol.as_bytes());
        if let Some(request) = &self.request {
            text(line, b",\"method\":\"", request.method.as_bytes());
            text(line, b",\"path\":\"", request.path);
            text_if_any(line, b",\"referer\":\"", request.referer);
            text_if_any(line, b",\"user_agent\":\"", request.user_agent);
        }
        if let Some(status) = self.status {
            line.extend_from_slice(b",\"status\":");
            number(line, u64::from(status));
        }
        line.extend_from_slice(b",\"bytes_in\":");
        number(line, self.received);
        line.extend_from_slice(b",\"bytes_out\":");
        number(line, self.sent);
        text(line, b",\"pair\":\"", self.pair.as_bytes());
        if let Some(side) = self.side {
            text(line, b",\"side\":\"", letter(side));
        }
        if let Some(epoch) = self.epoch {
            line.extend_from_slice(b",\"epoch\":");
            number(line, epoch.0);
        }
        if self.status.is_some() {
            text(line, b",\"by\":\"", if self.by_edge { b"edge" } else { b"side" });
        }
        line.extend_from_slice(b",\"hold_ms\":");
        millis(line, self.hold);
        if let Some(first_byte) = self.first_byte {
            line.extend_from_slice(b",\"first_byte_ms\":");
            millis(line, first_byte);
        }
        line.extend_from_slice(b",\"ms\":");
        millis(line, self.total);
        line.extend_from_slice(b",\"attempts\":");
        number(line, u64::from(self.attempts));
        identifier(line, b",\"trace_id\":\"", self.trace);
        identifier(line, b",\"request_id\":\"", self.request_id);
        if let Some(why) = self.why {
            line.extend_from_slice(b",\"why\":");
            line.push(b'"');
            json_text(line, short(why).as_bytes());
            line.push(b'"');
        }
        line.push(b'}');
    }

    /// Apache's `combined`, and then what only a pair has.
    fn combined(&self, line: &mut Vec<u8>) {
        match self.client {
            Some(client) => address(line, client.ip().to_canonical()),
            None => line.push(b'-'),
        }
        line.extend_from_slice(b" - - [");
        self.begun().apache(line);
        line.extend_from_slice(b"] \"");
        match &self.request {
            Some(request) => {
                apache_text(line, request.method.as_bytes());
                line.push(b' ');
                apache_text(line, request.path);
                line.push(b' ');
                apache_text(line, self.protocol.as_bytes());
            }
            None => line.push(b'-'),
        }
        line.extend_from_slice(b"\" ");
        match self.status {
            Some(status) => number(line, u64::from(status)),
            None => line.push(b'-'),
        }
        line.push(b' ');
        match self.sent {
            0 => line.push(b'-'),
            sent => number(line, sent),
        }
        let (referer, user_agent) =
            self.request.as_ref().map_or((&b""[..], &b""[..]), |request| (request.referer, request.user_agent));
        for field in [referer, user_agent] {
            line.extend_from_slice(b" \"");
            apache_text(line, if field.is_empty() { b"-" } else { field });
            line.push(b'"');
        }
        line.extend_from_slice(b" pair=");
        line.extend_from_slice(self.pair.as_bytes());
        line.extend_from_slice(b" side=");
        line.extend_from_slice(self.side.map_or(b"-", letter));
        line.extend_from_slice(b" epoch=");
        match self.epoch {
            Some(epoch) => number(line, epoch.0),
            None => line.push(b'-'),
        }
        line.extend_from_slice(b" hold_ms=");
        millis(line, self.hold);
        line.extend_from_slice(b" ms=");
        millis(line, self.total);
        line.extend_from_slice(b" retries=");
        number(line, u64::from(self.attempts.saturating_sub(1)));
    }
}

fn letter(side: Side) -> &'static [u8] {
    match side {
        Side::A => b"a",
        Side::B => b"b",
    }
}

/// An address and a port, in quotes.
fn socket(line: &mut Vec<u8>, socket: SocketAddr) {
    let ip = socket.ip().to_canonical();
    let (open, close): (&[u8], &[u8]) = if ip.is_ipv4() { (b"\"", b":") } else { (b"\"[", b"]:") };
    line.extend_from_slice(open);
    address(line, ip);
    line.extend_from_slice(close);
    number(line, u64::from(socket.port()));
    line.push(b'"');
}

fn address(line: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    line.push(b'.');
                }
                number(line, u64::from(octet));
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(ip) => drop(write!(line, "{ip}")),
    }
}

/// `key` is whole, with the quote that begins the text.
fn text(line: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    line.extend_from_slice(key);
    json_text(line, value);
    line.push(b'"');
}

fn text_if_any(line: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if !value.is_empty() {
        text(line, key, value);
    }
}

fn identifier(line: &mut Vec<u8>, key: &[u8], identifier: Option<Id<'_>>) {
    match identifier {
        Some(Id::Given(given)) => text(line, key, given),
        Some(Id::Made(number)) => {
            line.extend_from_slice(key);
            // Writing to memory does not fail.
            let _ = write!(line, "{number:032x}\"");
        }
        None => {}
    }
}

/// What an error says, as far as it is of use in a line.
fn short(why: &dyn fmt::Display) -> String {
    let mut text = String::new();
    // Writing to memory does not fail.
    let _ = write!(text, "{why}");
    text
}

fn number(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Milliseconds with the microseconds as fraction.
fn millis(line: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    number(line, micros / 1000);
    let fraction = micros % 1000;
    line.push(b'.');
    for place in [100, 10, 1] {
        line.push(b'0' + u8::try_from(fraction / place % 10).unwrap_or(0));
    }
}

/// A text of a JSON object (RFC 8259). Control characters, also those of the range that terminals obey, are escaped; bytes that are no UTF-8
/// are shown as `\xHH`.
fn json_text(line: &mut Vec<u8>, value: &[u8]) {
    let (value, cut) = bounded(value);
    // Most texts are nothing but printable ASCII.
    let plain = value.iter().position(|&byte| !PLAIN[usize::from(byte)]).unwrap_or(value.len());
    line.extend_from_slice(&value[..plain]);
    for part in value[plain..].utf8_chunks() {
        let valid = part.valid();
        let mut plain = 0;
        for (at, char) in valid.char_indices().filter(|(_, char)| is_odd(*char)) {
            line.extend_from_slice(&valid.as_bytes()[plain..at]);
            plain = at + char.len_utf8();
            match char {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                // Writing to memory does not fail.
                _ => drop(write!(line, "\\u{:04x}", u32::from(char))),
            }
        }
        line.extend_from_slice(&valid.as_bytes()[plain..]);
        for byte in part.invalid() {
            let _ = write!(line, "\\\\x{byte:02x}");
        }
    }
    if cut {
        line.extend_from_slice(b"...");
    }
}

/// Bytes that stand for themselves in any text.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

/// What does not stand for itself in a text: quotes, controls, and what turns the direction of what follows, or ends a line to some readers.
fn is_odd(char: char) -> bool {
    match char {
        '"' | '\\' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => char.is_control(),
    }
}

/// As Apache writes it: quotes and backslashes are escaped, and all that is not printable ASCII is `\xHH`.
fn apache_text(line: &mut Vec<u8>, value: &[u8]) {
    let (value, cut) = bounded(value);
    let plain = value.iter().position(|&byte| !PLAIN[usize::from(byte)]).unwrap_or(value.len());
    line.extend_from_slice(&value[..plain]);
    for &byte in &value[plain..] {
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b' '..=b'~' => line.push(byte),
            // Writing to memory does not fail.
            _ => drop(write!(line, "\\x{byte:02x}")),
        }
    }
    if cut {
        line.extend_from_slice(b"...");
    }
}

fn bounded(value: &[u8]) -> (&[u8], bool) {
    match value.get(..TEXT_MAX) {
        Some(begin) if value.len() > TEXT_MAX => (begin, true),
        _ => (value, false),
    }
}
