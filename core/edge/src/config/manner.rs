//! How a pair treats its clients: `mode`, `[pair.unavailable]`, `[pair.maintenance]`, `[pair.forwarded]`, `[[pair.rewrite]]`.

use super::journal::Size;
use super::listener;
use super::pair::HOUR;
use super::sides::ReadSide;
use super::table::{Placed, Table};
use crate::proxy::{ForwardedFields, ForwardedRules, Manner, Notice, PAGE_MAX, Page, Rewrite};
use bytes::Bytes;
use http::HeaderValue;
use lockstep_policy::{Side, Sides};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Pages of one notice.
const PAGES_MAX: usize = 16;
/// Rules of one pair.
const REWRITES_MAX: usize = 64;
/// Names that one rule replaces.
const REPLACED_MAX: usize = 64;
/// What a rewritten body may have by default, in bytes, and at most.
const BODY: usize = 1_000_000;
const BODY_MAX: u64 = 64 << 20;
/// The longest text of a rule, in bytes.
const TEXT_MAX: usize = 1024;

/// Whether clients are given to the active side, or sent to it.
pub(super) struct Mode {
    at: usize,
    redirect: bool,
}

pub(super) fn mode(table: &mut Table<'_, '_>) -> Mode {
    let at = table.place("mode").unwrap_or(table.at());
    Mode { at, redirect: table.word("mode", &[("proxy", false), ("redirect", true)]).unwrap_or(false) }
}

/// What is said, told and changed. Relative paths start at `dir`; the keys' defaults are those of `[pair.hold]`.
pub(super) fn read(table: &mut Table<'_, '_>, dir: &Path, retry_after: Duration) -> Manner {
    let unavailable = table.table("unavailable", "pair.unavailable");
    let maintenance = table.table("maintenance", "pair.maintenance");
    Manner {
        unavailable: unavailable.map(|table| notice(table, "pair.unavailable.page", dir, retry_after)),
        maintenance: maintenance.map(|table| notice(table, "pair.maintenance.page", dir, retry_after)),
        forwarded: forwarded(table.table("forwarded", "pair.forwarded")),
        rewrites: rewrites(table),
        ..Manner::default()
    }
}

/// The sides' own names, in `mode = "redirect"`.
pub(super) fn redirect(
    table: &Table<'_, '_>,
    mode: &Mode,
    sides: &Sides<ReadSide>,
    listeners: &[listener::ReadListener],
) -> Option<Sides<String>> {
    if !mode.redirect {
        return None;
    }
    let example = "a name that clients reach the side by, such as `name = \"https://side-a.example\"`";
    for (side, read) in sides.iter().filter(|(_, read)| read.name.is_none()) {
        table.refuse(
            read.at,
            &format!("{side}.name"),
            "is missing, and `mode = \"redirect\"` sends clients there",
            example,
        );
    }
    if listeners.iter().any(|listener| listener.config.protocol == listener::Protocol::Tcp) {
        let what = "there is a listener of `protocol = \"tcp\"`: a stream cannot be sent elsewhere";
        table.refuse(mode.at, "mode", what, "`mode = \"proxy\"`, or a pair of its own for the streams");
    }
    let name = |side: Side| sides[side].name.clone();
    Some(Sides { a: name(Side::A)?, b: name(Side::B)? })
}

/// A side's own name for clients: `http://` or `https://`, and a host.
pub(super) fn side_name(table: &mut Table<'_, '_>) -> Option<String> {
    let name = table.text("name")?;
    let uri = name.value.parse::<http::Uri>().ok();
    let sound = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
    });
    if !sound {
        let what = format!("\"{}\" is not a scheme and a host", name.value);
        table.refuse(name.at, "name", what, "`https://` or `http://` and a host, such as \"https://side-a.example\"");
        return None;
    }
    Some(name.value.trim_end_matches('/').to_owned())
}

fn notice(mut table: Table<'_, '_>, pages_path: &'static str, dir: &Path, retry_after: Duration) -> Notice {
    let at = table.place("status");
    let status = table.number("status", 503, 200..=599);
    let status = u16::try_from(status).unwrap_or(503);
    if let Some(at) = at.filter(|_| !(status == 200 || status >= 400)) {
        let what = format!("{status} does not say that a request was not served");
        table.refuse(at, "status", what, "503; another from 400 to 599; or 200, for clients that look at nothing else");
    }
    let retry_after = table.duration("retry_after", retry_after, Duration::from_secs(1)..=24 * HOUR).value;
    let mut pages: Vec<Page> = page(&mut table, dir, false).into_iter().collect();
    let (more_at, more) = (table.place("page"), table.tables("page", pages_path));
    if more.len() >= PAGES_MAX {
        table.refuse(more_at.unwrap_or(table.at()), "page", format!("{} pages are too many", more.len()), "at most 15");
    }
    pages.extend(more.into_iter().filter_map(|mut table| {
        let page = page(&mut table, dir, true);
        table.finish();
        page
    }));
    table.finish();
    Notice { status, retry_after, pages }
}

/// `content_type`, and `body` or `file`.
fn page(table: &mut Table<'_, '_>, dir: &Path, must: bool) -> Option<Page> {
    let content_type = table.text("content_type");
    let (body, file) = (table.text("body"), table.text("file"));
    if let Some(content_type) = &content_type
        && !is_media_type(&content_type.value)
    {
        let what = format!("\"{}\" is not a media type", content_type.value);
        table.refuse(content_type.at, "content_type", what, "a media type, such as \"text/html; charset=utf-8\"");
    }
    let body = match (body, file) {
        (Some(_), Some(file)) => {
            table.refuse(file.at, "file", "stands beside `body`", "one of both");
            return None;
        }
        (Some(body), None) if body.value.len() > PAGE_MAX => {
            table.refuse(body.at, "body", format!("has {} bytes", body.value.len()), "at most 64 KiB");
            return None;
        }
        (Some(body), None) => Bytes::from(body.value),
        (None, Some(file)) => match read_page(&dir.join(&file.value)) {
            Ok(body) => body,
            Err(error) => {
                let what = format!("{}: {error}", dir.join(&file.value).display());
                table.refuse(file.at, "file", what, "a file of at most 64 KiB that the edge may read");
                return None;
            }
        },
        (None, None) if must || content_type.is_some() => {
            table.missing("body", "what is said, as `body = \"…\"` or `file = \"PATH\"`");
            return None;
        }
        (None, None) => return None,
    };
    let plain = || "text/plain; charset=utf-8".to_owned();
    Some(Page { content_type: content_type.map_or_else(plain, |content_type| content_type.value), body })
}

fn read_page(path: &Path) -> io::Result<Bytes> {
    let mut body = Vec::new();
    File::open(path)?.take(PAGE_MAX as u64 + 1).read_to_end(&mut body)?;
    if body.len() > PAGE_MAX { Err(io::Error::other("is larger than 64 KiB")) } else { Ok(body.into()) }
}

fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    essence.split_once('/').is_some_and(|(kind, of)| token(kind) && token(of)) && HeaderValue::from_str(text).is_ok()
}

fn forwarded(table: Option<Table<'_, '_>>) -> ForwardedRules {
    let Some(mut table) = table else { return ForwardedRules::default() };
    let words = [
        ("x-forwarded", ForwardedFields::XForwarded),
        ("forwarded", ForwardedFields::Forwarded),
        ("both", ForwardedFields::Both),
        ("none", ForwardedFields::None),
    ];
    let add = table.word("add", &words).unwrap_or_default();
    let trust = listener::networks(&mut table, "trust");
    table.finish();
    ForwardedRules { add, trust }
}

fn rewrites(table: &mut Table<'_, '_>) -> Vec<Arc<Rewrite>> {
    let (at, tables) = (table.place("rewrite"), table.tables("rewrite", "pair.rewrite"));
    if tables.len() > REWRITES_MAX {
        let what = format!("{} rules are too many", tables.len());
        table.refuse(at.unwrap_or(table.at()), "rewrite", what, format!("at most {REWRITES_MAX}"));
    }
    tables.into_iter().map(rewrite).map(Arc::new).collect()
}

fn rewrite(mut table: Table<'_, '_>) -> Rewrite {
    let (path, prefix) = (table.text("path"), table.text("prefix"));
    let example = "a path, such as `path = \"/finesse/api/SystemInfo\"`, or `prefix = \"/desktop/\"`";
    if let (Some(_), Some(prefix)) = (&path, &prefix) {
        table.refuse(prefix.at, "prefix", "stands beside `path`", "one of both");
    }
    let (key, is_prefix, given) = match (path, prefix) {
        (None, Some(prefix)) => ("prefix", true, Some(prefix)),
        (path, _) => ("path", false, path),
    };
    match &given {
        None => table.missing("path", example),
        Some(path)
            if !path.value.starts_with('/') || path.value.contains(['?', '#']) || path.value.len() > TEXT_MAX =>
        {
            table.refuse(path.at, key, format!("\"{}\" is not an absolute path", path.value), example);
        }
        Some(_) => {}
    }
    let content_types = table.list::<String>("content_types", "a media type, such as \"application/xml\"");
    let content_types = content_types.map(|listed| listed.items).unwrap_or_default();
    let content_types = content_types.into_iter().map(|kind: Placed<String>| kind.value.to_ascii_lowercase()).collect();
    let replace = match table.table("replace", "pair.rewrite.replace") {
        Some(table) => replaced(&table),
        None => {
            table.missing(
                "replace",
                "what is replaced by what, such as `replace = { \"node-a.example\" = \"vip.example\" }`",
            );
            Vec::new()
        }
    };
    let valid = "a size with its unit from 1kB to 64MiB, such as \"1MB\"";
    let max_bytes = match table.parsed::<Size>("max_bytes", valid) {
        Some(size) if (1000..=BODY_MAX).contains(&size.value.0) => usize::try_from(size.value.0).unwrap_or(BODY),
        Some(size) => {
            table.refuse(size.at, "max_bytes", format!("{} bytes are out of range", size.value.0), valid);
            BODY
        }
        None => BODY,
    };
    table.finish();
    let path = given.map(|path| path.value).unwrap_or_default();
    Rewrite { path, is_prefix, content_types, replace, max_bytes }
}

fn replaced(table: &Table<'_, '_>) -> Vec<(String, String)> {
    let replaced = table.texts();
    if replaced.is_empty() || replaced.len() > REPLACED_MAX {
        let what = format!("{} names are to be replaced", replaced.len());
        table.refuse(table.at(), "", what, format!("1 to {REPLACED_MAX}"));
    }
    for (what, by) in &replaced {
        if what.value.is_empty() || what.value.len() > TEXT_MAX || by.len() > TEXT_MAX {
            table.refuse(what.at, &what.value, "is empty or longer than 1024 bytes", "a name, and what it becomes");
        }
    }
    replaced.into_iter().map(|(what, by)| (what.value, by)).collect()
}
