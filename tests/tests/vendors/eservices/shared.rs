//! Two eServices sites that both serve: who goes where is static (E2, E7), and a move spreads clients over a time (E3).

use super::site::{self, PAIR, POOLS, vip, wait_shown, wait_told};
use super::{DONE, types};
use lockstep_policy::Side::{self, A, B};
use lockstep_tests::bed::Bed;
use lockstep_tests::http;
use lockstep_tests::processes::{Life, PATIENCE, lockstep};
use lockstep_tests::world::in_a_world_of_its_own;
use std::path::Path;
use std::time::{Duration, Instant};

/// Within this clients of a moved site come back to the other one.
const SPREAD: Duration = Duration::from_secs(3);
/// Clients of no tenant that has a site of its own.
const MANY: usize = 40;
/// Clients of the tenant `acme`.
const FEW: usize = 6;

/// A client: the name of its session, and its tenant.
#[derive(Clone, Debug)]
struct Client {
    name: String,
    tenant: &'static str,
}

impl Client {
    fn some(number: usize, tenant: &'static str) -> Vec<Client> {
        (1..=number).map(|one| Client { name: format!("{tenant}-{one}"), tenant }).collect()
    }

    /// The side that answers a request; it has to be a good answer.
    fn ask(&self, pool: &str) -> Side {
        let answer = http::get(vip(pool), "/work", &[("x-client", &self.name), ("x-tenant", self.tenant)]);
        let answer = answer.unwrap_or_else(|| panic!("{self:?} got no answer"));
        assert_eq!(answer.status, 200, "{self:?}: {answer:?}");
        answer.fields["x-side"].parse().unwrap()
    }
}

fn all_at(clients: &[Client], side: Side) {
    for client in clients {
        for (pool, _) in POOLS {
            assert_eq!(client.ask(pool), side, "{client:?} at pool {pool}");
        }
    }
}

/// Both sites' servers, which run without an agent: nothing is exclusive.
fn sites(dir: &Path) -> (Bed, [Life; 2]) {
    let mut bed = Bed::bare(dir, PAIR, "eservices");
    let policy = format!(
        "sites = \"both\"\nrandom_delay_range = \"{}\"\ncapacity_b = 20\n[pair.policy.site]\napplication = \"Site_A\"\n\
         [pair.policy.site.tenant]\nacme = \"Site_B\"\n[pair.policy.site_attribute]\ntenant = \"X-Tenant\"\n",
        humantime::format_duration(SPREAD)
    );
    bed.configure_edge(&site::edge(dir, &policy, "[pair.session]\nby = \"header:X-Client\"\n", false));
    let servers = Side::BOTH.map(|side| {
        let mut command = bed.network().command_on(side, lockstep().get_program());
        command.args(site::pool_options(dir, side));
        Life::begin(command, &dir.join(format!("pool-{side}.log")), None)
    });
    bed.start_edge();
    Side::BOTH.into_iter().for_each(|side| wait_shown(&bed, side, "Serving: interaction 2 of 2, ucs 2 of 2"));
    (bed, servers)
}

#[test]
fn tenants_have_their_site_and_a_move_spreads_clients() {
    in_a_world_of_its_own(|dir| {
        let (bed, servers) = sites(dir);
        let (many, few) = (Client::some(MANY, "other"), Client::some(FEW, "acme"));
        all_at(&many, A);
        all_at(&few, B);

        types(&bed, "eva", &["order", PAIR, "site", "Site_B"], DONE, "clients come back spread over 3s");
        let mut turns = turns_to(&many, B, Instant::now());
        wait_told(&bed, &format!("E3: the move to Site_B (b) is over: {MANY} sessions moved, 0 did not come back"));
        wait_told(&bed, "and Site_B (b) can carry 20");
        all_at(&many, B);
        all_at(&few, B);
        turns.sort_unstable();
        let (first, last) = (turns[0], turns[MANY - 1]);
        println!("{MANY} clients of a moved site came to the other one after {first:?} to {last:?}");
        assert!(last <= SPREAD + Duration::from_secs(1), "within its time, and a margin of the machine: {last:?}");
        for third in 0..3 {
            let (from, to) = (SPREAD / 3 * third, SPREAD / 3 * (third + 1));
            let came = turns.iter().filter(|turn| (from..to).contains(*turn)).count();
            assert!(came >= MANY / 6, "{came} of {MANY} came between {from:?} and {to:?}: {turns:?}");
        }

        types(&bed, "eva", &["order", PAIR, "site", "tenant acme", "--side", "a"], DONE, "tenant `acme`");
        turns_to(&few, A, Instant::now());
        all_at(&few, A);
        all_at(&many, B);
        servers.into_iter().for_each(Life::kill);
    });
}

/// Has clients ask one after the other, over and over, until all have come to a side; when each did. Nobody goes back.
fn turns_to(clients: &[Client], side: Side, since: Instant) -> Vec<Duration> {
    let mut turns = vec![None; clients.len()];
    while turns.iter().any(Option::is_none) {
        assert!(since.elapsed() < PATIENCE, "waited in vain for all to come to {side}");
        for (client, turn) in clients.iter().zip(&mut turns) {
            let there = client.ask("interaction") == side;
            assert!(there || turn.is_none(), "{client:?} went back");
            if there {
                turn.get_or_insert_with(|| since.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    turns.into_iter().flatten().collect()
}
