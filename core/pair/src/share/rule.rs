//! Rules: what a request must carry so that its session belongs to a side.

use lockstep_policy::Side;
use lockstep_policy::action::ShareRule;

/// Rules of one share.
const RULES: usize = 256;

/// The longest name of an attribute, and the longest value, in bytes.
const TEXT: usize = 256;

/// Something that a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A header field; its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
}

impl Attribute {
    /// `cookie:NAME`, `query:NAME`, or the name of a header field.
    ///
    /// # Errors
    ///
    /// A sentence that says what it is not.
    pub fn read(text: &str) -> Result<Attribute, String> {
        let (kind, name): (fn(String) -> Attribute, &str) = match text.split_once(':') {
            Some(("cookie", name)) => (Attribute::Cookie, name),
            Some(("query", name)) => (Attribute::Query, name),
            Some(("header", name)) => (Attribute::Header, name),
            Some(_) => return Err(format!("\"{text}\" is neither a header field, nor cookie:NAME, nor query:NAME")),
            None => (Attribute::Header, text),
        };
        let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let sound = if kind(String::new()) == Attribute::Query(String::new()) {
            name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#".contains(&byte))
        } else {
            name.bytes().all(of_token)
        };
        if name.is_empty() || name.len() > TEXT || !sound {
            return Err(format!("\"{text}\" does not name an attribute of a request"));
        }
        let name = name.to_owned();
        Ok(match kind(name) {
            Attribute::Header(name) => Attribute::Header(name.to_ascii_lowercase()),
            other => other,
        })
    }
}

/// A request, as rules look at it.
pub trait Attributes {
    /// Whether it carries the attribute with exactly this value.
    fn carries(&self, attribute: &Attribute, value: &str) -> bool;
}

/// A rule that can be followed.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    attribute: Attribute,
    value: String,
    side: Side,
}

/// All of them, or why one cannot be followed.
pub(super) fn read(rules: &[ShareRule]) -> Result<Vec<Rule>, String> {
    if rules.len() > RULES {
        return Err(format!("a share has at most {RULES} rules, and this one has {}", rules.len()));
    }
    let read = |rule: &ShareRule| {
        if rule.value.len() > TEXT {
            return Err(format!("the value of a rule for \"{}\" is longer than {TEXT} bytes", rule.attribute));
        }
        Ok(Rule { attribute: Attribute::read(&rule.attribute)?, value: rule.value.clone(), side: rule.side })
    };
    rules.iter().map(read).collect()
}

/// The side that the first fitting rule names.
pub(super) fn side(rules: &[Rule], request: &impl Attributes) -> Option<Side> {
    rules.iter().find(|rule| request.carries(&rule.attribute, &rule.value)).map(|rule| rule.side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_named_by_kind() {
        assert_eq!(Attribute::read("X-Tenant"), Ok(Attribute::Header("x-tenant".to_owned())));
        assert_eq!(Attribute::read("cookie:Site"), Ok(Attribute::Cookie("Site".to_owned())));
        assert_eq!(Attribute::read("query:site"), Ok(Attribute::Query("site".to_owned())));
        for bad in ["", "cookie:", "query:", "form:x", "a b", "query:a=b", "cookie:a;b"] {
            assert!(Attribute::read(bad).is_err(), "{bad:?}");
        }
    }
}
