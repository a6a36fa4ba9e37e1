use super::*;
use crate::action::{ProbeKind, Watch};
use crate::event::{ProbeId, TimerId, What};
use crate::{At, Side};
use std::time::Duration;

const HEAD: &str = "title = \"t\"\nrules = [\"X1\"]\nplugin = \"x\"\n---\n";

/// Watches A by TCP; every silent probe prepares B; a timer at 5 s shows a text.
fn policy(event: &Event) -> Result<Vec<Action>, String> {
    Ok(match &event.what {
        What::Start(_) => vec![
            Action::Watch(Watch {
                probe: ProbeId(1),
                side: Side::A,
                server: 0,
                kind: ProbeKind::Tcp { port: 0 },
                interval: Duration::from_secs(1),
                timeout: Duration::from_millis(1_500),
            }),
            Action::SetTimer(TimerId(1), At::from_millis(5_000)),
        ],
        What::Probe(probe) if probe.verdict != crate::event::Verdict::Good => vec![Action::Prepare(Side::B)],
        What::Timer(_) => vec![Action::Show(Side::A, "late".to_owned())],
        _ => Vec::new(),
    })
}

fn played(body: &str) -> String {
    let scenario = Scenario::parse("test", &format!("{HEAD}{body}")).expect("it is well formed");
    let text = scenario.play(policy).expect("it plays");
    text.strip_prefix(HEAD).expect("the header stays").to_owned()
}

#[test]
fn what_happens_by_itself_is_written_where_it_happens() {
    let body = "\
0s        start
          -> watch a every 1s, timeout 1.5s: tcp
0s        server a answers
1.5s      server a silent
~ 3.5s    probe a silent
          -> prepare b
~ 4.5s    probe a silent
          -> prepare b
~ 5s      time passes
          -> show a: late

# The end.
5.2s      end
";
    let script: String =
        body.lines().filter(|line| !line.starts_with(['~', ' '])).map(|line| format!("{line}\n")).collect();
    assert_eq!(played(&script), body);
    assert_eq!(played(body), body, "blessed text stays");
}

#[test]
fn repetitions_say_at_which_turn() {
    let text = played("0s start\n+100ms probe a tcp refused x2\n");
    assert!(text.contains("x1: prepare b\n          -> x2: prepare b\n"), "{text}");
}

#[test]
fn a_line_that_cannot_be_understood_is_named() {
    for (line, part) in [
        ("0s jump", "`jump` is not an event"),
        ("soon start", "`soon` is not a time"),
        ("0s probe c silent", "`c` is not a side"),
        ("0s probe a lazy", "good, wrong, silent or refused is missing"),
        ("1s start x3", "needs a time with `+`"),
        ("0s link a main up twice", "`twice` is too much"),
    ] {
        let error = Scenario::parse("f.txt", &format!("{HEAD}{line}\n")).expect_err(line).to_string();
        assert!(error.starts_with("f.txt:5: ") && error.contains(part), "{error}");
    }
}

#[test]
fn a_header_that_cannot_be_understood_is_named() {
    let error = Scenario::parse("f.txt", "title = \"t\"\nrulez = 1\n---\n").expect_err("a key is wrong").to_string();
    assert!(error.starts_with("f.txt:2: ") && error.contains("rulez"), "{error}");
    let error = Scenario::parse("f.txt", "title = \"t\"\n").expect_err("no end").to_string();
    assert!(error.contains("`---`"), "{error}");
}

#[test]
fn differences_are_shown_with_what_is_around_them() {
    let expected = "1\n2\n3\n4\n5\n6\n7\n8\n";
    assert_eq!(diff::diff(expected, &expected.replace('5', "five")), "  …\n  3\n  4\n- 5\n+ five\n  6\n  7\n  …\n");
}

#[test]
fn times_are_read_as_they_are_written() {
    for text in ["0s", "20ms", "1.5s", "2m40s", "1h", "1h0.25s", "1m", "1m10.5s"] {
        assert_eq!(moment::duration(moment::parse(text).expect(text)), text);
    }
    for text in ["", "5", "s", "1x", "-1s", "1e30h"] {
        assert_eq!(moment::parse(text), None, "{text}");
    }
}
