//! The crew without processes: lives are begun in a book, and what becomes of them is said by the test.

use super::*;
use crate::config::{Driver, Ready};
use lockstep_pair::node::Run;
use lockstep_policy::action::Urgency;
use std::cell::RefCell;
use std::rc::Rc;

mod troubles;

/// One life, as the world sees it.
struct Begun {
    service: String,
    orders: mpsc::Receiver<Order>,
    post: Post,
    reach: Option<Reach>,
}

#[derive(Clone, Default)]
struct Book {
    lives: Rc<RefCell<Vec<Begun>>>,
    reach: Rc<RefCell<Option<Reach>>>,
}

impl Launch for Book {
    fn start(
        &self,
        service: &config::Service,
        reach: Option<Reach>,
        _: Duration,
        orders: mpsc::Receiver<Order>,
        post: Post,
    ) {
        self.lives.borrow_mut().push(Begun { service: service.name.clone(), orders, post, reach });
    }

    fn adopt(&self, service: &config::Service, _: Duration, orders: mpsc::Receiver<Order>, post: Post) {
        self.start(service, None, Duration::ZERO, orders, post);
    }

    fn check(&self, _: &Ready, _: Post) -> tokio::task::AbortHandle {
        unreachable!("the services of these tests say themselves that they are ready")
    }

    fn watch(&self, _: &config::Alive, _: Post) -> tokio::task::AbortHandle {
        tokio::spawn(std::future::pending::<()>()).abort_handle()
    }

    fn reach(&self, reach: Option<Reach>) {
        *self.reach.borrow_mut() = reach;
    }
}

struct World {
    crew: Crew<Book>,
    book: Book,
    now: At,
}

const EPOCH: Epoch = Epoch(1);
const SECOND: Duration = Duration::from_secs(1);

/// `app`, `web`: not exclusive; `db`, `cti`: exclusive; in this order.
fn world() -> World {
    let service = |name: &str, exclusive| config::Service {
        name: name.to_owned(),
        driver: Driver::Exec { command: vec!["x".to_owned()] },
        exclusive,
        flush: name == "web",
        ready: Some(Ready::Notify),
        alive: None,
        start: config::Attempts::default(),
        stop_timeout: None,
        restarts: None,
    };
    let services = [service("app", false), service("db", true), service("web", false), service("cti", true)];
    let (to, _) = mpsc::channel(1);
    let book = Book::default();
    let now = At::from_millis(1_000_000);
    World { crew: Crew::new(&services, "", book.clone(), to, now), book, now }
}

impl World {
    /// Nothing of an earlier life was found, and `app` and `web` are up.
    fn booted() -> World {
        let mut world = world();
        world.boot();
        for service in ["app", "web"] {
            world.ready(service);
        }
        world.said();
        world
    }

    fn boot(&mut self) {
        let run = Run(1);
        self.crew.stop(self.now, run, self.now + SECOND * 5, Urgency::Failover);
        for service in ["app", "web", "db", "cti"] {
            self.hear(service, Event::Gone);
        }
        assert!(self.said().contains(&Said::Node(Input::Stopped(run))));
    }

    /// `db` and `cti` are up too.
    fn active() -> World {
        let mut world = World::booted();
        world.crew.deadman(world.now + SECOND * 60);
        world.crew.start(world.now, Run(2), EPOCH);
        world.ready("db");
        world.ready("cti");
        assert_eq!(world.said().last(), Some(&Said::Node(Input::Started(Run(2)))));
        world
    }

    fn hear(&mut self, service: &str, event: Event) {
        let post = self.newest(service, |begun| begun.post.clone());
        self.crew.hear(self.now, Happening { service: post.service, life: post.life, event });
    }

    fn ready(&mut self, service: &str) {
        self.hear(service, Event::Started { pid: 7 });
        self.hear(service, Event::Ready);
    }

    fn die(&mut self, service: &str) {
        self.hear(service, Event::Exited { how: "signal SIGSEGV".to_owned() });
        self.hear(service, Event::Gone);
    }

    fn newest<T>(&self, service: &str, look: impl FnOnce(&mut Begun) -> T) -> T {
        let mut lives = self.book.lives.borrow_mut();
        look(lives.iter_mut().rev().find(|begun| begun.service == service).expect("it was begun"))
    }

    fn orders(&self, service: &str) -> Vec<Order> {
        self.newest(service, |begun| std::iter::from_fn(|| begun.orders.try_recv().ok()).collect())
    }

    fn begun(&self, service: &str) -> usize {
        self.book.lives.borrow().iter().filter(|begun| begun.service == service).count()
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.crew.tick(self.now);
    }

    fn said(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.crew.poll()).collect()
    }

    fn condition(&self) -> &Condition {
        self.crew.condition.as_ref().unwrap()
    }

    fn state(&self, service: &str) -> ServiceState {
        self.condition().services.iter().find(|found| found.name == service).unwrap().state
    }
}

#[test]
fn nothing_counts_as_stopped_before_it_is_proved() {
    let mut world = world();
    assert!(world.condition().running);
    world.crew.stop(world.now, Run(1), world.now + SECOND * 5, Urgency::Failover);
    world.hear("cti", Event::Gone);
    assert!(world.condition().running);
    assert!(!world.said().contains(&Said::Node(Input::Stopped(Run(1)))));
    world.hear("db", Event::Gone);
    assert!(!world.condition().running);
    assert!(world.said().contains(&Said::Node(Input::Stopped(Run(1)))));
}

#[test]
fn services_that_are_not_exclusive_start_each_when_the_one_before_is_ready() {
    let mut world = world();
    world.boot();
    assert_eq!((world.begun("app"), world.begun("web")), (2, 1));
    world.hear("app", Event::Started { pid: 7 });
    assert_eq!(world.begun("web"), 1);
    world.hear("app", Event::Ready);
    assert_eq!(world.begun("web"), 2);
    assert!(!world.condition().fit);
    world.ready("web");
    assert!(world.condition().fit);
}

#[test]
fn exclusive_services_start_in_order_and_stop_in_reverse() {
    let mut world = World::booted();
    let deadman = world.now + SECOND * 60;
    world.crew.deadman(deadman);
    world.crew.start(world.now, Run(2), EPOCH);
    assert_eq!((world.begun("db"), world.begun("cti")), (2, 1));
    world.ready("db");
    assert_eq!(world.begun("cti"), 2);
    assert!(world.newest("cti", |begun| begun.reach).is_some_and(|reach| reach.end < deadman));
    assert!(!world.condition().ready);
    world.ready("cti");
    // The condition that says so comes first.
    let said = world.said();
    assert!(
        matches!(&said[said.len() - 2..], [Said::Node(Input::Condition(condition)), Said::Node(Input::Started(Run(2)))]
        if condition.ready)
    );

    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    assert_eq!(world.orders("db"), []);
    let [Order::Stop { kill_at }] = world.orders("cti")[..] else { panic!("no stop") };
    // Two share what is left when KILL has its part.
    assert_eq!(kill_at, world.now + SECOND * 85 / 100 / 2);
    world.die("cti");
    let [Order::Stop { kill_at }] = world.orders("db")[..] else { panic!("no stop") };
    assert_eq!(kill_at, world.now + SECOND * 85 / 100);
    world.die("db");
    assert_eq!(world.said().last(), Some(&Said::Node(Input::Stopped(Run(3)))));
    assert_eq!(*world.book.reach.borrow(), None);
}

#[test]
fn what_must_be_flushed_is_bound_to_the_switch_while_the_node_is_active_and_killed_when_that_is_lost_by_failover() {
    let mut world = World::active();
    let [Order::Extend(reach)] = world.orders("web")[..] else { panic!("no switch") };
    assert!(reach.end < world.now + SECOND * 60);
    assert_eq!(world.orders("app"), []);
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Failover);
    assert_eq!(world.orders("web"), [Order::Stop { kill_at: world.now }]);
    assert_eq!(world.orders("app"), []);
    assert_eq!(world.orders("cti"), [], "as long as it may answer, its CTI stays");
    assert!(!world.condition().fit);
    let begun = world.begun("web");
    world.die("web");
    assert_eq!(world.begun("web"), begun + 1, "it is started anew");
    assert_eq!(world.newest("web", |begun| begun.reach), None, "and not to be killed a moment later");
    assert!(matches!(world.orders("cti")[..], [Order::Stop { .. }]));
}

#[test]
fn what_its_switch_has_flushed_has_not_ended_by_itself_and_costs_nothing_of_its_budget() {
    let mut world = World::active();
    let reach = (*world.book.reach.borrow()).expect("there is a lease");
    let begun = world.begun("web");
    for round in 1..=30 {
        world.now = world.now.max(reach.kill);
        world.die("web");
        assert_eq!(world.begun("web"), begun + round, "it is started anew, and at once");
    }
}

/// The simulation's find: an application that hung while its CTI was started anew woke up and did what it had been given long before.
#[test]
fn what_must_be_flushed_is_killed_as_well_when_a_node_that_has_served_is_being_activated_anew() {
    let mut world = World::active();
    world.orders("web");
    world.crew.start(world.now, Run(3), Epoch(2));
    world.crew.stop(world.now, Run(4), world.now + SECOND, Urgency::Failover);
    assert_eq!(world.orders("web"), [Order::Stop { kill_at: world.now }]);
}

#[test]
fn one_that_must_be_flushed_and_cannot_be_killed_does_not_keep_the_others_alive() {
    let mut world = World::active();
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Failover);
    assert_eq!(world.orders("cti"), []);
    world.pass(SECOND / 2);
    assert_eq!(world.orders("cti"), [Order::Stop { kill_at: world.now }]);
}

#[test]
fn what_must_be_flushed_goes_on_after_a_planned_stop_and_on_a_node_that_was_not_active() {
    let mut world = World::active();
    world.orders("web");
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    assert_eq!(world.orders("web"), [Order::Release]);
    let mut standby = World::booted();
    standby.crew.stop(standby.now, Run(2), standby.now + SECOND, Urgency::Failover);
    assert_eq!(standby.orders("web"), [Order::Release]);
}

#[test]
fn a_failover_kills_after_half_of_the_time() {
    let mut world = World::active();
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Failover);
    world.die("web");
    // The first in turn has half of that half.
    assert_eq!(world.orders("cti"), [Order::Stop { kill_at: world.now + SECOND / 4 }]);
    world.pass(SECOND / 2);
    assert_eq!(world.orders("db"), [Order::Stop { kill_at: world.now }]);
}

#[test]
fn one_that_cannot_be_killed_does_not_keep_the_others_alive_and_is_named() {
    let mut world = World::active();
    let by = world.now + SECOND;
    world.crew.stop(world.now, Run(3), by, Urgency::Planned);
    world.pass(SECOND * 85 / 100);
    assert_eq!(world.orders("db"), [Order::Stop { kill_at: world.now }]);
    world.die("db");
    assert_eq!(world.crew.deadline(), Some(by));
    world.pass(SECOND * 15 / 100);
    let said = world.said();
    let Some(Said::Node(Input::StopFailed { run: Run(3), why })) = said.last() else { panic!("{said:?}") };
    assert!(why.contains("cti") && !why.contains("db"), "{why}");
    assert!(world.condition().running);
    world.die("cti");
    assert!(!world.condition().running);
}

/// An agent that was stopped itself wakes up when its lease and all that was to be stopped by then are long over.
#[test]
fn what_has_ended_while_the_agent_was_stopped_has_its_time_to_be_heard() {
    let mut world = World::active();
    world.crew.terms(SECOND);
    world.crew.stop(world.now, Run(3), world.now - SECOND, Urgency::Failover);
    assert_eq!(world.orders("cti"), [Order::Stop { kill_at: world.now }], "it is killed at once all the same");
    let of_run =
        |said: &Said| matches!(said, Said::Node(Input::Stopped(Run(3)) | Input::StopFailed { run: Run(3), .. }));
    assert!(!world.said().iter().any(of_run));
    world.pass(SECOND / 2);
    for service in ["web", "cti"] {
        world.die(service);
    }
    assert!(!world.said().iter().any(of_run), "db is left");
    let mut patient = world;
    patient.die("db");
    assert!(patient.said().contains(&Said::Node(Input::Stopped(Run(3)))));

    let mut world = World::active();
    world.crew.terms(SECOND);
    world.crew.stop(world.now, Run(3), world.now - SECOND, Urgency::Failover);
    world.pass(SECOND);
    assert!(matches!(world.said().iter().find(|said| of_run(said)), Some(Said::Node(Input::StopFailed { .. }))));
}

#[test]
fn a_start_fails_by_the_name_of_what_has_ended() {
    let mut world = World::booted();
    world.crew.deadman(world.now + SECOND * 60);
    world.crew.start(world.now, Run(2), EPOCH);
    world.ready("db");
    world.hear("cti", Event::Exited { how: "exit status 3".to_owned() });
    let said = world.said();
    let Some(Said::Node(Input::StartFailed { run: Run(2), why })) =
        said.iter().rev().find(|said| matches!(said, Said::Node(Input::StartFailed { .. })))
    else {
        panic!("{said:?}")
    };
    assert!(why.contains("`cti`") && why.contains("exit status 3"), "{why}");
}

#[test]
fn nothing_exclusive_starts_without_a_dead_mans_switch() {
    let mut world = World::booted();
    world.crew.start(world.now, Run(2), EPOCH);
    assert!(world.said().iter().any(|said| matches!(said, Said::Node(Input::StartFailed { .. }))));
    assert_eq!(world.begun("db"), 1);
}

#[test]
fn a_start_in_the_middle_of_a_stop_waits_for_the_stop() {
    let mut world = World::active();
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    world.crew.deadman(world.now + SECOND * 60);
    world.crew.start(world.now, Run(4), EPOCH);
    assert_eq!(world.begun("cti"), 2);
    world.die("cti");
    assert_eq!(world.begun("cti"), 3);
    world.ready("cti");
    assert_eq!(world.said().last(), Some(&Said::Node(Input::Started(Run(4)))));
}

#[test]
fn a_renewal_reaches_every_exclusive_service() {
    let mut world = World::active();
    world.crew.terms(SECOND);
    let deadman = world.now + SECOND * 90;
    world.crew.deadman(deadman);
    let reach = Reach::before(deadman, SECOND);
    assert_eq!(world.orders("db"), [Order::Extend(reach)]);
    assert_eq!(world.orders("cti"), [Order::Extend(reach)]);
    assert_eq!(world.orders("app"), []);
    assert_eq!(*world.book.reach.borrow(), Some(reach));
}

#[test]
fn an_exclusive_service_that_ends_is_left_so_and_said_at_once() {
    let mut world = World::active();
    world.hear("cti", Event::Exited { how: "signal SIGKILL".to_owned() });
    assert!(!world.condition().ready);
    assert_eq!(world.state("cti"), ServiceState::Exited);
    world.hear("cti", Event::Gone);
    world.pass(SECOND * 600);
    assert_eq!(world.begun("cti"), 2);
}

#[test]
fn a_service_that_is_not_exclusive_is_started_again_later_and_later() {
    let mut world = World::booted();
    world.die("app");
    assert_eq!(world.state("app"), ServiceState::Exited);
    assert!(!world.condition().fit);
    for wait in [100, 200, 400] {
        let begun = world.begun("app");
        let wait = Duration::from_millis(wait);
        assert_eq!(world.crew.deadline(), Some(world.now + wait));
        world.pass(wait);
        assert_eq!(world.begun("app"), begun + 1);
        world.die("app");
    }
    // One that fails does not hold up one that was up already.
    world.die("web");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.state("web"), ServiceState::Starting);
}

#[test]
fn a_restart_is_refused_where_nothing_may_run() {
    let mut world = World::booted();
    for (id, name) in [(1, "cti"), (2, "nobody")] {
        world.crew.restart(world.now, id, name);
        let said = world.said();
        assert!(
            matches!(&said[..], [Said::Restarted { id: told, outcome: Outcome::Refused, .. }] if *told == id),
            "{said:?}"
        );
    }
}

#[test]
fn a_restart_ends_when_the_service_is_ready_again() {
    for name in ["app", "cti"] {
        let mut world = World::active();
        let begun = world.begun(name);
        world.crew.restart(world.now, 9, name);
        assert!(matches!(world.orders(name)[..], [Order::Stop { .. }]));
        world.crew.restart(world.now, 10, name);
        world.die(name);
        assert_eq!(world.begun(name), begun + 1);
        world.ready(name);
        let answers: Vec<_> = world.said().into_iter().filter(|said| matches!(said, Said::Restarted { .. })).collect();
        assert!(
            matches!(
                &answers[..],
                [
                    Said::Restarted { id: 10, outcome: Outcome::Refused, .. },
                    Said::Restarted { id: 9, outcome: Outcome::Done, .. }
                ]
            ),
            "{answers:?}"
        );
        assert_eq!(world.condition().services.iter().find(|service| service.name == name).unwrap().restarts, 1);
    }
}

#[test]
fn a_stop_ends_a_restart() {
    let mut world = World::active();
    world.crew.restart(world.now, 9, "cti");
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Failover);
    world.die("cti");
    world.die("db");
    let said = world.said();
    assert!(
        said.iter().any(|said| matches!(said, Said::Restarted { id: 9, outcome: Outcome::Failed, .. })),
        "{said:?}"
    );
    assert_eq!(world.begun("cti"), 2);
}

#[test]
fn the_agents_end_stops_all_in_reverse_and_starts_nothing() {
    let mut world = World::active();
    world.crew.stop(world.now, Run(3), world.now + SECOND, Urgency::Planned);
    world.die("cti");
    world.die("db");
    world.crew.close(world.now);
    assert!(matches!(world.orders("web")[..], [Order::Extend(_), Order::Release, Order::Stop { .. }]));
    assert_eq!(world.orders("app"), []);
    world.die("web");
    assert!(matches!(world.orders("app")[..], [Order::Stop { .. }]));
    assert!(!world.crew.is_closed());
    world.die("app");
    assert!(world.crew.is_closed());
    world.pass(SECOND * 600);
    assert_eq!((world.begun("app"), world.begun("web")), (2, 2));
}

#[test]
fn what_an_older_life_says_is_not_listened_to() {
    let mut world = World::active();
    let old = world.newest("app", |begun| begun.post.clone());
    world.die("app");
    world.pass(SECOND);
    world.ready("app");
    world.crew.hear(world.now, Happening { service: old.service, life: old.life, event: Event::Gone });
    assert_eq!(world.state("app"), ServiceState::Running);
}
