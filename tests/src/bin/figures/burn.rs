//! Processes that want the processors.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One round of work and rest.
const ROUND: Duration = Duration::from_millis(10);

/// Busy processes, until it is dropped.
#[derive(Debug)]
pub struct Busy(Vec<Child>);

impl Busy {
    /// So many, each of which wants a processor for that part of the time.
    pub fn start(processes: usize, percent: u32) -> Busy {
        let one = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["burn", "--percent", &percent.to_string()]).stdin(Stdio::null()).spawn().unwrap()
        };
        Busy((0..processes).map(|_| one()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Works for that part of the time, for ever.
pub fn burn(percent: u32) -> bool {
    loop {
        let (begin, work) = (Instant::now(), ROUND * percent / 100);
        let mut number = 1u64;
        while begin.elapsed() < work {
            for _ in 0..1_000 {
                number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        }
        if percent < 100 {
            std::thread::sleep(ROUND.saturating_sub(begin.elapsed()));
        }
    }
}
