//! Where the kernel does not bound system calls policies are run all the same, and operators are told.

use crate::rig::{Fixture, Place, program, terms};
use lockstep_policy::host::{Isolation, Program, Terms, worker};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Not a test: a worker under a kernel that knows no seccomp, as far as it can tell.
#[test]
fn policy_worker_of_an_old_kernel() {
    let argument = |index, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).expect("it is a condition")
    };
    let sets_filter = SeccompRule::new(vec![argument(0, libc::PR_SET_SECCOMP.unsigned_abs().into())]);
    let rules = BTreeMap::from([
        (libc::SYS_seccomp, Vec::new()),
        (libc::SYS_prctl, vec![sets_filter.expect("it has a condition")]),
    ]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let machine = std::env::consts::ARCH.try_into().expect("this machine has seccomp");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, unknown, machine).expect("the rules are sound");
    let filter: BpfProgram = filter.try_into().expect("the filter is small");
    seccompiler::apply_filter(&filter).expect("this kernel has seccomp");
    let _ = worker::serve();
}

/// What was logged.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        SAID.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn without_seccomp_a_policy_runs_and_it_is_said() {
    tracing::subscriber::set_global_default(Listener).expect("nobody listens yet");
    let arguments = ["unconfined::policy_worker_of_an_old_kernel", "--exact", "--nocapture"].map(Into::into).to_vec();
    let old = Terms { program: Program { arguments, ..program() }, ..terms(Isolation::Process) };
    let fixture = Fixture::hostile("OPEN");
    let mut place = Place::new(&fixture.plugin(old));
    let timer = place.timer();
    assert_eq!(place.answer(timer).first, 1);
    // It opens a file, which ends a confined worker.
    let order = place.order();
    place.answer(order);
    assert_eq!(place.occupant.restarts(), 0);
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let told =
        |line: &&String| line.contains("it runs less confined than it should: the kernel does not bound system calls");
    let told: Vec<_> = said.iter().filter(told).collect();
    assert_eq!(told.len(), 1, "once: {said:#?}");
    assert!(told[0].starts_with("WARN") && told[0].contains("plugin=\"open\""), "{told:?}");
}
