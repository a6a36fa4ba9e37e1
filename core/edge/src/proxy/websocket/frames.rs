//! Where a WebSocket's frames begin and end (RFC 6455 section 5.2), in one direction.
//!
//! Bytes are looked at as they pass and none is kept but the head of the frame under way. Touches no socket.

/// The longest head: two bytes, a length of eight, a mask of four.
const HEAD_MAX: usize = 14;
const CLOSE: u8 = 8;

/// One direction, from the first frame on.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_MAX],
    /// How much of the head has passed.
    have: u8,
    /// What is still to come of the payload.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Takes note of bytes that have passed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// Whether no frame is half said.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Whether a Close frame has begun: whoever says it says nothing after it (RFC 6455 section 5.5.1).
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many of the bytes that come next belong to the frame under way; none, between two frames.
    pub(super) fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        let mut at = 0;
        while at < bytes.len() && !ahead.is_between() {
            at += ahead.step(&bytes[at..]);
        }
        at
    }

    /// Where a Close frame begins among the bytes that come next.
    pub(super) fn close_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut ahead = self.clone();
        let mut at = 0;
        while at < bytes.len() {
            if ahead.is_between() && is_close(bytes[at]) {
                return Some(at);
            }
            at += ahead.step(&bytes[at..]);
        }
        None
    }

    /// Passes one byte of a head, or what is there of a payload; how many bytes that are.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= passed as u64;
            return passed;
        }
        self.head[usize::from(self.have)] = bytes[0];
        self.have += 1;
        if let Some(length) = self.length() {
            self.have = 0;
            self.left = length;
            self.closed |= is_close(self.head[0]);
        }
        1
    }

    /// The payload's length, once the head is whole.
    fn length(&self) -> Option<u64> {
        let head = &self.head[..usize::from(self.have)];
        let second = *head.get(1)?;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        (head.len() == 2 + extended + mask).then(|| match extended {
            0 => u64::from(second & 0x7f),
            _ => head[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        })
    }
}

fn is_close(first: u8) -> bool {
    first & 0x0f == CLOSE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as RFC 6455 section 5.2 draws it.
    fn frame(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            length @ 0..=125 => bytes.push(masked | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        let mask = mask.unwrap_or_default();
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        bytes
    }

    /// After which bytes a frame ends.
    fn ends(bytes: &[u8]) -> Vec<usize> {
        let mut frames = Frames::default();
        let mut ends = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            frames.pass(&[*byte]);
            if frames.is_between() {
                ends.push(at + 1);
            }
        }
        ends
    }

    #[test]
    fn a_frame_ends_where_its_length_says() {
        assert_eq!(ends(&[0x81, 2, b'a', b'b', 0x8a, 0]), [4, 6], "a text, a pong");
        assert_eq!(ends(&[0x01, 1, b'a', 0x89, 0, 0x80, 1, b'b']), [3, 5, 8], "a ping between the parts of a message");
        assert_eq!(ends(&[0x82, 0x81, 1, 2, 3, 4, b'a']), [7], "masked");
        assert_eq!(ends(&[0x82, 0x80, 1, 2, 3, 4]), [6], "masked, and empty");
        assert_eq!(ends(&[&[0x82, 126, 0, 200][..], &[0; 200]].concat()), [204]);
        assert_eq!(ends(&[&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0; 65_536]].concat()), [65_546]);
        assert_eq!(ends(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, b'a']), [11], "a length longer than it need be");
        assert_eq!(ends(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]), [0; 0], "the longest");
    }

    #[test]
    fn a_close_is_seen_by_its_first_byte() {
        let mut frames = Frames::default();
        let text = frame(1, b"text", None);
        assert_eq!(frames.close_in(&[&text[..], &[0x88]].concat()), Some(text.len()));
        assert_eq!(frames.close_in(&text), None);
        frames.pass(&text[..3]);
        assert_eq!(frames.close_in(&[0x88, 0x88, 0x88]), None, "they are text");
        assert_eq!(frames.close_in(&[0x88, 0x88, 0x88, 0x88]), Some(3));
        frames.pass(&text[3..]);
        assert!(!frames.is_closed());
        frames.pass(&[0x88, 2, 3, 0xe8]);
        assert!(frames.is_closed() && frames.is_between());
    }

    fn some_frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0..130usize, 120..140usize, 65_530..65_540usize];
        (prop::sample::select(vec![0u8, 1, 2, 8, 9, 10]), length, prop::option::of(any::<[u8; 4]>()))
            .prop_map(|(opcode, length, mask)| frame(opcode, &vec![0x88; length], mask))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However bytes are cut up, what is said of them is the same.
        #[test]
        fn where_bytes_are_cut_makes_no_difference(
            frames in prop::collection::vec(some_frame(), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = frames.concat();
            let mut borders = vec![0];
            frames.iter().for_each(|frame| borders.push(borders[borders.len() - 1] + frame.len()));
            let first_close = frames.iter().position(|frame| is_close(frame[0])).map(|at| borders[at]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut passed = Frames::default();
            for part in cuts.windows(2) {
                let (from, to) = (part[0], part[1]);
                prop_assert_eq!(passed.is_between(), borders.contains(&from));
                let border = *borders.iter().find(|border| **border >= from).unwrap();
                prop_assert_eq!(passed.rest_of_frame(&bytes[from..to]), border.min(to) - from);
                let close = borders.iter().zip(&frames).find(|(at, frame)| **at >= from && is_close(frame[0]));
                let close = close.map(|(at, _)| *at).filter(|at| *at < to);
                prop_assert_eq!(passed.close_in(&bytes[from..to]), close.map(|at| at - from));
                passed.pass(&bytes[from..to]);
                let head_has_passed = |at: usize| to >= at + 2;
                if let Some(at) = first_close && to < at {
                    prop_assert!(!passed.is_closed());
                } else if let Some(at) = first_close && borders.contains(&to) && head_has_passed(at) {
                    prop_assert!(passed.is_closed());
                }
            }
        }
    }

    #[test]
    fn fuzz_websocket_frames() {
        let seeds = [
            [frame(1, b"text", None), frame(9, b"", None), frame(8, &[3, 0xf4], None)].concat(),
            [frame(2, &[7; 300], Some([1, 2, 3, 4])), frame(8, &[], Some([5; 4]))].concat(),
            frame(2, &[7; 70_000], None),
        ];
        let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
        lockstep_fuzz::run("websocket_frames", &seeds, &[&[0x88, 0], &[0x81, 0xfe], &[0x82, 0x7f]], |bytes| {
            let mut at_once = Frames::default();
            let rest = at_once.rest_of_frame(bytes);
            assert_eq!(rest, 0, "nothing is under way");
            let close = at_once.close_in(bytes);
            assert!(close.is_none_or(|at| is_close(bytes[at])));
            at_once.pass(bytes);
            let mut in_parts = Frames::default();
            for part in bytes.chunks(3) {
                let rest = in_parts.rest_of_frame(part);
                assert!(rest <= part.len());
                in_parts.pass(part);
            }
            let now = |frames: &Frames| (frames.is_between(), frames.is_closed(), frames.have, frames.left);
            assert_eq!(now(&at_once), now(&in_parts));
            lockstep_fuzz::became((close.is_some(), at_once.is_closed(), at_once.have, at_once.left.checked_ilog2()))
        });
    }
}
