//! The page of the documentation: what is measured stands between two marks, what people have written around them stays.

use std::path::Path;

const FROM: &str = "<!-- measured by `make bench`, from here -->";
const TO: &str = "<!-- to here -->";

/// Puts what was measured into its place.
pub fn put(page: &Path, measured: &str) -> bool {
    let before = std::fs::read_to_string(page).unwrap_or_default();
    let done = std::fs::write(page, renewed(&before, measured));
    match &done {
        Ok(()) => println!("{} is written anew", page.display()),
        Err(error) => eprintln!("bench: {} cannot be written: {error}\n\n{measured}", page.display()),
    }
    done.is_ok()
}

fn renewed(before: &str, measured: &str) -> String {
    let place = before.split_once(FROM).and_then(|(head, rest)| Some((head, rest.split_once(TO)?.1)));
    let (head, tail) = place.unwrap_or((before, "\n"));
    format!("{head}{FROM}\n\n{}\n\n{TO}{tail}", measured.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_have_written_stays() {
        let once = renewed("# Benchmarks\n\n", "old");
        assert!(once.starts_with("# Benchmarks\n\n") && once.contains("old"), "{once}");
        let again = renewed(&format!("{once}\n## Why\n"), "new");
        assert!(!again.contains("old") && again.contains("new") && again.ends_with("## Why\n"), "{again}");
        assert_eq!(renewed(&again, "new"), again);
    }
}
