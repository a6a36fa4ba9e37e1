//! Logs that programs write a line at a time, and may be killed while they do.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// Reads a log. A last line that is not whole is left out; a missing file is an empty log.
///
/// # Errors
/// The file cannot be read, or a whole line is not understood.
pub(crate) fn read<T, E: Display>(path: &Path, parse: impl Fn(&str) -> Result<T, E>) -> io::Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let wrong =
        |line: &str, why: E| io::Error::new(io::ErrorKind::InvalidData, format!("{}: `{line}`: {why}", path.display()));
    whole.lines().map(|line| parse(line).map_err(|why| wrong(line, why))).collect()
}
