//! What the edge tells a client of its frames: the h2 crate refuses malformed ones by itself and says so to nobody else, but what it
//! writes passes here. Touches no socket.

const HEADER: usize = 9;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// RFC 9113 section 7: what is no fault of the client's.
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const STREAM_CLOSED: u32 = 5;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// Bytes of a payload that are looked at: GOAWAY's code stands behind the number of a stream.
const LOOKED_AT: usize = 8;

/// One connection's frames, as they are written to the client.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Told {
    header: [u8; HEADER],
    read: usize,
    /// Bytes of the frame's payload that are still to come.
    left: usize,
    payload: [u8; LOOKED_AT],
    known: usize,
}

impl Told {
    /// Looks at what is written. Returns how often it tells the client of a fault of its own.
    pub(in crate::proxy) fn follows(&mut self, mut bytes: &[u8]) -> usize {
        let mut faults = 0;
        while !bytes.is_empty() {
            if self.read < HEADER {
                let part = (HEADER - self.read).min(bytes.len());
                self.header[self.read..self.read + part].copy_from_slice(&bytes[..part]);
                self.read += part;
                bytes = &bytes[part..];
                if self.read == HEADER {
                    let [high, middle, low, ..] = self.header;
                    self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                    self.known = 0;
                }
            } else {
                let part = self.left.min(bytes.len());
                let looked_at = part.min(LOOKED_AT - self.known);
                self.payload[self.known..self.known + looked_at].copy_from_slice(&bytes[..looked_at]);
                self.known += looked_at;
                self.left -= part;
                bytes = &bytes[part..];
            }
            if self.read == HEADER && self.left == 0 {
                faults += usize::from(self.is_of_a_fault());
                self.read = 0;
            }
        }
        faults
    }

    fn is_of_a_fault(&self) -> bool {
        let code = match self.header[3] {
            RST_STREAM => self.payload.first_chunk::<4>(),
            GOAWAY => self.payload.last_chunk::<4>(),
            _ => return false,
        };
        let code = code.map_or(NO_ERROR, |code| u32::from_be_bytes(*code));
        ![NO_ERROR, INTERNAL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL].contains(&code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn faults_are_found_however_the_bytes_are_cut() {
        let bytes = [
            frame(4, &[]),
            frame(0, &[RST_STREAM; 200]),
            frame(RST_STREAM, &[0, 0, 0, 1]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(RST_STREAM, &[0, 0, 0, 0]),
            frame(GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 0]),
            frame(GOAWAY, &[0, 0, 0, 1, 0, 0, 0, 11, b'w', b'h', b'y']),
            frame(1, &[0, 0, 0, 1]),
            frame(RST_STREAM, &[0, 0, 0, 1]),
        ]
        .concat();
        for step in [1, 2, 5, 9, 13, bytes.len()] {
            let mut told = Told::default();
            let faults: usize = bytes.chunks(step).map(|part| told.follows(part)).sum();
            assert_eq!(faults, 3, "in steps of {step}");
        }
    }
}
