//! Routes that change under many requests at once: what is called drained stays drained (I2).

use super::rig::{Client, Rig};
use lockstep_policy::Side;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const CLIENTS: usize = 48;
const CHANGES: u64 = 150;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i2_no_request_begins_at_a_side_that_was_drained() {
    let rig = Arc::new(Rig::new().await);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (at, stop) = (rig.at, Arc::clone(&stop));
            tokio::spawn(async move {
                let mut client = Client::connect(at).await;
                let mut served = 0;
                while !stop.load(SeqCst) {
                    assert_eq!(client.get("/").await.expect("no request is lost").status, 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    let mut side = Side::A;
    for epoch in 1..=CHANGES {
        rig.serve(side, epoch * 2);
        // Different lengths of calm, so that changes meet requests at every point of their way.
        for _ in 0..epoch * 7 % 50 {
            tokio::task::yield_now().await;
        }
        if epoch % 3 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(epoch % 7)).await;
        }
        rig.hold(epoch * 2 + 1);
        rig.pair.drained(side).await;
        let server = if side == Side::A { &rig.a } else { &rig.b };
        let before = server.count();
        // Connections of the drained side are not cut: whatever were still on its way would arrive.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(server.count(), before, "a request began at side {side} after its drain (epoch {epoch})");
        // Who looked at the route before it changed counts itself for an instant, and sees then that it comes too late.
        rig.pair.drained(side).await;
        side = side.other();
    }
    rig.serve(side, CHANGES * 2 + 2);
    stop.store(true, SeqCst);
    let mut served = 0;
    for client in clients {
        served += client.await.unwrap();
    }
    assert_eq!(served, rig.a.count() + rig.b.count(), "none was sent twice, none was lost");
    assert_eq!(rig.pair.totals().failed, 0);
}
