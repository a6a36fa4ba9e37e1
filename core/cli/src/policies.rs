//! `lockstep policy shadow|promote|rollback`: a running pair's policies.

use crate::arguments::Reach;
use crate::exit::Failure;
use crate::verbs::{client, operator, print};
use lockstep_edge::admin::api::{PolicyOrder, ShadowOrder, ShadowStatus};
use std::path::Path;

/// `lockstep policy shadow PAIR [FILE] [--set KEY=VALUE …]`.
pub async fn shadow(reach: &Reach, pair: &str, file: Option<&Path>, set: &[String], stop: bool) -> Result<(), Failure> {
    let client = client(reach)?;
    if stop {
        let answer = client.end_shadow(pair, &order()).await?;
        return print(&format!("{pair}: {}\n", answer.text));
    }
    if file.is_none() && set.is_empty() {
        return match client.shadow_status(pair).await? {
            Some(status) => print(&text(pair, &status)),
            None => Err(Failure::failed(format!("{pair}: no policy is in shadow"))),
        };
    }
    let file = match file {
        // The edge may have another directory.
        Some(file) => file.canonicalize().map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?,
        None => Path::new("").to_owned(),
    };
    let order = ShadowOrder { file: file.display().to_string(), set: set.to_vec(), by: operator() };
    let answer = client.shadow(pair, &order).await?;
    print(&format!("{pair}: {}\n  lockstep policy shadow {pair}\n", answer.text))
}

/// `lockstep policy promote PAIR`.
pub async fn promote(reach: &Reach, pair: &str) -> Result<(), Failure> {
    let answer = client(reach)?.promote(pair, &order()).await?;
    let until = "until the edge is restarted: put it into the configuration to keep it";
    print(&format!("{pair}: {}\n  {until}\n  lockstep policy rollback {pair}\n", answer.text))
}

/// `lockstep policy rollback PAIR`.
pub async fn rollback(reach: &Reach, pair: &str) -> Result<(), Failure> {
    let answer = client(reach)?.rollback(pair, &order()).await?;
    print(&format!("{pair}: {}\n", answer.text))
}

fn order() -> PolicyOrder {
    PolicyOrder { by: operator() }
}

fn text(pair: &str, status: &ShadowStatus) -> String {
    let mut text = format!(
        "{pair}: policy `{}` {} in shadow since {} by {}{}{}\n  {}, SHA-256 {}\n  told {} events, {} of them both were told: {} times it decided otherwise, {} times it answered otherwise in all\n",
        status.id,
        status.version,
        status.since,
        status.by,
        if status.was_in_force { ", in force before" } else { "" },
        if status.working { "" } else { ", NOT WORKING" },
        status.file,
        status.fingerprint,
        status.told,
        status.compared,
        status.decided_otherwise,
        status.otherwise,
    );
    if !status.trouble.is_empty() {
        text += &format!("  trouble: {}\n", status.trouble);
    }
    for difference in &status.latest {
        let kind = if difference.decision { "decided" } else { "watched" };
        text += &format!("  {} event {}, {kind} otherwise\n", difference.when, difference.seq);
        text.extend(difference.present.iter().map(|action| format!("    - {action}\n")));
        text.extend(difference.candidate.iter().map(|action| format!("    + {action}\n")));
    }
    if !status.latest.is_empty() {
        text += "  - only the policy in force, + only the one in shadow\n";
    }
    text
}
