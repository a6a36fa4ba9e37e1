//! New sessions by turns, in the proportion of the sides' parts.

use lockstep_policy::{Side, Sides};

/// The parts, and whose turn it is.
///
/// Each turn gives every side its part as credit and takes the whole from the side that had the most: `1:1` alternates,
/// `3:1` is a a b a, and any run of turns differs from the proportion by less than one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    parts: Sides<u32>,
    credit: Sides<i64>,
}

impl Parts {
    /// New parts. The same ones again do not begin anew: else shares that follow each other would all favour A.
    pub fn set(&mut self, parts: Sides<u32>) {
        if self.parts != parts {
            *self = Parts { parts, credit: Sides::default() };
        }
    }

    pub fn of(&self) -> Sides<u32> {
        self.parts
    }

    /// The side whose turn it is; `None` when no side has a part.
    pub fn next(&mut self) -> Option<Side> {
        let whole = i64::from(self.parts.a) + i64::from(self.parts.b);
        if whole == 0 {
            return None;
        }
        for side in Side::BOTH {
            self.credit[side] += i64::from(self.parts[side]);
        }
        let side = if self.credit.a >= self.credit.b { Side::A } else { Side::B };
        self.credit[side] -= whole;
        Some(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(a: u32, b: u32, count: usize) -> String {
        let mut parts = Parts::default();
        parts.set(Sides { a, b });
        (0..count).map(|_| parts.next().map_or("-".to_owned(), |side| side.to_string())).collect()
    }

    #[test]
    fn sides_take_turns_by_their_parts() {
        assert_eq!(turns(1, 1, 6), "ababab");
        assert_eq!(turns(3, 1, 8), "aabaaaba");
        assert_eq!(turns(0, 1, 3), "bbb");
        assert_eq!(turns(5, 0, 3), "aaa");
        assert_eq!(turns(0, 0, 2), "--");
        assert_eq!(turns(u32::MAX, u32::MAX, 4), "abab");
    }

    #[test]
    fn the_same_parts_again_do_not_begin_anew() {
        let mut parts = Parts::default();
        let mut next = || {
            parts.set(Sides { a: 1, b: 1 });
            parts.next()
        };
        assert_eq!([next(), next()], [Some(Side::A), Some(Side::B)]);
    }
}
