//! Bytes that nobody thought of, for the tests of whatever reads a stranger's bytes. Not shipped.
//!
//! [`run`] has a target read mutations of its seeds, for a second, or for `FUZZ_SECONDS` (`make fuzz`). The target says of each input
//! what became of it; an input of which something new became is a seed from then on, and so mutations go deeper than the first
//! check. The same number (`FUZZ_SEED`, 1 by default) gives the same inputs in the same order. What makes the target panic is
//! printed, and written to a file of `target/tmp/fuzz`, from which `FUZZ_FILE` plays it again.
#![forbid(unsafe_code)]

mod mutate;

use mutate::Mutations;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Inputs that are kept as seeds.
const KEPT: usize = 4096;
/// So many inputs pass from one look at the clock to the next.
const LOOK_EVERY: u64 = 64;

/// What became of an input, in a number: what a target makes of its error's words, or of how far it came.
pub type Became = u64;

/// A number for something that became of an input.
pub fn became(of: impl Hash) -> Became {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Has `target` read mutations of `seeds`, into which `words` are put now and then.
///
/// # Panics
/// The target does; by then it has been said of which input. Or it has read nothing at all.
pub fn run(name: &str, seeds: &[&[u8]], words: &[&[u8]], target: impl Fn(&[u8]) -> Became) {
    if let Some(file) = of_environment("FUZZ_FILE") {
        let input = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        println!("{name}: {} bytes of {file} became {:x}", input.len(), target(&input));
        return;
    }
    let number = |key: &str, default: u64| of_environment(key).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (seed, seconds) = (number("FUZZ_SEED", 1), number("FUZZ_SECONDS", 1));
    let found = search(seed, Duration::from_secs(seconds), seeds, words, |input| {
        catch_unwind(AssertUnwindSafe(|| target(input)))
    });
    match found {
        Ok(Seen { inputs, kinds }) => {
            println!("{name}: {inputs} inputs, of which {kinds} different things became; FUZZ_SEED={seed}");
            assert!(inputs > 0, "nothing was tried");
        }
        Err(Found { input, panic }) => {
            println!("{name}: a panic, with FUZZ_SEED={seed}; {}", keep(name, &input));
            println!("{name}: \"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

struct Seen {
    inputs: u64,
    kinds: usize,
}

struct Found<P> {
    input: Vec<u8>,
    panic: P,
}

/// Tries inputs until one is answered with an error, or the time is over; each seed is tried as it is.
fn search<P>(
    seed: u64,
    time: Duration,
    seeds: &[&[u8]],
    words: &[&[u8]],
    target: impl Fn(&[u8]) -> Result<Became, P>,
) -> Result<Seen, Found<P>> {
    let mut mutations = Mutations::new(seed, words);
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).chain([Vec::new()]).collect();
    let (mut kinds, mut inputs) = (HashSet::new(), 0);
    for input in &corpus {
        inputs += 1;
        kinds.insert(target(input).map_err(|panic| Found { input: input.clone(), panic })?);
    }
    let end = Instant::now() + time;
    while inputs % LOOK_EVERY != 0 || Instant::now() < end {
        let input = mutations.next(&corpus);
        inputs += 1;
        match target(&input) {
            Ok(became) if kinds.insert(became) && corpus.len() < KEPT => corpus.push(input),
            Ok(_) => {}
            Err(panic) => return Err(Found { input, panic }),
        }
    }
    Ok(Seen { inputs, kinds: kinds.len() })
}

fn of_environment(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|text| !text.is_empty())
}

/// Writes an input down; says where, and how it is played again.
fn keep(name: &str, input: &[u8]) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/fuzz");
    let file = dir.join(format!("{name}-{:016x}", became(input)));
    match std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, input)) {
        Ok(()) => format!("FUZZ_FILE={} plays it again", file.canonicalize().unwrap_or(file).display()),
        Err(error) => format!("it could not be written to {}: {error}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader with a fault behind three checks: what a blind search would not find in years.
    fn faulty(input: &[u8]) -> Result<Became, ()> {
        let Some(rest) = input.strip_prefix(b"length ") else { return Ok(1) };
        let Some(end) = rest.iter().position(|byte| *byte == b';') else { return Ok(2) };
        let Some(length) = std::str::from_utf8(&rest[..end]).ok().and_then(|text| text.parse::<usize>().ok()) else {
            return Ok(3);
        };
        if length > rest.len() - end - 1 { Err(()) } else { Ok(4) }
    }

    #[test]
    fn a_fault_behind_three_checks_is_found_and_the_same_number_finds_the_same() {
        let find = || {
            let found = search(7, Duration::from_secs(20), &[b"length 3;abc"], &[b"length "], faulty);
            found.err().expect("the fault is found").input
        };
        assert_eq!(find(), find());
    }

    #[test]
    fn what_has_no_fault_is_read_many_times() {
        let seen = search(1, Duration::from_millis(50), &[b"seed"], &[], |input| Ok::<_, ()>(became(input.len())));
        let Ok(Seen { inputs, kinds }) = seen else { panic!("there is no fault") };
        assert!(inputs > 100 && kinds > 3, "{inputs} inputs, {kinds} kinds");
    }

    #[test]
    #[should_panic(expected = "planted")]
    fn a_panic_is_passed_on() {
        run("planted", &[b"abc"], &[], |input| if input.len() > 5 { panic!("planted") } else { 0 });
    }
}
