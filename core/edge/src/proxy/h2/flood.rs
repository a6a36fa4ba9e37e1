//! Frames that cost a server more than their sender: requests that are begun and reset (CVE-2023-44487), pings, settings,
//! priorities. The headers of frames are read as they pass; nothing is kept of them. Touches no socket, reads no clock.

use super::PREFACE;
use std::time::Duration;
use tokio::time::Instant;

/// Resets that may come at once, and in a second from then on. A browser that leaves a page resets what it still waits for.
const RESETS: Allowance = Allowance { at_once: 256, in_a_second: 32 };
/// Frames that only want an answer or a place in a list. gRPC clients ping with each burst of data.
const CHORES: Allowance = Allowance { at_once: 1_024, in_a_second: 256 };

const HEADER: usize = 9;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const KNOWN: u8 = 9;

#[derive(Clone, Copy, Debug)]
struct Allowance {
    at_once: u32,
    in_a_second: u32,
}

/// One connection's frames, as they come from the client.
#[derive(Debug)]
pub(in crate::proxy) struct Flood {
    /// Bytes of the preface, or of a frame's payload, that are still to come.
    skip: usize,
    header: [u8; HEADER],
    read: usize,
    resets: Bucket,
    chores: Bucket,
}

#[derive(Debug)]
struct Bucket {
    allowance: Allowance,
    left: u32,
    filled: Instant,
}

impl Flood {
    pub(in crate::proxy) fn new(now: Instant) -> Flood {
        let bucket = |allowance: Allowance| Bucket { allowance, left: allowance.at_once, filled: now };
        Flood { skip: PREFACE.len(), header: [0; HEADER], read: 0, resets: bucket(RESETS), chores: bucket(CHORES) }
    }

    /// Looks at what has come. True: it is too much.
    pub(in crate::proxy) fn sees(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        let mut too_much = false;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let part = (HEADER - self.read).min(bytes.len());
            self.header[self.read..self.read + part].copy_from_slice(&bytes[..part]);
            self.read += part;
            bytes = &bytes[part..];
            if self.read == HEADER {
                let [high, middle, low, kind, ..] = self.header;
                self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.read = 0;
                too_much |= match kind {
                    RST_STREAM => !self.resets.takes(now),
                    PRIORITY | SETTINGS | PING => !self.chores.takes(now),
                    kind if kind > KNOWN => !self.chores.takes(now),
                    _ => false,
                };
            }
        }
        too_much
    }
}

impl Bucket {
    fn takes(&mut self, now: Instant) -> bool {
        if self.left < self.allowance.at_once {
            let each = Duration::from_secs(1) / self.allowance.in_a_second;
            let due = now.saturating_duration_since(self.filled).as_nanos() / each.as_nanos();
            let due = u32::try_from(due).unwrap_or(u32::MAX);
            self.filled += each.saturating_mul(due.min(self.allowance.at_once));
            self.left = self.left.saturating_add(due).min(self.allowance.at_once);
        }
        if self.left == self.allowance.at_once {
            self.filled = now;
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes =
            vec![0, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap(), kind, 0, 0, 0, 0, 1];
        // A payload that would count if it were taken for headers of frames.
        bytes.resize(HEADER + length, RST_STREAM);
        bytes
    }

    #[test]
    fn resets_are_counted_however_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        for _ in 0..300 {
            bytes.extend(frame(1, 700));
            bytes.extend(frame(0, 300));
            bytes.extend(frame(RST_STREAM, 4));
        }
        let now = Instant::now();
        for step in [1, 7, 9, 1_000, bytes.len()] {
            let mut flood = Flood::new(now);
            let first = bytes.chunks(step).position(|chunk| flood.sees(chunk, now)).unwrap();
            let reset = PREFACE.len() + 256 * (709 + 309 + 13) + 709 + 309 + HEADER;
            assert_eq!(first, (reset - 1) / step, "in steps of {step}");
        }
    }

    #[test]
    fn who_takes_his_time_may_go_on() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        assert!(!flood.sees(PREFACE, start));
        for number in 0..2_000 {
            let now = start + Duration::from_secs(1) / RESETS.in_a_second * number;
            assert!(!flood.sees(&frame(RST_STREAM, 4), now), "reset {number}");
            assert!(!flood.sees(&frame(PING, 8), now), "ping {number}");
        }
        let now = start + Duration::from_secs(100);
        let passed = (0..1_000).take_while(|_| !flood.sees(&frame(RST_STREAM, 4), now)).count();
        assert_eq!(passed, 256, "what was not used is not saved up beyond the allowance");
    }
}
