//! Work at fixed rates: what a request costs, and how long it takes.

use crate::contenders::{Contender, Contenders};
use crate::load::Load;
use crate::processes::spent;
use crate::spread::at;
use crate::work::Work;
use serde_json::{Value, json};

/// One contender at one work; null where it does not do that.
pub fn measure(work: &Work, contender: Contender, all: &Contenders, load: &Load, seconds: u32) -> Value {
    let Some(address) = contender.address(work.way) else { return Value::Null };
    let processes = all.processes(contender);
    let before = spent(&processes);
    let Some(outcome) = load.paced(work, address, seconds) else { return Value::Null };
    let spent = spent(&processes).saturating_sub(before);
    json!({
        "work": work.name,
        "contender": contender.name(),
        "requests": outcome.requests,
        "failed": outcome.failed,
        // A rate that is not kept is none: what was asked for takes longer then.
        "rate": outcome.requests as f64 / outcome.seconds,
        "cost": spent as f64 / 1e3 / outcome.requests as f64,
        "p50": at(&outcome.took, 50.0),
        "p99": at(&outcome.took, 99.0),
        "p999": at(&outcome.took, 99.9),
    })
}
