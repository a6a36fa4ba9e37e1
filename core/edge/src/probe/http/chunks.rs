//! A body in chunks (RFC 9112 section 7.1), read from bytes as they come. Touches no socket.

/// The longest line: a chunk's size with its extensions, or a trailer.
const LINE_MAX: usize = 4096;

/// Bytes of all trailers.
const TRAILERS_MAX: usize = 16 * 1024;

/// Digits of a chunk's size.
const DIGITS_MAX: usize = 15;

#[derive(Debug, Default)]
pub(super) struct Chunks {
    state: State,
    /// Bytes of the present line; of all trailers.
    line: usize,
    trailers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: usize },
    Extension { size: u64 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastLf,
    Over,
}

impl Default for State {
    fn default() -> State {
        State::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// The last byte has come.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Takes what of these bytes is of the body; how many: all, unless it ends before. Its data is added to a text.
    pub fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, String> {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                data.extend_from_slice(&bytes[at..at + here]);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            } else {
                self.state = self.step(bytes[at]).ok_or("its chunks are malformed")?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Option<State> {
        self.line += 1;
        let next = match (self.state, byte) {
            (State::Size { size, digits }, digit) if digit.is_ascii_hexdigit() && digits < DIGITS_MAX => {
                let digit = char::from(digit).to_digit(16).unwrap_or_default();
                State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            // Some servers put blanks after a size.
            (State::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => State::Extension { size },
            (State::Size { size, digits: 1.. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, byte) if byte != b'\n' => State::Extension { size },
            (State::SizeEnd { size: 0 }, b'\n') => self.begin(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => self.begin(State::Data { left: size }),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => self.begin(State::default()),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Over,
            (State::TrailerStart | State::Trailer, byte) if !matches!(byte, b'\r' | b'\n') => {
                self.trailers += 1;
                State::Trailer
            }
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::TrailerEnd, b'\n') => self.begin(State::TrailerStart),
            _ => return None,
        };
        (self.line <= LINE_MAX && self.trailers <= TRAILERS_MAX).then_some(next)
    }

    fn begin(&mut self, state: State) -> State {
        self.line = 0;
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(String, usize, bool), String> {
        let (mut chunks, mut data) = (Chunks::default(), Vec::new());
        let taken = chunks.take(text.as_bytes(), &mut data)?;
        Ok((String::from_utf8(data).unwrap(), taken, chunks.is_over()))
    }

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(read("3\r\nabc\r\n0\r\n\r\nmore"), Ok(("abc".into(), 13, true)));
        assert_eq!(read("3 ;x=\"y\"\r\nabc\r\n00\r\na: b\r\n\r\n"), Ok(("abc".into(), 27, true)));
        assert_eq!(read("A\r\n0123"), Ok(("0123".into(), 7, false)));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in ["\r\n", "x\r\n", "3\nabc", "3\r\nabcd", ";\r\n", "1234567890abcdef0\r\n", "0\r\na\n"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(read(&format!("0\r\nx: {}", "x".repeat(LINE_MAX))).is_err());
        assert!(read(&format!("0\r\n{}", "x: y\r\n".repeat(TRAILERS_MAX))).is_err());
        assert!(read(&format!("3;{}", "x".repeat(LINE_MAX))).is_err());
    }
}
