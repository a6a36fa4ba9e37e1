//! Messages of GED-188, the protocol of a CTI server: a header of two numbers, fixed fields, tagged fields.
//!
//! Only the messages of a session's life are known; all others are told apart by their type and skipped.

use lockstep_policy::action::CtiProbe;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No message of the protocol is so long; a length beyond it is a lie, or another protocol.
pub(super) const BODY_MAX: u32 = 16 * 1024;

/// From this version on, tags and lengths of tagged fields have two bytes instead of one.
const WIDE_TAGS: u32 = 18;

const CLIENT_ID: u16 = 1;
const CLIENT_PASSWORD: u16 = 2;

/// The longest client id and password, without the byte that ends them.
pub(super) const TEXT_MAX: usize = 63;

/// What a server says that a session's life depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// `OPEN_CONF` to a request of this number.
    Opened(u32),
    /// `HEARTBEAT_CONF` to a request of this number.
    Beats(u32),
    /// `FAILURE_CONF`: the request of this number has failed, with this status.
    Failed(u32, u32),
    /// `FAILURE_EVENT`: the session has failed, with this status.
    Broken(u32),
    /// `CLOSE_REQ`: the server ends the session, with this status.
    Closing(u32),
    /// `CLOSE_CONF`.
    Closed,
    /// A message of another type.
    Other(u32),
}

/// Why nothing could be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSaid {
    /// The connection.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no such message.
    #[error("not GED-188: {0}")]
    Nonsense(String),
}

/// The next message.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Said, NotSaid> {
    let length = from.read_u32().await?;
    if length > BODY_MAX {
        return Err(NotSaid::Nonsense(format!("a message of {length} bytes")));
    }
    let kind = from.read_u32().await?;
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).await?;
    let field = |at: usize| {
        let bytes = body.get(at * 4..at * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        let short = || NotSaid::Nonsense(format!("a message of type {kind} with {length} bytes only"));
        bytes.map(u32::from_be_bytes).ok_or_else(short)
    };
    Ok(match kind {
        1 => Said::Failed(field(0)?, field(1)?),
        2 => Said::Broken(field(0)?),
        4 => Said::Opened(field(0)?),
        6 => Said::Beats(field(0)?),
        7 => Said::Closing(if body.len() >= 8 { field(1)? } else { field(0)? }),
        8 => Said::Closed,
        other => Said::Other(other),
    })
}

/// `OPEN_REQ`.
pub(super) fn open(invoke: u32, probe: &CtiProbe, password: Option<&str>) -> Vec<u8> {
    // Rounded up: a shorter time than asked for would end sessions that are well.
    let idle = u32::try_from(probe.idle_timeout.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    let (call_mask, agent_mask, config_mask, reserved) = (0, 0, 0, 0);
    let fixed = [
        invoke,
        probe.version,
        idle,
        probe.peripheral,
        probe.services,
        call_mask,
        agent_mask,
        config_mask,
        reserved,
        reserved,
        reserved,
    ];
    let mut body: Vec<u8> = fixed.into_iter().flat_map(u32::to_be_bytes).collect();
    if !probe.client.is_empty() {
        tagged(&mut body, probe.version, CLIENT_ID, &probe.client);
    }
    if let Some(password) = password {
        tagged(&mut body, probe.version, CLIENT_PASSWORD, password);
    }
    message(3, &body)
}

/// `HEARTBEAT_REQ`.
pub(super) fn heartbeat(invoke: u32) -> Vec<u8> {
    message(5, &invoke.to_be_bytes())
}

/// `CLOSE_REQ`, without any trouble.
pub(super) fn close(invoke: u32) -> Vec<u8> {
    let status: u32 = 0;
    message(7, &[invoke.to_be_bytes(), status.to_be_bytes()].concat())
}

/// A text with its tag, its length, and the byte that ends it.
fn tagged(body: &mut Vec<u8>, version: u32, tag: u16, text: &str) {
    let length = u16::try_from(text.len() + 1).unwrap_or(u16::MAX);
    for number in [tag, length] {
        let [high, low] = number.to_be_bytes();
        if version >= WIDE_TAGS {
            body.push(high);
        }
        body.push(low);
    }
    body.extend_from_slice(text.as_bytes());
    body.push(0);
}

fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &kind.to_be_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_policy::action::Tls;
    use std::time::Duration;

    fn probe(version: u32) -> CtiProbe {
        CtiProbe {
            port: 0,
            tls: Tls::Off,
            version,
            peripheral: u32::MAX,
            services: 4,
            idle_timeout: Duration::from_millis(20_500),
            client: "edge".into(),
            secret: String::new(),
        }
    }

    #[test]
    fn an_open_request_has_eleven_numbers_and_narrow_tags() {
        let bytes = open(7, &probe(14), Some("pw"));
        let expected = [
            &[0, 0, 0, 44 + 7 + 5][..],
            &[0, 0, 0, 3],
            &[0, 0, 0, 7],
            &[0, 0, 0, 14],
            &[0, 0, 0, 21],
            &[255, 255, 255, 255],
            &[0, 0, 0, 4],
            &[0; 24],
            b"\x01\x05edge\0",
            b"\x02\x03pw\0",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn later_versions_have_wide_tags() {
        let bytes = open(7, &probe(18), Some("pw"));
        assert!(bytes.ends_with(b"\0\x01\0\x05edge\0\0\x02\0\x03pw\0"), "{bytes:?}");
        assert_eq!(bytes[..4], [0, 0, 0, 44 + 9 + 7]);
    }

    #[tokio::test]
    async fn what_lies_or_is_cut_is_refused() {
        let mut long: &[u8] = b"HTTP/1.1 400 Bad Request";
        assert!(matches!(read(&mut long).await, Err(NotSaid::Nonsense(_))));
        let mut short: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 9];
        assert!(matches!(read(&mut short).await, Err(NotSaid::Nonsense(_))));
        let mut cut: &[u8] = &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0];
        assert!(matches!(read(&mut cut).await, Err(NotSaid::Io(_))));
        let mut whole: &[u8] = &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 92];
        assert_eq!(read(&mut whole).await.unwrap(), Said::Failed(7, 92));
        let mut foreign: &[u8] = &[0, 0, 0, 2, 0, 0, 0, 31, 1, 2];
        assert_eq!(read(&mut foreign).await.unwrap(), Said::Other(31));
    }
}
