//! Strangers' XML: no entity is expanded but XML's own five, and nothing is deeper than it may be.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// No element is looked into that is deeper.
pub(super) const DEPTH: usize = 64;

/// The longest text of an element that is kept.
const TEXT_MAX: usize = 4096;

/// The element names of a path: `SystemInfo/status`.
pub(super) fn path(expression: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = expression.trim_start_matches('/').split('/').map(str::to_owned).collect();
    if names.len() > DEPTH || names.iter().any(|name| name.is_empty() || name.contains(char::is_whitespace)) {
        return Err(format!("\"{expression}\" is no path of element names, such as SystemInfo/status"));
    }
    Ok(names)
}

/// The text of the first element at a path; of a document that ends early or badly: when it stands before that.
pub(super) fn text_at(document: &str, path: &[String]) -> Option<String> {
    let mut reader = Reader::from_str(document);
    // How deep we are, and how many of the elements around us are those of the path.
    let (mut depth, mut matched) = (0, 0);
    let mut text = String::new();
    loop {
        let inside = depth == path.len() && matched == path.len();
        match reader.read_event().ok()? {
            Event::Start(element) => {
                if matched == depth && path.get(depth).is_some_and(|name| is_named(element.name().as_ref(), name)) {
                    matched += 1;
                }
                depth += 1;
                if depth > DEPTH {
                    return None;
                }
            }
            Event::Empty(element) => {
                let last = depth + 1 == path.len() && matched == depth;
                if last && is_named(element.name().as_ref(), &path[depth]) {
                    return Some(String::new());
                }
            }
            Event::End(_) if inside => return Some(text.trim().to_owned()),
            Event::End(_) => {
                depth = depth.checked_sub(1)?;
                matched = matched.min(depth);
            }
            Event::Text(part) if inside => text.push_str(&part.xml10_content()),
            Event::CData(part) if inside => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) if inside => text.push(character(&reference)?),
            Event::Eof => return None,
            _ => {}
        }
        if text.len() > TEXT_MAX {
            return Some(text.trim().to_owned());
        }
    }
}

/// A name without a prefix in a path is anybody's.
fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || name.rsplit_once(':').is_some_and(|(_, local)| local == wanted)
}

/// What a reference stands for; none for an entity that the document defines, or that nobody does.
pub(super) fn character(reference: &BytesRef<'_>) -> Option<char> {
    if reference.is_char_ref() {
        return reference.resolve_char_ref().ok()?;
    }
    match &*reference.xml10_content() {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &str, expression: &str) -> Option<String> {
        text_at(document, &path(expression).unwrap())
    }

    #[test]
    fn the_first_element_at_the_path_counts() {
        let document = "<?xml version='1.0'?><SystemInfo><x><status>no</status></x><status> IN_SERVICE </status>\
                        <status>later</status><n a='1'><host>one</host></n><empty/></SystemInfo>";
        assert_eq!(text(document, "SystemInfo/status").as_deref(), Some("IN_SERVICE"));
        assert_eq!(text(document, "/SystemInfo/x/status").as_deref(), Some("no"));
        assert_eq!(text(document, "SystemInfo/n/host").as_deref(), Some("one"));
        assert_eq!(text(document, "SystemInfo/empty").as_deref(), Some(""));
        assert_eq!(text(document, "status"), None);
        assert_eq!(text(document, "SystemInfo/status/deeper"), None);
    }

    #[test]
    fn prefixes_and_references_are_understood() {
        let document = "<f:a xmlns:f='urn:f'><f:b>x &lt; &#65;<![CDATA[ & y]]></f:b></f:a>";
        assert_eq!(text(document, "a/b").as_deref(), Some("x < A & y"));
        assert_eq!(text(document, "f:a/b").as_deref(), Some("x < A & y"));
        assert_eq!(text(document, "g:a/b"), None);
    }

    #[test]
    fn nothing_is_expanded() {
        let bomb = "<!DOCTYPE a [<!ENTITY x 'xxxx'><!ENTITY y '&x;&x;'>]><a><b>&y;</b><c>plain</c></a>";
        assert_eq!(text(bomb, "a/b"), None);
        assert_eq!(text(bomb, "a/c").as_deref(), Some("plain"));
    }

    #[test]
    fn depth_and_damage_end_the_search() {
        let deep = "<a>".repeat(10_000);
        assert_eq!(text(&deep, "a/b"), None);
        assert_eq!(text("<a><b>x", "a/b"), None);
        assert_eq!(text("<a></b></a>", "a/b"), None);
        assert_eq!(text("<a><b>first</b><c", "a/b").as_deref(), Some("first"));
        assert_eq!(text("{\"not\":\"xml\"}", "a"), None);
        assert!(path("a//b").is_err() && path("").is_err() && path(&"a/".repeat(100)).is_err());
    }
}
