//! One request on a connection of its own, for what a story asks by hand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header's fields, their names in small letters.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// GETs a path, with more header fields; none when there is no whole answer.
pub fn get(from: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&from, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let host = if fields.iter().any(|(name, _)| *name == "host") { String::new() } else { format!("host: {from}\r\n") };
    let more: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{host}{more}connection: close\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    read(&text)
}

fn read(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, lines) = head.split_once("\r\n").unwrap_or((head, ""));
    let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let status = first.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, fields: lines.lines().filter_map(field).collect(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = read("HTTP/1.1 200 OK\r\nX-Side: a\r\ncontent-length: 2\r\n\r\nOK").unwrap();
        assert_eq!((answer.status, answer.fields["x-side"].as_str(), answer.body.as_str()), (200, "a", "OK"));
        assert_eq!(read("HTTP/1.1 200"), None);
    }
}
