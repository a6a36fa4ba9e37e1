//! How the data plane is seen: `[edge.access_log]`, and of `[edge]` the keys `metrics`, `trace` and `request_id`.

use super::edge::beside;
use super::table::Table;
use crate::access::{Format, Settings, To};
use std::net::SocketAddr;
use std::path::Path;

/// What is written, shown and made of requests beside serving them. All of it is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenConfig {
    /// `[edge.access_log]`.
    pub access_log: Option<Settings>,
    /// Where metrics are given to whoever asks, beside the admin API.
    pub metrics: Option<SocketAddr>,
    /// A request without a trace context is given one.
    pub trace: bool,
    /// A request without an `X-Request-Id` is given one.
    pub request_id: bool,
}

/// Reads what of `[edge]` is about this. Relative paths start at the configuration's directory.
pub(super) fn read(table: &mut Table<'_, '_>, file: &Path) -> SeenConfig {
    let words = [("pass", false), ("always", true)];
    let metrics = table.parsed("metrics", "an address \"IP:PORT\", such as \"10.0.0.100:7481\"");
    SeenConfig {
        metrics: metrics.map(|metrics| metrics.value),
        trace: table.word("trace", &words).unwrap_or_default(),
        request_id: table.word("request_id", &words).unwrap_or_default(),
        access_log: table.table("access_log", "edge.access_log").and_then(|table| access_log(table, file)),
    }
}

fn access_log(mut table: Table<'_, '_>, file: &Path) -> Option<Settings> {
    let format = table.word("format", &[("json", Format::Json), ("combined", Format::Combined)]);
    let to = match table.text("file") {
        Some(name) if name.value.is_empty() => {
            table.refuse(name.at, "file", "is empty", "a file's path, or \"stdout\"");
            None
        }
        Some(name) if name.value == "stdout" => Some(To::Stdout),
        Some(name) => Some(To::File(beside(file).join(name.value))),
        None => {
            table.missing("file", "a file's path, such as `file = \"/var/log/lockstep/access.log\"`, or \"stdout\"");
            None
        }
    };
    table.finish();
    Some(Settings { to: to?, format: format.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn read(lines: &str) -> Result<SeenConfig, String> {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("edge.toml");
        std::fs::write(&file, format!("[edge]\n{lines}\n")).unwrap();
        let read = crate::config::load_edge(&file).map(|edge| edge.seen);
        read.map_err(|report| report.to_string().replace(&file.display().to_string(), "edge.toml")).map(|mut seen| {
            if let Some(Settings { to: To::File(path), .. }) = &mut seen.access_log {
                *path = path.strip_prefix(directory.path()).expect("it starts at the file's directory").to_owned();
            }
            seen
        })
    }

    #[test]
    fn all_of_it_is_off_until_it_is_asked_for() {
        assert_eq!(read(""), Ok(SeenConfig::default()));
        assert_eq!(read("trace = \"pass\"\nrequest_id = \"pass\""), Ok(SeenConfig::default()));
        let log = |lines: &str| read(&format!("[edge.access_log]\n{lines}")).unwrap().access_log.unwrap();
        assert_eq!(
            log("file = \"logs/access\""),
            Settings { to: To::File("logs/access".into()), format: Format::Json }
        );
        assert_eq!(
            log("file = \"stdout\"\nformat = \"combined\""),
            Settings { to: To::Stdout, format: Format::Combined }
        );
        let all = read("metrics = \"[::1]:7481\"\ntrace = \"always\"\nrequest_id = \"always\"").unwrap();
        assert_eq!((all.metrics, all.trace, all.request_id), ("[::1]:7481".parse().ok(), true, true));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let said = [
            ("metrics = \"7481\"", "edge.toml:2:11: edge.metrics: \"7481\" is refused"),
            (
                "trace = \"allways\"",
                "edge.toml:2:9: edge.trace: \"allways\" is not known; \"pass\" or \"always\"; did you mean `always`?",
            ),
            ("request_id = true", "edge.request_id: is of the wrong type"),
            ("[edge.access_log]", "edge.access_log.file: is missing; a file's path, such as"),
            ("[edge.access_log]\nfile = \"\"", "edge.toml:3:8: edge.access_log.file: is empty"),
            ("[edge.access_log]\nfile = \"x\"\nformat = \"jsn\"", "edge.access_log.format: \"jsn\" is not known"),
            (
                "[edge.access_log]\nfile = \"x\"\nrotate = 7",
                "edge.access_log.rotate: is not a known key; known: format, file",
            ),
        ];
        for (lines, expected) in said {
            let found = read(lines).unwrap_err();
            assert!(found.contains(expected), "{lines}: {found}");
        }
    }
}
