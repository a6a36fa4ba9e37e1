//! Heads as they stand in the bytes that came: where their parts are, and what is changed in them. Touches no socket.
//!
//! Nothing is copied until a head is written on.

use super::request::{Edit, Fields};
use bytes::BytesMut;
use pingora_core::Result;
use std::ops::Range;

/// Fields in a head; requests have fewer.
pub(super) const FIELDS_MAX: usize = 256;

/// A part of a head. No head is as long as 4 GB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` stands in `whole`, a part of which it must be.
    pub(super) fn of(part: &[u8], whole: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let start = u32::try_from(start).unwrap_or(0);
        Span { start, end: start.saturating_add(u32::try_from(part.len()).unwrap_or(0)) }
    }

    /// Writes a part behind others, and says where it stands.
    pub(super) fn behind(whole: &mut BytesMut, part: &[u8]) -> Span {
        let at = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let start = at(whole.len());
        whole.extend_from_slice(part);
        Span { start, end: at(whole.len()) }
    }

    /// What stands there.
    pub(super) fn within(self, whole: &[u8]) -> &[u8] {
        whole.get(Range::<usize>::from(self)).unwrap_or_default()
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Range<usize> {
        span.start as usize..span.end as usize
    }
}

/// One field.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    name: Span,
    value: Span,
}

impl Line {
    pub(super) fn of(field: &httparse::Header<'_>, whole: &[u8]) -> Line {
        Line { name: Span::of(field.name.as_bytes(), whole), value: Span::of(field.value, whole) }
    }

    /// Writes a field behind others.
    pub(super) fn behind(whole: &mut BytesMut, name: &[u8], value: &[u8]) -> Line {
        Line { name: Span::behind(whole, name), value: Span::behind(whole, value) }
    }
}

/// Where the parts of a request's head stand.
#[derive(Debug, Default)]
pub(super) struct Outline {
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version_1_1: bool,
    pub(super) lines: Vec<Line>,
}

impl Outline {
    /// Notes where a request stands that was parsed from these bytes.
    pub(super) fn note(&mut self, request: &httparse::Request<'_, '_>, bytes: &[u8]) {
        self.method = Span::of(request.method.unwrap_or_default().as_bytes(), bytes);
        self.target = Span::of(request.path.unwrap_or_default().as_bytes(), bytes);
        self.version_1_1 = request.version == Some(1);
        self.lines.clear();
        self.lines.extend(request.headers.iter().map(|field| Line::of(field, bytes)));
    }
}

/// The values under a name.
pub(super) fn values<'f>(lines: &'f [Line], bytes: &'f [u8], name: &'f str) -> impl Iterator<Item = &'f [u8]> {
    let is_so = move |line: &&Line| line.name.within(bytes).eq_ignore_ascii_case(name.as_bytes());
    lines.iter().filter(is_so).map(move |line| line.value.within(bytes))
}

/// A head's fields, and what is changed in them. What was put is written, and not found.
#[derive(Debug)]
pub(super) struct Lines<'b> {
    bytes: &'b [u8],
    lines: &'b [Line],
    gone: [u64; FIELDS_MAX / 64],
    /// Whole lines that are new.
    added: &'b mut Vec<u8>,
}

impl<'b> Lines<'b> {
    /// `added` is room for what is new.
    pub(super) fn new(bytes: &'b [u8], lines: &'b [Line], added: &'b mut Vec<u8>) -> Lines<'b> {
        added.clear();
        Lines { bytes, lines, gone: [0; FIELDS_MAX / 64], added }
    }

    fn is_gone(&self, at: usize) -> bool {
        self.gone.get(at / 64).is_none_or(|word| word & (1 << (at % 64)) != 0)
    }

    fn kept(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().enumerate().filter(|(at, _)| !self.is_gone(*at)).map(|(_, line)| line)
    }

    /// Adds a field beside those of its name.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.added.extend_from_slice(part);
        }
    }

    /// Writes the lines, and with `is_folded` those of several lines as one (RFC 9112 section 5.2).
    pub(super) fn write(&self, into: &mut Vec<u8>, is_folded: bool) {
        for line in self.kept() {
            into.extend_from_slice(line.name.within(self.bytes));
            into.extend_from_slice(b": ");
            let value = line.value.within(self.bytes);
            if is_folded {
                into.extend(unfolded(value));
            } else {
                into.extend_from_slice(value);
            }
            into.extend_from_slice(b"\r\n");
        }
        into.extend_from_slice(self.added);
    }

    /// Name and value of each field, as `write` writes them.
    pub(super) fn each(&self, is_folded: bool, mut one: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        for line in self.kept() {
            let (name, value) = (line.name.within(self.bytes), line.value.within(self.bytes));
            if is_folded {
                one(name, &unfolded(value).collect::<Vec<u8>>())?;
            } else {
                one(name, value)?;
            }
        }
        for line in self.added.split(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\r")) {
            let Some(at) = line.windows(2).position(|two| two == b": ") else { continue };
            one(&line[..at], &line[at + 2..])?;
        }
        Ok(())
    }

    /// Names, values, and what stands between them, in bytes.
    pub(super) fn length(&self) -> usize {
        let of = |span: Span| (span.end - span.start) as usize;
        self.kept().map(|line| of(line.name) + of(line.value) + 4).sum::<usize>() + self.added.len()
    }
}

/// A value of several lines as one.
fn unfolded(value: &[u8]) -> impl Iterator<Item = u8> {
    value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte })
}

impl Fields for Lines<'_> {
    fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        let is_so = move |line: &&Line| line.name.within(self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.kept().filter(is_so).map(|line| line.value.within(self.bytes))
    }
}

impl Edit for Lines<'_> {
    fn take_out(&mut self, is_such: impl Fn(&str) -> bool) {
        for (at, line) in self.lines.iter().enumerate() {
            let name = std::str::from_utf8(line.name.within(self.bytes)).unwrap_or_default();
            if is_such(name)
                && let Some(word) = self.gone.get_mut(at / 64)
            {
                *word |= 1 << (at % 64);
            }
        }
    }

    fn put(&mut self, name: &'static str, value: impl AsRef<[u8]>) -> Result<()> {
        self.take_out(|given| given.eq_ignore_ascii_case(name));
        self.add(name, value.as_ref());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nAccept: */*\r\nx-two: 2\r\n\r\n";

    fn outline(bytes: &[u8]) -> Outline {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(bytes).unwrap().is_complete());
        let mut outline = Outline::default();
        outline.note(&request, bytes);
        outline
    }

    #[test]
    fn fields_are_found_and_changed_where_they_stand() {
        let outline = outline(HEAD);
        assert_eq!((outline.method.within(HEAD), outline.target.within(HEAD)), (&b"GET"[..], &b"/a"[..]));
        let mut added = b"of another head".to_vec();
        let mut lines = Lines::new(HEAD, &outline.lines, &mut added);
        assert_eq!(lines.all("x-two").collect::<Vec<_>>(), [b"1", b"2"]);
        let length = HEAD.len() - "GET /a HTTP/1.1\r\n\r\n".len();
        assert_eq!(lines.length(), length);
        lines.take_out(|name| name == "Accept");
        lines.put("x-two", "3").unwrap();
        lines.add("X-Three", b"4");
        assert!(!lines.has("accept") && !lines.has("x-two"));
        let mut written = Vec::new();
        lines.write(&mut written, false);
        assert_eq!(written, b"Host: h\r\nx-two: 3\r\nX-Three: 4\r\n");
        let mut each = Vec::new();
        lines
            .each(false, |name, value| {
                each.push([name, b"=", value].concat());
                Ok(())
            })
            .unwrap();
        assert_eq!(each, [&b"Host=h"[..], b"x-two=3", b"X-Three=4"]);
    }

    #[test]
    fn a_value_of_several_lines_becomes_one() {
        let bytes = b"X: a\r\n b";
        let line = Line { name: Span { start: 0, end: 1 }, value: Span { start: 3, end: 8 } };
        let (mut added, mut written) = (Vec::new(), Vec::new());
        Lines::new(bytes, &[line], &mut added).write(&mut written, true);
        assert_eq!(written, b"X: a   b\r\n");
    }
}
