//! The two sides of a pair, and the number that tells one attempt to move the active role from the next.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Index, IndexMut};

/// One of the two sides of a pair. `A` is the vendor's first server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The vendor's first server, publisher or site.
    A,
    /// The other one.
    B,
}

impl Side {
    /// Both sides, in order.
    pub const BOTH: [Side; 2] = [Side::A, Side::B];

    /// The side that this one is not.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::A => "a",
            Side::B => "b",
        })
    }
}

/// `a` or `b`, in either case.
impl std::str::FromStr for Side {
    type Err = UnknownSide;

    fn from_str(text: &str) -> Result<Side, UnknownSide> {
        match text {
            "a" | "A" => Ok(Side::A),
            "b" | "B" => Ok(Side::B),
            other => Err(UnknownSide(other.to_owned())),
        }
    }
}

/// A text that names no side.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a side: say `a` or `b`")]
pub struct UnknownSide(String);

/// One value for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sides<T> {
    /// The value of side A.
    pub a: T,
    /// The value of side B.
    pub b: T,
}

impl<T> Sides<T> {
    /// Both values from a function of the side.
    pub fn from_fn(mut make: impl FnMut(Side) -> T) -> Sides<T> {
        Sides { a: make(Side::A), b: make(Side::B) }
    }

    /// Both sides with their values, A first.
    pub fn iter(&self) -> impl Iterator<Item = (Side, &T)> {
        [(Side::A, &self.a), (Side::B, &self.b)].into_iter()
    }

    /// Both values changed by a function of the side.
    pub fn map<U>(self, mut change: impl FnMut(Side, T) -> U) -> Sides<U> {
        Sides { a: change(Side::A, self.a), b: change(Side::B, self.b) }
    }
}

impl<T> Index<Side> for Sides<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

impl<T> IndexMut<Side> for Sides<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

/// The fencing token: grows by one with every attempt to change who is active. Zero: nothing was ever attempted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next attempt's epoch.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
