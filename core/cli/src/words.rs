//! Small pieces that both renderings need.

use serde::Serialize;

/// The word for a variant of an enum, as the admin API has it, with dashes.
pub fn word(of: &impl Serialize) -> String {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(word)) => word.replace('_', "-"),
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// `12.3 ms`, `4.56 s`, `2 min 5 s`.
pub fn lasting(ms: f64) -> String {
    if ms < 1_000.0 {
        format!("{ms:.1} ms")
    } else if ms < 120_000.0 {
        format!("{:.2} s", ms / 1_000.0)
    } else {
        format!("{:.0} min {:.0} s", (ms / 60_000.0).floor(), ms % 60_000.0 / 1_000.0)
    }
}

/// The same, or a dash when there is none.
pub fn lasting_or_dash(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), lasting)
}

/// At most `most` characters; what is cut off is marked.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_long_as_needed() {
        assert_eq!(lasting(0.34), "0.3 ms");
        assert_eq!(lasting(1_234.0), "1.23 s");
        assert_eq!(lasting(162_000.0), "2 min 42 s");
        assert_eq!(lasting_or_dash(None), "-");
    }

    #[test]
    fn a_word_is_that_of_the_api() {
        assert_eq!(word(&lockstep_pair::record::Outcome::RolledBack), "rolled-back");
        assert_eq!(word(&lockstep_policy::event::Role::StandingDown), "standing-down");
    }

    #[test]
    fn cutting_counts_characters() {
        assert_eq!(cut("öäü", 3), "öäü");
        assert_eq!(cut("öäüß", 3), "öä…");
    }
}
