//! Whoever is given an answer: a connection of HTTP/1, or a stream of one of HTTP/2.

use super::Alarm;
use super::answer::{Framing, Head};
use crate::proxy::answer::Said;
use crate::proxy::outline::Outline;
use crate::proxy::settings::ListenSettings;
use crate::proxy::stream::Between;
use http::Version;
use pingora_core::{Error, ErrorType, Result};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};

/// Whoever has asked, and is given the answer.
pub(in crate::proxy) trait Taker: Send + Sync {
    /// What it speaks, in a request that says so.
    fn version(&self, asked: &Outline) -> Version;

    /// Who it is.
    fn address(&self) -> Option<SocketAddr>;

    /// Where it has connected to.
    fn listener(&self) -> Option<SocketAddr>;

    fn is_encrypted(&self) -> bool;

    /// The alarm of whoever waits for something on its behalf.
    fn alarm(&mut self) -> &mut Alarm;

    /// Ready when it waits for no answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Box<Error>>;

    /// It is told this head with the first portion. What of it is written as it stands is put into the text, which goes before.
    fn is_told(&mut self, head: &mut Head<'_>, out: Framing, lasts: bool, text: &mut Vec<u8>) -> Result<()>;

    /// Ready when it has taken all of the portion.
    fn poll_give(&mut self, cx: &mut Context<'_>, portion: &mut Portion<'_>) -> Poll<io::Result<()>>;

    /// Whether the kernel can move bytes to it: a body goes over its socket as it is.
    fn takes_bytes(&self) -> bool;

    /// Has the kernel move what is taken of what lies between a server and it.
    fn poll_move(&mut self, cx: &mut Context<'_>, between: &mut Between) -> Poll<io::Result<usize>>;

    /// Gives it an answer of the edge's own; returns how much of that was body, if it has taken it.
    fn is_refused(
        &mut self,
        said: Said,
        is_head: bool,
        limits: &ListenSettings,
    ) -> impl Future<Output = Option<u64>> + Send;

    /// A part of an answer has gone, and no more comes: nobody shall take it for whole. `with_connection`: that can be told by nothing
    /// but the connection's end.
    fn break_off(&mut self, with_connection: bool);
}

/// What is given at once of an answer.
#[derive(Debug)]
pub(in crate::proxy) struct Portion<'p> {
    /// What stands before the data, the data, and what stands behind it.
    parts: [&'p [u8]; 3],
    /// The answer ends with it.
    pub(in crate::proxy) end: bool,
    gone: usize,
}

impl<'p> Portion<'p> {
    pub(super) fn new(parts: [&'p [u8]; 3], end: bool) -> Portion<'p> {
        Portion { parts, end, gone: 0 }
    }

    /// A whole body.
    pub(in crate::proxy) fn of_body(data: &'p [u8]) -> Portion<'p> {
        Portion::new([b"", data, b""], true)
    }

    /// What is left of it, as it is written.
    pub(in crate::proxy) fn left(&self) -> [IoSlice<'p>; 3] {
        let mut skip = self.gone;
        self.parts.map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            IoSlice::new(&part[skipped..])
        })
    }

    /// What is left of its data, where nothing stands around that.
    pub(in crate::proxy) fn data(&self) -> &'p [u8] {
        &self.parts[1][self.gone.min(self.parts[1].len())..]
    }

    /// So many bytes of it are taken.
    pub(in crate::proxy) fn goes(&mut self, bytes: usize) {
        self.gone += bytes;
    }

    pub(in crate::proxy) fn is_gone(&self) -> bool {
        self.gone >= self.parts.iter().map(|part| part.len()).sum()
    }
}

/// The client is gone while its answer is awaited.
pub(in crate::proxy) fn gone(how: io::Result<()>) -> Box<Error> {
    match how {
        Ok(()) => Error::explain(ErrorType::ConnectionClosed, "the client has left").into_down(),
        Err(error) => Error::because(ErrorType::ReadError, "from the client", error).into_down(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_portion_is_what_has_not_gone() {
        let mut portion = Portion::new([b"ab", b"cde", b"f"], true);
        for expected in ["abcdef", "cdef", "ef", "f"] {
            let left: Vec<u8> = portion.left().iter().flat_map(|part| part.to_vec()).collect();
            assert_eq!(left, expected.as_bytes());
            assert!(!portion.is_gone());
            portion.goes(if expected == "abcdef" || expected == "cdef" { 2 } else { 1 });
        }
        assert!(portion.is_gone());
    }
}
