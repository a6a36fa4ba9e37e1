//! Where the head of an answer ends that changes the protocol, in the bytes that go to its client. Touches no socket.

const END: [u8; 4] = *b"\r\n\r\n";

/// The heads of an answer as they pass: any number of preliminary ones, and the last.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// Bytes of the present head that have passed, up to its status.
    have: u8,
    status: u16,
    /// How much of its end has passed.
    ended: u8,
}

/// What the last head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// It ends before this one of the bytes.
    pub(super) at: usize,
    /// Another protocol is spoken after it.
    pub(super) changes: bool,
}

impl Heads {
    /// Takes note of bytes that have passed; `None`: the last head has not ended yet.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Option<Last> {
        for (at, byte) in bytes.iter().enumerate() {
            // `HTTP/1.1 101`
            if (9..12).contains(&self.have) {
                self.status = self.status * 10 + u16::from(byte.wrapping_sub(b'0') % 10);
            }
            self.have = self.have.saturating_add(1);
            self.ended = match *byte {
                byte if byte == END[usize::from(self.ended)] => self.ended + 1,
                b'\r' => 1,
                _ => 0,
            };
            if usize::from(self.ended) < END.len() {
                continue;
            }
            let status = self.status;
            *self = Heads::default();
            if status == 101 || status >= 200 {
                return Some(Last { at: at + 1, changes: status == 101 });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_head_is_found_however_it_is_cut_up() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let changes = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        let refuses = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        for (heads, last) in [
            (changes.to_owned(), true),
            (format!("{early}{changes}"), true),
            (format!("{early}{early}{refuses}"), false),
        ] {
            let bytes = format!("{heads}\r\n\r\nwhat comes then");
            for cut in 0..heads.len() {
                let mut passed = Heads::default();
                assert_eq!(passed.pass(&bytes.as_bytes()[..cut]), None, "{cut}");
                let found = Last { at: heads.len() - cut, changes: last };
                assert_eq!(passed.pass(&bytes.as_bytes()[cut..]), Some(found), "{cut}");
            }
        }
    }
}
