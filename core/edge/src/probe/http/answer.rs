//! An answer to a GET, read from bytes as they come (RFC 9112): bounded, and no kinder than it must be. Touches no socket.

use super::super::judge::BODY_MAX;
use crate::unchunk::Unchunk;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest head, with those of interim answers before it, in bytes.
pub(super) const HEAD_MAX: usize = BODY_MAX;

/// Fields of one head.
const FIELDS_MAX: usize = 100;

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    /// Its fields, when they were asked for.
    pub fields: HeaderMap,
    /// What follows it.
    pub body: Body,
    /// The server lets the connection be used again.
    pub persists: bool,
}

/// A body, as far as it has not come yet.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Unchunk),
    /// All that comes until the connection ends.
    ToTheEnd,
}

impl Head {
    /// The head at the beginning of these bytes, and where it ends; none: it is not whole yet. Interim answers before it are
    /// passed over. An error says why this is no HTTP.
    pub fn read(bytes: &[u8], with_fields: bool) -> Result<Option<(Head, usize)>, String> {
        let mut at = 0;
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut answer = httparse::Response::new(&mut fields);
            let rest = bytes.get(at..).unwrap_or_default();
            match answer.parse(rest).map_err(|error| error.to_string())? {
                httparse::Status::Partial if bytes.len() >= HEAD_MAX => return Err("its head is too long".to_owned()),
                httparse::Status::Partial => return Ok(None),
                httparse::Status::Complete(length) => at += length,
            }
            let status = answer.code.unwrap_or_default();
            if !(100..200).contains(&status) || status == 101 {
                return Head::of(status, answer.version == Some(1), answer.headers, with_fields)
                    .map(|head| Some((head, at)));
            }
        }
    }

    fn of(status: u16, new: bool, given: &[httparse::Header<'_>], with_fields: bool) -> Result<Head, String> {
        let (mut length, mut chunked, mut persists) = (None, false, new && status != 101);
        for field in given {
            if field.name.eq_ignore_ascii_case("content-length") {
                let value = decimal(field.value).ok_or("its Content-Length is no number")?;
                if length.is_some_and(|known| known != value) {
                    return Err("it has two lengths".to_owned());
                }
                length = Some(value);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !new || !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err("it has a transfer coding that nobody asked for".to_owned());
                }
                chunked = true;
            } else if field.name.eq_ignore_ascii_case("connection") {
                let mut options = field.value.split(|byte| *byte == b',');
                persists &= !options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
        }
        let body = match length {
            _ if matches!(status, 101 | 204 | 304) => Body::Length(0),
            // Where both are given somebody may be cheating (section 6.3): the connection is not used again.
            length if chunked => {
                persists &= length.is_none();
                Body::Chunked(Unchunk::new())
            }
            Some(length) => Body::Length(length),
            None => Body::ToTheEnd,
        };
        let fields = if with_fields { given.iter().filter_map(named).collect() } else { HeaderMap::new() };
        Ok(Head { status, fields, body, persists })
    }
}

fn named(field: &httparse::Header<'_>) -> Option<(HeaderName, HeaderValue)> {
    Some((field.name.parse().ok()?, HeaderValue::from_bytes(field.value).ok()?))
}

/// Digits only: no sign, no list.
fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Body {
    /// Whether nothing of it is left to come.
    pub fn is_over(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks) => chunks.is_over(),
            Body::ToTheEnd => false,
        }
    }

    /// Whether its end can be told from the connection's.
    pub fn is_framed(&self) -> bool {
        !matches!(self, Body::ToTheEnd)
    }

    /// Takes what of these bytes is of the body; how many: all, unless it ends before. Its data is added to a text. An error
    /// says why this is no HTTP.
    pub fn take(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, String> {
        match self {
            Body::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                data.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            }
            Body::Chunked(chunks) => {
                let mut bytes = bytes.to_vec();
                let part = chunks.take(&mut bytes).map_err(|_| "its chunks are malformed".to_owned())?;
                data.extend_from_slice(&bytes[part.data]);
                Ok(part.taken)
            }
            Body::ToTheEnd => {
                data.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Head {
        let (head, length) = Head::read(text.as_bytes(), true).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    fn wrong(text: &str) -> String {
        Head::read(text.as_bytes(), false).map(|_| ()).unwrap_err()
    }

    #[test]
    fn how_long_a_body_is_says_the_head() {
        assert!(matches!(head("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n").body, Body::Length(7)));
        assert!(matches!(
            head("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nContent-Length:7 \r\n\r\n").body,
            Body::Length(7)
        ));
        assert!(matches!(head("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n").body, Body::Chunked(_)));
        assert!(matches!(head("HTTP/1.1 200 OK\r\n\r\n").body, Body::ToTheEnd));
        assert!(matches!(head("HTTP/1.1 304 No\r\ncontent-length: 7\r\n\r\n").body, Body::Length(0)));
        assert!(matches!(head("HTTP/1.1 204 No\r\n\r\n").body, Body::Length(0)));
    }

    #[test]
    fn a_connection_persists_unless_the_server_says_or_is_otherwise() {
        assert!(head("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").persists);
        assert!(!head("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: upgrade, Close\r\n\r\n").persists);
        assert!(!head("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n").persists);
        assert!(!head("HTTP/1.1 101 Yes\r\n\r\n").persists);
        assert!(!head("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n").persists);
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let head = head(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nx-node: pub\r\n\r\n",
        );
        assert_eq!((head.status, head.fields.len(), head.fields["x-node"].as_bytes()), (200, 1, &b"pub"[..]));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_answer() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length: 8\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 7, 7\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +7\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\nSSH-2.0",
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        ] {
            assert!(!wrong(text).is_empty(), "{text}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_MAX));
        assert_eq!(wrong(&long), "its head is too long");
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_MAX / 20);
        assert_eq!(wrong(&interim), "its head is too long");
        let fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(FIELDS_MAX + 1));
        assert!(!wrong(&fields).is_empty());
    }

    proptest! {
        /// However an answer is cut, it says the same, and nothing after it is taken for a part of it.
        #[test]
        fn answers_survive_any_cut(cut in 1_usize..40, chunked in any::<bool>()) {
            let (head, body) = if chunked {
                ("transfer-encoding: chunked", "2;a=b\r\nAC\r\n4\r\nTIVE\r\n0\r\nx: y\r\n\r\n")
            } else {
                ("content-length: 6", "ACTIVE")
            };
            let whole = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}HTTP/1.1 500");
            let (mut bytes, mut text, mut after) = (Vec::new(), Vec::new(), 0);
            let mut body: Option<Body> = None;
            for piece in whole.as_bytes().chunks(cut) {
                bytes.extend_from_slice(piece);
                if body.is_none() && let Some((head, length)) = Head::read(&bytes, false).unwrap() {
                    bytes.drain(..length);
                    body = Some(head.body);
                }
                if let Some(body) = &mut body {
                    let taken = body.take(&bytes, &mut text).unwrap();
                    after += bytes.len() - taken;
                    bytes.clear();
                }
            }
            prop_assert!(body.is_some_and(|body| body.is_over()));
            prop_assert_eq!((text.as_slice(), after), (&b"ACTIVE"[..], "HTTP/1.1 500".len()));
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::read(&bytes, true);
            let mut data = Vec::new();
            let _ = Body::Chunked(Unchunk::new()).take(&bytes, &mut data);
            let digits: Vec<u8> = bytes.iter().map(|byte| b"0fF;\r\n x"[usize::from(byte % 8)]).collect();
            let _ = Body::Chunked(Unchunk::new()).take(&digits, &mut data);
        }
    }
}
