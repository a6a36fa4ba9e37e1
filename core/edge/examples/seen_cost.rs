//! What access log and metrics cost a request: `cargo run --release -p lockstep-edge --example seen_cost [DIRECTORY]`.
//!
//! Lines go to a file in that directory (else to the system's for temporary files) at 50,000 a second, far more than one edge serves.
//! Times are of processors: what a request's own thread spends, and all threads together.

use lockstep_edge::access::{AccessLog, Entry, Format, Id, Request, Settings, To};
use lockstep_edge::metrics::{Answered, Meters};
use lockstep_policy::{Epoch, Side};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

const LINES: u64 = 500_000;
const BURST: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for format in [Format::Json, Format::Combined] {
        let made = cpu(ClockId::ThreadCPUTime, LINES, || drop(black_box(black_box(&entry()).line(format))));
        let length = entry().line(format).len();
        println!("{format:?}: a line of {length} bytes is made in {made} ns");
        let file = directory.join(format!("seen-cost-{}.log", std::process::id()));
        let log = AccessLog::open(&Settings { to: To::File(file.clone()), format })?;
        let before = (time(ClockId::ThreadCPUTime), time(ClockId::ProcessCPUTime));
        for _ in 0..LINES / BURST {
            (0..BURST).for_each(|_| log.put(black_box(&entry())));
            std::thread::sleep(PAUSE);
        }
        let own = (time(ClockId::ThreadCPUTime) - before.0).as_nanos() / u128::from(LINES);
        log.close().await;
        let all = (time(ClockId::ProcessCPUTime) - before.1).as_nanos() / u128::from(LINES);
        println!("{format:?}: put in {own} ns; with the thread that writes, {all} ns; {:?}", log.counts());
        std::fs::remove_file(file)?;
    }
    let meters = Meters::default();
    println!("metrics: counted in {} ns", cpu(ClockId::ThreadCPUTime, 10 * LINES, || count(&meters)));
    let each = std::thread::scope(|threads| {
        let threads: Vec<_> =
            (0..2).map(|_| threads.spawn(|| cpu(ClockId::ThreadCPUTime, 10 * LINES, || count(&meters)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).max().unwrap_or_default()
    });
    println!("metrics: counted in {each} ns where two threads count at once");
    Ok(())
}

fn entry() -> Entry<'static> {
    Entry {
        ended: SystemTime::now(),
        total: Duration::from_micros(1_234),
        client: Some(([10, 0, 0, 7], 47_110).into()),
        listener: Some(([10, 0, 0, 100], 80).into()),
        protocol: "HTTP/1.1",
        request: Some(Request {
            method: "GET",
            path: b"/rtcmanager/monitor?mod=FT&session=0123456789",
            referer: b"http://phones.example/start",
            user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        }),
        status: Some(200),
        received: 0,
        sent: 1_234,
        pair: "telisca",
        side: Some(Side::A),
        epoch: Some(Epoch(7)),
        by_edge: false,
        hold: Duration::ZERO,
        first_byte: Some(Duration::from_micros(1_100)),
        attempts: 1,
        trace: Some(Id::Given(b"0af7651916cd43dd8448eb211c80319c")),
        request_id: None,
        why: None,
    }
}

fn count(meters: &Meters) {
    let (first_byte, total) = (Duration::from_micros(1_100), Duration::from_micros(1_234));
    meters.answered(Side::A, black_box(&Answered { status: 200, first_byte, total, received: 0, sent: 1_234 }));
}

/// Nanoseconds of a processor for one of so many.
fn cpu(clock: ClockId, times: u64, mut work: impl FnMut()) -> u128 {
    let before = time(clock);
    (0..times).for_each(|_| work());
    (time(clock) - before).as_nanos() / u128::from(times)
}

fn time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Clocks of processor time begin at zero.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
