//! Checks `[pair.policy]` against a plugin's own schema, and says what would be valid.

use super::ParameterError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// The most errors that are told at once.
const MAX_ERRORS: usize = 20;
/// How deep parameters may be nested.
const MAX_DEPTH: usize = 8;

/// A plugin's schema, ready to check with.
pub(super) struct Checker {
    policy: String,
    schema: Value,
    validator: Validator,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Checker {
    pub(super) fn new(policy: &str, schema: Value) -> Result<Checker, String> {
        let validator =
            jsonschema::validator_for(&schema).map_err(|error| format!("its schema is not a JSON schema: {error}"))?;
        Ok(Checker { policy: policy.to_owned(), schema, validator })
    }

    pub(super) fn schema(&self) -> &Value {
        &self.schema
    }

    pub(super) fn check(&self, parameters: &Map<String, Value>) -> Result<(), Vec<ParameterError>> {
        let parameters = Value::Object(parameters.clone());
        let mut found = Vec::new();
        for error in self.validator.iter_errors(&parameters) {
            self.explain(&error, &parameters, &mut found, 0);
        }
        self.check_periods(&parameters, &mut Vec::new(), &mut found);
        found.truncate(MAX_ERRORS);
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    fn explain(&self, error: &ValidationError<'_>, parameters: &Value, found: &mut Vec<ParameterError>, depth: usize) {
        let path = segments(error.instance_path().as_str());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                found.extend(unexpected.iter().map(|key| self.unknown(&path, key, parameters)));
            }
            ValidationErrorKind::Required { property } => {
                let path = [path.as_slice(), &[property.as_str().unwrap_or_default().to_owned()]].concat();
                found.push(self.wrong(&path, None, "is missing"));
            }
            ValidationErrorKind::AnyOf { context } if depth < MAX_DEPTH => {
                let before = found.len();
                let deeper = context.iter().flatten().filter(|inner| {
                    !matches!(inner.kind(), ValidationErrorKind::Type { .. })
                        || segments(inner.instance_path().as_str()) != path
                });
                deeper.for_each(|inner| self.explain(inner, parameters, found, depth + 1));
                if found.len() == before {
                    found.push(self.wrong(&path, value_at(parameters, &path), "has the wrong type"));
                }
            }
            kind => found.push(self.wrong(&path, value_at(parameters, &path), problem(kind, error).as_str())),
        }
    }

    fn unknown(&self, table: &[String], key: &str, parameters: &Value) -> ParameterError {
        let path = [table, &[key.to_owned()]].concat();
        let known: Vec<&str> = match find(&self.schema, &self.schema, table, 0) {
            Some(schema) => keys(&self.schema, schema, 0),
            None => Vec::new(),
        };
        let distance = |known: &str| strsim::damerau_levenshtein(key, known);
        let nearest = known
            .iter()
            .min_by_key(|known| distance(known))
            .filter(|known| distance(known) <= known.len().max(key.len()) / 2);
        ParameterError {
            key: path.join("."),
            value: value_at(parameters, &path).cloned(),
            problem: format!("is not a parameter of policy `{}`", self.policy),
            valid: if nearest.is_some() { String::new() } else { known.join(", ") },
            nearest: nearest.map(|nearest| [table, &[(*nearest).to_owned()]].concat().join(".")),
        }
    }

    fn wrong(&self, path: &[String], value: Option<&Value>, problem: &str) -> ParameterError {
        let valid = find(&self.schema, &self.schema, path, 0).map(|schema| valid(&self.schema, schema));
        ParameterError {
            key: path.join("."),
            value: value.cloned(),
            problem: problem.to_owned(),
            valid: valid.unwrap_or_default(),
            nearest: None,
        }
    }

    /// Lengths of time: the schema language knows no ranges for them, so the extensions `x-minimum` and `x-maximum` do.
    fn check_periods(&self, value: &Value, path: &mut Vec<String>, found: &mut Vec<ParameterError>) {
        match value {
            Value::Object(table) if path.len() < MAX_DEPTH => {
                for (key, value) in table {
                    path.push(key.clone());
                    self.check_periods(value, path, found);
                    path.pop();
                }
            }
            Value::String(text) => {
                let schema = find(&self.schema, &self.schema, path, 0).filter(|schema| is_period(schema));
                let Some(schema) = schema else { return };
                match humantime::parse_duration(text) {
                    Err(_) => found.push(self.wrong(path, Some(value), "is not a length of time with its unit")),
                    Ok(period)
                        if bound(schema, "x-minimum").is_some_and(|least| period < least)
                            || bound(schema, "x-maximum").is_some_and(|most| period > most) =>
                    {
                        found.push(self.wrong(path, Some(value), "is out of its range"));
                    }
                    Ok(_) => {}
                }
            }
            _ => {}
        }
    }
}

fn problem(kind: &ValidationErrorKind, error: &ValidationError<'_>) -> String {
    match kind {
        ValidationErrorKind::Type { .. } => "has the wrong type".to_owned(),
        ValidationErrorKind::Minimum { .. }
        | ValidationErrorKind::Maximum { .. }
        | ValidationErrorKind::ExclusiveMinimum { .. }
        | ValidationErrorKind::ExclusiveMaximum { .. } => "is out of its range".to_owned(),
        ValidationErrorKind::Enum { .. } | ValidationErrorKind::Constant { .. } => {
            "is not one of its values".to_owned()
        }
        ValidationErrorKind::MinLength { .. } => "is too short".to_owned(),
        ValidationErrorKind::MaxLength { .. } => "is too long".to_owned(),
        ValidationErrorKind::Pattern { .. } => "does not have the form of its values".to_owned(),
        _ => format!("is not valid: {error}"),
    }
}

/// The keys of a JSON pointer.
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
}

fn value_at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Array(list) => list.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    })
}

/// The part of the schema that a path of keys leads to.
fn find<'a>(root: &'a Value, schema: &'a Value, path: &[String], depth: usize) -> Option<&'a Value> {
    if depth > 2 * MAX_DEPTH {
        return None;
    }
    let schema = resolved(root, schema)?;
    let Some((key, rest)) = path.split_first() else { return Some(schema) };
    if let Some(property) = schema.get("properties").and_then(|properties| properties.get(key)) {
        return find(root, property, rest, depth + 1);
    }
    branches(schema).find_map(|branch| find(root, branch, path, depth + 1))
}

fn keys<'a>(root: &'a Value, schema: &'a Value, depth: usize) -> Vec<&'a str> {
    let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str());
    let branched = branches(schema).filter(|_| depth < MAX_DEPTH).filter_map(|branch| resolved(root, branch));
    own.chain(branched.flat_map(|branch| keys(root, branch, depth + 1))).collect()
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.strip_prefix('#')?),
        None => Some(schema),
    }
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "allOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

fn is_period(schema: &Value) -> bool {
    schema.get("format").and_then(Value::as_str) == Some("period")
}

fn bound(schema: &Value, key: &str) -> Option<Duration> {
    humantime::parse_duration(schema.get(key)?.as_str()?).ok()
}

/// What a part of the schema allows, in words.
fn valid(root: &Value, schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => {
            return branches(schema)
                .filter_map(|branch| resolved(root, branch))
                .map(|branch| valid(root, branch))
                .find(|text| !text.is_empty())
                .unwrap_or_default();
        }
    };
    let kind = match types.iter().find(|kind| **kind != "null") {
        Some(&"string") if is_period(schema) => "a length of time such as \"600ms\" or \"30s\"",
        Some(&"string") => "a text",
        Some(&"integer") => "a whole number",
        Some(&"number") => "a number",
        Some(&"boolean") => "true or false",
        Some(&"array") => "a list",
        Some(&"object") => "a table",
        _ => return String::new(),
    };
    let limit = |keys: [&str; 2]| keys.into_iter().find_map(|key| schema.get(key)).map(plain);
    match (limit(["minimum", "x-minimum"]), limit(["maximum", "x-maximum"])) {
        (Some(least), Some(most)) => format!("{kind}, from {least} to {most}"),
        (Some(least), None) => format!("{kind}, at least {least}"),
        (None, Some(most)) => format!("{kind}, at most {most}"),
        (None, None) => kind.to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
