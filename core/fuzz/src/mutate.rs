//! Changes of bytes, drawn from a number: the same number draws the same changes.

use fastrand::Rng;

/// No input is longer.
const LONGEST: usize = 64 * 1024;
/// Changes of one input.
const CHANGES: usize = 6;
/// Bytes at the edges of what is counted, and those between which texts are parted.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xfe\xff\r\n\t ,;:=\"'/%\\0123456789abcdefABCDEF";
/// Numbers at the edges of what is counted.
const NUMBERS: &[u64] =
    &[0, 1, 2, 7, 8, 63, 64, 125, 126, 127, 128, 255, 256, 4095, 4096, 16_383, 16_384, 65_535, 65_536];

pub(crate) struct Mutations<'w> {
    random: Rng,
    words: &'w [&'w [u8]],
}

impl<'w> Mutations<'w> {
    pub(crate) fn new(seed: u64, words: &'w [&'w [u8]]) -> Mutations<'w> {
        Mutations { random: Rng::with_seed(seed), words }
    }

    /// Another input, made of those that are there; there is one at least.
    pub(crate) fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(corpus).clone();
        for _ in 0..=self.random.usize(..CHANGES) {
            self.change(&mut input, corpus);
        }
        input.truncate(LONGEST);
        input
    }

    fn one_of<'c, T>(&mut self, from: &'c [T]) -> &'c T {
        &from[self.random.usize(..from.len())]
    }

    /// A part of so many bytes; it may be empty.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.random.usize(..=length);
        // Short parts are what most fields are.
        let most = if self.random.bool() { 8.min(length - from) } else { length - from };
        from..from + self.random.usize(..=most)
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.random.usize(..=input.len());
        match self.random.u8(..12) {
            0 if at < input.len() => input[at] ^= 1 << self.random.u8(..8),
            1 if at < input.len() => input[at] = *self.one_of(TELLING),
            2 if at < input.len() => input[at] = self.random.u8(..),
            3 => input.insert(at, *self.one_of(TELLING)),
            4 => drop(input.drain(self.part(input.len()))),
            5 => {
                let part = self.part(input.len());
                let again: Vec<u8> = input[part].to_vec();
                let times = 1 + self.random.usize(..4);
                input.splice(at..at, again.repeat(times));
            }
            6 if !self.words.is_empty() => {
                let word = *self.one_of(self.words);
                input.splice(at..at, word.iter().copied());
            }
            7 => {
                let other = self.one_of(corpus);
                let part = self.part(other.len());
                input.splice(at..at, other[part].iter().copied());
            }
            8 => input.truncate(at),
            9 => self.put_number(input, at),
            10 => self.write_number(input),
            _ => {
                let part = self.part(input.len());
                input[part].reverse();
            }
        }
        input.truncate(LONGEST);
    }

    /// A number as machines write it, over what is there.
    fn put_number(&mut self, input: &mut [u8], at: usize) {
        let number = *self.one_of(NUMBERS);
        let (width, is_big) = (1 << self.random.u8(..4), self.random.bool());
        let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
        let bytes = if is_big { &big[8 - width..] } else { &little[..width] };
        let room = &mut input[at..];
        let fits = room.len().min(width);
        room[..fits].copy_from_slice(&bytes[..fits]);
    }

    /// Another number, as people write it, in the place of one.
    fn write_number(&mut self, input: &mut Vec<u8>) {
        let digits: Vec<usize> = (0..input.len()).filter(|at| input[*at].is_ascii_digit()).collect();
        if digits.is_empty() {
            return;
        }
        let from = *self.one_of(&digits);
        let length = input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = match self.random.u8(..4) {
            0 => "18446744073709551615".to_owned(),
            1 => "9223372036854775808".to_owned(),
            2 => self.random.u64(..).to_string(),
            _ => self.one_of(NUMBERS).to_string(),
        };
        input.splice(from..from + length, number.into_bytes());
    }
}
