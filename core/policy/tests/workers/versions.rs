//! Plugins of every released version of the ABI stay loadable.

use crate::rig::{Fixture, Place, setup, terms};
use lockstep_policy::action::Action;
use lockstep_policy::host::{Isolation, Report};
use lockstep_policy::{Side, Traits};

#[test]
fn a_plugin_of_abi_1_0_loads_runs_and_is_restored() {
    let old = Fixture::new("abi-1.0/counter.c", "tests/fixtures/abi-1.0", &[]);
    for isolation in [Isolation::Process, Isolation::InProcess] {
        let plugin = old.plugin(terms(isolation));
        assert_eq!((plugin.id(), plugin.version(), plugin.state_version()), ("counter", "1.2.3", 1));
        assert!(plugin.commands().is_empty(), "it knows no such topic");
        assert_eq!(plugin.traits(&setup()).expect("it has none of its own"), Traits { exclusive: true });
        assert_eq!(plugin.explain(&setup()).expect("it explains"), "counts to three");

        let mut place = Place::new(&plugin);
        place.timer();
        place.timer();
        place.occupant.save();
        let snapshot = place.wait("its state", |report| match report {
            Report::Saved { snapshot, .. } => Some(snapshot.clone()),
            _ => None,
        });
        assert_eq!(snapshot.state, [2, 0, 0, 0]);
        if let Some(pid) = place.occupant.worker_pid() {
            let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(killed.expect("there is a kill").success());
        }
        let third = place.timer();
        match place.answer(third).actions.as_slice() {
            [Action::Switch(switch)] => assert_eq!((switch.to, switch.reason.as_str()), (Side::B, "N1: three timers")),
            other => panic!("{other:?}"),
        }
    }
}
