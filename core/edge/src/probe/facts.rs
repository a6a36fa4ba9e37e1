//! What a policy wants to know of an HTTP answer.

use super::judge::bounded;
use super::xml;
use http::{HeaderMap, HeaderName};
use lockstep_policy::action::{Extract, Source};
use lockstep_policy::event::Fact;
use regex::{Regex, RegexBuilder};

/// Facts that one probe may ask for.
const FACTS: usize = 32;

/// The longest name of a fact, and the longest expression, in bytes.
const NAME_MAX: usize = 64;
const EXPRESSION_MAX: usize = 1024;

/// A compiled expression takes no more memory, in bytes; nor does what is remembered while it runs.
const COMPILED_MAX: usize = 1 << 20;

/// What to look for, ready to be looked for.
pub(super) struct Facts(Vec<(String, Look)>);

enum Look {
    Body(Regex),
    Xml(Vec<String>),
    Json(String),
    Header(HeaderName),
}

impl Facts {
    /// An error says which one cannot be looked for, and why.
    pub fn new(wanted: &[Extract]) -> Result<Facts, String> {
        if wanted.len() > FACTS {
            return Err(format!("a probe may ask for {FACTS} facts"));
        }
        let facts = wanted.iter().map(|extract| {
            let look = look(extract).map_err(|why| format!("fact \"{}\": {why}", bounded(&extract.name)))?;
            Ok((extract.name.clone(), look))
        });
        facts.collect::<Result<Vec<_>, String>>().map(Facts)
    }

    /// Whether the body has to be read for them.
    pub fn need_body(&self) -> bool {
        self.0.iter().any(|(_, look)| !matches!(look, Look::Header(_)))
    }

    /// Whether the head's fields have to be.
    pub fn need_fields(&self) -> bool {
        self.0.iter().any(|(_, look)| matches!(look, Look::Header(_)))
    }

    /// What is there, in the order in which it is asked for.
    pub fn find(&self, headers: &HeaderMap, body: &[u8]) -> Vec<Fact> {
        let text = String::from_utf8_lossy(body);
        // Parsed once, and only for somebody.
        let json = std::cell::OnceCell::new();
        let found = self.0.iter().filter_map(|(name, look)| {
            let value = match look {
                Look::Body(expression) => group(expression, &text),
                Look::Xml(path) => xml::text_at(&text, path),
                Look::Json(pointer) => {
                    let json = json.get_or_init(|| serde_json::from_slice::<serde_json::Value>(body).ok());
                    json.as_ref().and_then(|json| json.pointer(pointer)).and_then(plain)
                }
                Look::Header(field) => headers.get(field).map(|value| String::from_utf8_lossy(value.as_bytes()).into()),
            };
            Some(Fact { name: name.clone(), value: bounded(&value?) })
        });
        found.collect()
    }
}

fn look(extract: &Extract) -> Result<Look, String> {
    let Extract { name, source, expression } = extract;
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("a name has 1 to {NAME_MAX} bytes"));
    }
    if expression.is_empty() && *source != Source::Json || expression.len() > EXPRESSION_MAX {
        return Err(format!("an expression has 1 to {EXPRESSION_MAX} bytes"));
    }
    match source {
        Source::Body => {
            let mut builder = RegexBuilder::new(expression);
            let built = builder.size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).build();
            built.map(Look::Body).map_err(|error| {
                let said = error.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("\"{}\" is no regular expression: {why}", bounded(expression))
            })
        }
        Source::Xml => xml::path(expression).map(Look::Xml),
        Source::Json if expression.is_empty() || expression.starts_with('/') => Ok(Look::Json(expression.clone())),
        Source::Json => Err(format!("\"{}\" is no JSON pointer: it begins with /", bounded(expression))),
        Source::Header => {
            let field = HeaderName::try_from(expression.as_str());
            field.map(Look::Header).map_err(|_| format!("\"{}\" names no header field", bounded(expression)))
        }
    }
}

/// The first group, or the whole match where the expression has none.
fn group(expression: &Regex, text: &str) -> Option<String> {
    let found = expression.captures(text)?;
    let wanted = if found.len() > 1 { found.get(1)? } else { found.get(0)? };
    Some(wanted.as_str().to_owned())
}

/// A JSON value without quotes around a text; `null` is none.
fn plain(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(source: Source, expression: &str) -> Extract {
        Extract { name: "it".into(), source, expression: expression.into() }
    }

    fn found(source: Source, expression: &str, body: &str) -> Option<String> {
        let facts = Facts::new(&[extract(source, expression)]).unwrap();
        facts.find(&HeaderMap::new(), body.as_bytes()).pop().map(|fact| fact.value)
    }

    fn refused(source: Source, expression: &str) -> String {
        Facts::new(&[extract(source, expression)]).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_regular_expression_gives_its_first_group_or_the_whole() {
        assert_eq!(found(Source::Body, r"role=(\w+)", "x role=ACTIVE y").as_deref(), Some("ACTIVE"));
        assert_eq!(found(Source::Body, r"role=\w+", "x role=ACTIVE y").as_deref(), Some("role=ACTIVE"));
        assert_eq!(found(Source::Body, r"role=(\w+)", "nothing of it"), None);
        assert_eq!(found(Source::Body, "(a)?b", "b"), None, "a group that takes no part in the match");
    }

    #[test]
    fn a_pointer_leads_into_json() {
        let body = r#"{"a":{"b":["x",7,null,{"c":true}]}}"#;
        assert_eq!(found(Source::Json, "/a/b/0", body).as_deref(), Some("x"));
        assert_eq!(found(Source::Json, "/a/b/1", body).as_deref(), Some("7"));
        assert_eq!(found(Source::Json, "/a/b/3", body).as_deref(), Some(r#"{"c":true}"#));
        assert_eq!(found(Source::Json, "/a/b/2", body), None);
        assert_eq!(found(Source::Json, "/a", "<not json>"), None);
    }

    #[test]
    fn values_are_cut_between_characters() {
        let value = found(Source::Body, "é+", &"é".repeat(1000)).unwrap();
        assert_eq!((value.len(), value.chars().all(|c| c == 'é')), (256, true));
        let odd = found(Source::Body, "xé+", &format!("x{}", "é".repeat(1000))).unwrap();
        assert_eq!(odd.len(), 255);
    }

    #[test]
    fn what_cannot_be_looked_for_is_refused_by_name() {
        assert!(refused(Source::Body, "(").starts_with("fact \"it\": \"(\" is no regular expression: "));
        assert!(refused(Source::Body, r"(\w{1000}){1000}").contains("is no regular expression"));
        assert!(refused(Source::Xml, "a//b").contains("path"));
        assert!(refused(Source::Json, "a/b").contains("begins with /"));
        assert!(refused(Source::Header, "a b").contains("names no header field"));
        assert!(refused(Source::Body, &"x".repeat(2000)).contains("1 to 1024 bytes"));
        let many: Vec<Extract> = (0..33).map(|_| extract(Source::Body, "x")).collect();
        assert!(Facts::new(&many).map(|_| ()).unwrap_err().contains("32 facts"));
    }
}
