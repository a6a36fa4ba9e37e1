//! Who a certificate is for. It stands in the certificate as a URI, so that no address and no host name matters: nodes move.
//!
//! `lockstep:edge:NAME` and `lockstep:agent:PAIR:SIDE`; in names, everything but `A-Z a-z 0-9 - _ .` is written as `%XX`.

use lockstep_policy::Side;
use std::fmt;

/// No name is longer, in bytes.
const NAME_MAX: usize = 128;
const SCHEME: &str = "lockstep:";

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// An edge. It may speak to agents, and never be taken for one.
    Edge {
        /// Its name in its configuration.
        name: String,
    },
    /// The agent of one side of one pair, and of no other.
    Agent {
        /// The pair.
        pair: String,
        /// The side.
        side: Side,
    },
}

impl Identity {
    /// An edge's.
    ///
    /// # Errors
    /// The name is empty or too long.
    pub fn edge(name: &str) -> Result<Identity, String> {
        Ok(Identity::Edge { name: sound("an edge", name)? })
    }

    /// An agent's.
    ///
    /// # Errors
    /// The pair's name is empty or too long.
    pub fn agent(pair: &str, side: Side) -> Result<Identity, String> {
        Ok(Identity::Agent { pair: sound("a pair", pair)?, side })
    }

    /// As it stands in the certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Identity::Edge { name } => format!("{SCHEME}edge:{}", escape(name)),
            Identity::Agent { pair, side } => format!("{SCHEME}agent:{}:{side}", escape(pair)),
        }
    }

    /// What a URI says; none when it is not one of ours, as a whole and in its one spelling.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Identity> {
        let parts: Vec<&str> = uri.strip_prefix(SCHEME)?.split(':').collect();
        let identity = match parts[..] {
            ["edge", name] => Identity::edge(&unescape(name)?).ok()?,
            ["agent", pair, side] => Identity::agent(&unescape(pair)?, side.parse().ok()?).ok()?,
            _ => return None,
        };
        // One name has one spelling: nothing is equal here and different elsewhere.
        (identity.uri() == uri).then_some(identity)
    }

    /// For the name of a file: `edge-edge-1`, `agent-telisca-a`.
    #[must_use]
    pub fn file_stem(&self) -> String {
        match self {
            Identity::Edge { name } => format!("edge-{}", escape(name)),
            Identity::Agent { pair, side } => format!("agent-{}-{side}", escape(pair)),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Edge { name } => write!(f, "edge \"{name}\""),
            Identity::Agent { pair, side } => write!(f, "the agent of side {side} of pair \"{pair}\""),
        }
    }
}

/// Whether a URI claims to be one of ours.
pub(super) fn is_ours(uri: &str) -> bool {
    uri.starts_with(SCHEME)
}

fn sound(whose: &str, name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("the name of {whose} has 1 to {NAME_MAX} bytes, and this one {}", name.len()));
    }
    Ok(name.to_owned())
}

fn escape(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agent(pair: &str) -> Identity {
        Identity::agent(pair, Side::A).unwrap()
    }

    #[test]
    fn it_reads_like_this() {
        assert_eq!(agent("telisca").uri(), "lockstep:agent:telisca:a");
        assert_eq!(agent("a:b").uri(), "lockstep:agent:a%3Ab:a");
        assert_eq!(Identity::edge("edge-1").unwrap().uri(), "lockstep:edge:edge-1");
        assert_eq!(agent("a/../b").file_stem(), "agent-a%2F..%2Fb-a");
    }

    #[test]
    fn what_is_not_wholly_ours_is_nobody() {
        let strangers = [
            "lockstep:edge:",
            "lockstep:edge",
            "lockstep:edge:a:b",
            "lockstep:agent:a:c",
            "lockstep:agent:a%3ab:a",
            "lockstep:agent:%61:a",
            "lockstep:agent:a%:a",
            "lockstep:agent:a%FF:a",
            "lockstep:operator:jo",
            "spiffe://edge/a",
            "",
        ];
        for uri in strangers {
            assert_eq!(Identity::from_uri(uri), None, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_no_two_are_one(one in ".{1,30}", other in ".{1,30}") {
            let (one, other) = (agent(&one), agent(&other));
            prop_assert_eq!(Identity::from_uri(&one.uri()), Some(one.clone()));
            prop_assert_eq!(one.uri() == other.uri(), one == other);
            prop_assert!(one.uri().is_ascii());
        }
    }
}
