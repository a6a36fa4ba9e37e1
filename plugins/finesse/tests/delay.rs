//! The expected delay is one: whenever a side falls silent, the decision comes within it, and just after an answer no
//! sooner than an interval before.

use lockstep_policy::action::{Action, Share};
use lockstep_policy::host::Library;
use lockstep_policy::scenario::Scenario;
use lockstep_policy::{At, Side};
use std::time::Duration;

/// How long a simulated server takes to answer.
const ANSWER: u64 = 20;
/// What the second look adds to the longer timeout.
const SLACK: u64 = 500;
/// The last desktop's reload.
const RELOAD: u64 = 15_000;

fn library() -> Library {
    let this = std::env::current_exe().expect("this test has a file");
    let file = this.parent().expect("it lies in a folder").join("liblockstep_finesse.so");
    Library::open(&file).expect("Cargo has built it beside this test")
}

/// Plays a fault at a time, in milliseconds, and returns the time from it to the first share that `is_it`.
fn decided(library: &Library, parameters: &str, fault: u64, what: &str, is_it: impl Fn(&Share) -> bool) -> Duration {
    let well = |side: &str| {
        format!(
            "0s server {side} SystemInfo answers status=IN_SERVICE lastCTIHeartbeatStatus=success\n\
             0s server {side} xmpp answers\n"
        )
    };
    let (a, b) = (well("a"), well("b"));
    let text = format!(
        "title = \"delay\"\nrules = []\nplugin = \"finesse\"\n\n[parameters]\n{parameters}\n---\n{a}{b}0s start\n\
         {fault}ms server a {what}silent\n+1h end\n"
    );
    let scenario = Scenario::parse("delay", &text).expect("it is well formed");
    let mut instance = library.instance(scenario.setup(), 0).expect("its setup is valid");
    let mut decided = None;
    let played = scenario.play(|event| {
        let actions = instance.step(event).map_err(|error| error.to_string())?;
        let found = actions.iter().any(|action| matches!(action, Action::Share(share) if is_it(share)));
        decided = decided.or(found.then_some(event.at));
        Ok(actions)
    });
    played.expect("it plays");
    decided.expect("it decides").since(At::from_millis(fault))
}

#[test]
fn a_failover_begins_within_the_expected_delay() {
    let library = library();
    for (poll, timeout, failures, attempt, attempts) in
        [(20_000, 5_000, 1, 5_000, 3), (5_000, 1_000, 3, 5_000, 4), (10_000, 5_000, 2, 20_000, 3)]
    {
        let parameters = format!(
            "poll_interval = \"{poll}ms\"\npoll_timeout = \"{timeout}ms\"\npoll_failures = {failures}\n\
             notification_attempts = {attempts}\nreload_window = \"0s\"\n\
             notification = {{ interval = \"{attempt}ms\", timeout = \"{timeout}ms\" }}"
        );
        let by_poll = failures * poll + timeout;
        let by_attempt = attempts * attempt + timeout;
        let mut whole = Duration::ZERO;
        // Which service falls silent, how often it is asked, and how soon that is noticed at the latest.
        for (what, interval, noticed) in [
            ("SystemInfo ", poll, by_poll),
            ("xmpp ", attempt, by_attempt),
            ("", poll.min(attempt), by_poll.min(by_attempt)),
        ] {
            let bound = Duration::from_millis(noticed + timeout + SLACK);
            for part in [0, 1, 25, 50, 99] {
                let after = (interval * part / 100).max(ANSWER + 1);
                let fault = 3 * poll.max(attempt) + after;
                let delay = decided(&library, &parameters, fault, what, |share| share.from == Some(Side::A));
                assert!(delay <= bound, "{what}{poll} {attempt}, {after} ms after an answer: {delay:?} of {bound:?}");
                if part == 0 && !what.is_empty() {
                    let soonest = bound - Duration::from_millis(interval + timeout + SLACK);
                    assert!(delay >= soonest, "{what}{poll} {attempt}: {delay:?} of {bound:?}");
                }
            }
            whole = whole.max(bound);
        }
        let text = format!("title = \"\"\nrules = []\nplugin = \"finesse\"\n\n[parameters]\n{parameters}\n---\n");
        let scenario = Scenario::parse("delay", &text).expect("it is well formed");
        let told = library.expected_delay(scenario.setup()).expect("it tells");
        assert_eq!(told, whole + Duration::from_millis(RELOAD));
    }
}

/// F11: about 15 seconds.
#[test]
fn phones_are_answered_within_the_expected_delay() {
    let library = library();
    for after in [ANSWER + 1, 1_000, 2_500, 4_900] {
        let refused = |share: &Share| share.parts.a == 0 && share.reason.starts_with("F11");
        let delay = decided(&library, "profile = \"ippa\"", 60_000 + after, "", refused);
        let soonest = Duration::from_secs(15);
        assert!(
            delay <= soonest + Duration::from_secs(5) && delay >= soonest - Duration::from_millis(after),
            "{delay:?}"
        );
    }
}
