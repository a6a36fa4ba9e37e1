//! Work at saturation: how much is done, and whether it was the contender that could do no more.

use crate::contenders::{Contender, Contenders};
use crate::load::Load;
use crate::processes::spent;
use crate::work::Work;
use serde_json::{Value, json};

/// One contender at one work; null where it does not do that.
pub fn measure(work: &Work, contender: Contender, all: &Contenders, load: &Load, seconds: u32) -> Value {
    let Some(address) = contender.address(work.way) else { return Value::Null };
    let processes = all.processes(contender);
    let before = spent(&processes);
    let Some(outcome) = load.full(work, address, seconds) else { return Value::Null };
    let spent = spent(&processes).saturating_sub(before) as f64 / 1e9;
    json!({
        "work": work.name,
        "contender": contender.name(),
        "requests": outcome.requests,
        "failed": outcome.failed,
        "rate": outcome.requests as f64 / outcome.seconds,
        "busy": spent / outcome.seconds,
        "cost": spent * 1e6 / outcome.requests as f64,
        "bytes": outcome.bytes / outcome.seconds,
        "cost_gb": spent / (outcome.bytes / 1e9),
    })
}
