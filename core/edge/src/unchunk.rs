//! The chunks of a server's answer (RFC 9112 section 7.1), taken apart where they stand: for clients, and for probes. Touches no socket.
//!
//! Kinder than what clients may send (`proxy::chunks`): servers pad sizes with blanks. What cannot be told apart is refused. Trailers are
//! read past: nobody who asked through us was told that there would be any.

use std::ops::Range;

/// The longest line with a chunk's size, extensions included, in bytes.
const LINE_MAX: u32 = 4096;
/// The longest trailer section, in bytes.
const TRAILERS_MAX: u32 = 64 * 1024;
/// Digits of a chunk's size.
const DIGITS_MAX: u32 = 15;

/// One chunked answer, as far as it has come.
#[derive(Debug)]
pub(crate) struct Unchunk {
    state: State,
    /// Bytes of the present line, or of the trailers.
    line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u32 },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    LastLf,
    Over,
}

/// What is no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What stood in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where the data stands now, all of it together.
    pub(crate) data: Range<usize>,
    /// Bytes that belong to the body: all, but at its end.
    pub(crate) taken: usize,
}

impl Unchunk {
    pub(crate) fn new() -> Unchunk {
        Unchunk { state: State::Size { size: 0, digits: 0 }, line: 0 }
    }

    /// The body has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes more bytes apart. The data of several chunks is moved together.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<Part, Malformed> {
        let mut data: Option<Range<usize>> = None;
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                match &mut data {
                    None => data = Some(at..at + here),
                    Some(data) => {
                        bytes.copy_within(at..at + here, data.end);
                        data.end += here;
                    }
                }
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(Part { data: data.unwrap_or(0..0), taken: at })
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        self.line += 1;
        let in_trailers = matches!(self.state, State::TrailerStart | State::Trailer | State::LastLf);
        if self.line > if in_trailers { TRAILERS_MAX } else { LINE_MAX } {
            return bad();
        }
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, digit) if digit.is_ascii_hexdigit() && digits < DIGITS_MAX => {
                let digit = char::from(digit).to_digit(16).unwrap_or_default();
                State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (State::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => State::Extension { size },
            (State::Size { size, digits: 1.. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, byte) if byte != b'\n' && byte != 0 => State::Extension { size },
            (State::SizeEnd { size: 0 }, b'\n') => self.begin(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.begin(State::Size { size: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Over,
            (State::TrailerStart | State::Trailer, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) => State::Trailer,
            _ => return bad(),
        };
        Ok(())
    }

    fn begin(&mut self, state: State) -> State {
        self.line = 0;
        state
    }
}

fn bad<T>() -> Result<T, Malformed> {
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and how many bytes are left behind the end; none when there is no end.
    fn taken(bytes: &[u8], step: usize) -> Option<(Vec<u8>, Option<usize>)> {
        let (mut unchunk, mut data, mut taken) = (Unchunk::new(), Vec::new(), 0);
        for part in bytes.chunks(step) {
            let mut part = part.to_vec();
            let Part { data: range, taken: of_it } = unchunk.take(&mut part).ok()?;
            data.extend_from_slice(&part[range]);
            taken += of_it;
            if unchunk.is_over() {
                return Some((data, Some(bytes.len() - taken)));
            }
        }
        Some((data, None))
    }

    #[test]
    fn the_data_is_the_same_however_it_comes() {
        let sound: [(&[u8], &[u8], Option<usize>); 7] = [
            (b"0\r\n\r\n", b"", Some(0)),
            (b"5\r\norder\r\n6\r\n books\r\n0\r\n\r\nHTTP", b"order books", Some(4)),
            (b"00A ;a=\"b c\"\r\n0123456789\r\n000 \r\n\r\n\r\n", b"0123456789", Some(2)),
            (b"1\r\n\n\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", b"\n", Some(0)),
            (b"3e8\r\n", b"", None),
            (b"5\r\norder\r\n0\r\n", b"order", None),
            (b"5\r\nord", b"ord", None),
        ];
        for (bytes, data, rest) in sound {
            for step in [1, 2, 3, 7, 100] {
                assert_eq!(taken(bytes, step), Some((data.to_vec(), rest)), "{}", String::from_utf8_lossy(bytes));
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(5000));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000));
        for bad in [
            "0x5\r\n",
            "+5\r\n",
            "-1\r\n",
            "\r\n",
            ";x\r\n",
            " 5\r\n",
            "5\n",
            "5\r5",
            "5;a\nb",
            "5;a\0",
            "5\r\norder0",
            "5\r\norder\n",
            "5\r\norder\r0",
            "10000000000000000\r\n",
            "g\r\n",
            "0\r\n\rX",
            &long,
            &trailers,
        ] {
            for step in [1, 100_000] {
                assert_eq!(taken(bad.as_bytes(), step), None, "{bad:?}");
            }
        }
    }
}
