//! The chunks of a request's body (RFC 9112 section 7.1), followed byte by byte as they pass. Touches no socket.
//!
//! Pingora parses them too, and more kindly: it takes blanks around a size and any byte in an extension. Who stands before or
//! behind us may see another end of the body then. What passes here has one end only, and it is known where.

use super::answer::Answer;

/// The longest line with a chunk's size, extensions included, in bytes.
const LINE_MAX: u32 = 256;
/// The longest trailer section, in bytes.
const TRAILERS_MAX: u32 = 4096;
/// Digits of a chunk's size: what is longer is no number to somebody.
const DIGITS_MAX: u32 = 15;
/// The longest name of a trailer that is told from those that must not be there.
const NAME_MAX: usize = 32;

const BAD: Answer = Answer::new(400, "the request's chunks are malformed");

/// Fields that would change how the request is read (RFC 9110 section 6.5.1).
const FORBIDDEN: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// One chunked body, as far as it has passed.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    /// Bytes of data that may still come.
    left: u64,
    /// Bytes of the present line, or of the trailers.
    line: u32,
    name: Vec<u8>,
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
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
    Over,
}

impl Chunks {
    /// A body of at most so many bytes of data.
    pub(super) fn new(most: u64) -> Chunks {
        Chunks { state: State::Size { size: 0, digits: 0 }, left: most, line: 0, name: Vec::new() }
    }

    /// The body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Follows more bytes. Returns how many of them are of the body: fewer than there are only at its end.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Answer> {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), Answer> {
        self.line += 1;
        let in_trailers =
            matches!(self.state, State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerEnd);
        if self.line > if in_trailers { TRAILERS_MAX } else { LINE_MAX } {
            return Err(BAD);
        }
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, digit) if digit.is_ascii_hexdigit() && digits < DIGITS_MAX => {
                let digit = char::from(digit).to_digit(16).unwrap_or_default();
                State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (State::Size { size, digits: 1.. }, b';') => State::Extension { size },
            (State::Size { size, digits: 1.. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, byte) if is_text(byte) => State::Extension { size },
            (State::SizeEnd { size: 0 }, b'\n') => self.begin(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => {
                self.left = self.left.checked_sub(size).ok_or(super::head::TOO_LARGE)?;
                State::Data { left: size }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.begin(State::Size { size: 0, digits: 0 }),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Over,
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => {
                self.name.push(byte.to_ascii_lowercase());
                self.name.truncate(NAME_MAX);
                State::TrailerName
            }
            (State::TrailerName, b':') if !self.is_forbidden() => {
                self.name.clear();
                State::TrailerValue
            }
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, byte) if is_text(byte) => State::TrailerValue,
            (State::TrailerEnd, b'\n') => State::TrailerStart,
            _ => return Err(BAD),
        };
        Ok(())
    }

    fn begin(&mut self, state: State) -> State {
        self.line = 0;
        state
    }

    fn is_forbidden(&self) -> bool {
        let name = self.name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
        FORBIDDEN.iter().any(|known| known.bytes().eq(name.clone()))
    }
}

/// What may stand in a field's value (RFC 9110 section 5.5).
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows the bytes, `step` at a time; what is left of them after the end, or none when there is no end.
    fn rest(bytes: &[u8], step: usize) -> Result<Option<usize>, u16> {
        let mut chunks = Chunks::new(1000);
        let mut taken = 0;
        for part in bytes.chunks(step) {
            taken += chunks.follow(part).map_err(|answer| answer.status)?;
            if chunks.is_over() {
                return Ok(Some(bytes.len() - taken));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_ends_where_it_ends_however_it_comes() {
        let sound: [(&[u8], Option<usize>); 7] = [
            (b"0\r\n\r\n", Some(0)),
            (b"5\r\norder\r\n0\r\n\r\nGET /", Some(5)),
            (b"00A;a=\"b c\"\r\n0123456789\r\n000;x\r\n\r\n\r\n", Some(2)),
            (b"1\r\n\n\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", Some(0)),
            (b"3e8\r\n", None),
            (b"5\r\norder\r\n0\r\n", None),
            (b"5\r\norder\r", None),
        ];
        for (bytes, expected) in sound {
            for step in [1, 2, 3, 100] {
                assert_eq!(rest(bytes, step), Ok(expected), "{}", String::from_utf8_lossy(bytes));
            }
        }
    }

    #[test]
    fn what_others_might_read_otherwise_is_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(1000));
        for bad in [
            "0x5\r\n",
            "+5\r\n",
            "-1\r\n",
            "\r\n",
            ";x\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5\r5",
            "5;a\nb",
            "5;a\0",
            "5\r\norder0",
            "5\r\norder\n",
            "5\r\norder\r0",
            "10000000000000000\r\n",
            "g\r\n",
            "0\r\nHost: a\r\n\r\n",
            "0\r\nCONTENT_LENGTH: 4\r\n",
            "0\r\nX y: z\r\n",
            "0\r\nX\r\n",
            "0\r\nX: a\r\n b\r\n",
            "0\r\nX: a\n",
            "0\r\n\n",
            "0\r\n\rX",
            &long,
            &trailers,
        ] {
            for step in [1, 100_000] {
                assert_eq!(rest(bad.as_bytes(), step), Err(400), "{bad:?}");
            }
        }
    }

    #[test]
    fn a_body_has_a_largest_size() {
        assert_eq!(rest(b"3e9\r\n", 10), Err(413));
        let many = [b"1f4\r\n", &[b'x'; 500][..], b"\r\n"].concat();
        assert_eq!(rest(&many.repeat(2), 77), Ok(None));
        assert_eq!(rest(&many.repeat(3), 77), Err(413));
    }

    #[test]
    fn fuzz_chunks() {
        let seeds: [&[u8]; 5] = [
            b"5\r\norder\r\n0\r\n\r\nGET /",
            b"00A;a=\"b c\"\r\n0123456789\r\n000;x\r\n\r\n",
            b"1\r\n\n\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n",
            b"3e8\r\n",
            b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        ];
        lockstep_fuzz::run("chunks", &seeds, &[b"\r\n", b"0\r\n\r\n", b"Content-Length: 1\r\n"], |bytes| {
            let at_once = rest(bytes, bytes.len().max(1));
            for step in [1, 3] {
                let in_steps = rest(bytes, step);
                // What is wrong behind the end is nobody's business; before it, it is wrong however it comes.
                assert_eq!(in_steps, at_once, "in steps of {step}");
            }
            lockstep_fuzz::became(at_once.map(|rest| rest.map(|rest| rest.min(9))))
        });
    }
}
