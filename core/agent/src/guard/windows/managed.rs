//! A service of the service control manager under its guard.
//!
//! Calls of the manager may wait for half a minute when a service hangs: they are made by threads of their own. What is to be
//! ended by force is ended without the manager.

use super::watch::{Charge, Heard};
use crate::platform::{family, process};
use crate::service::scm::{Control, State};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use win32job::Job;

/// From one look to the next: it is seen at once when it starts, stops or has died.
const LOOK: Duration = Duration::from_millis(10);
/// From one look to the next when nothing was ordered.
const STEADY: Duration = Duration::from_millis(100);
/// From one try to the next when it does not take the order to stop, as when it is just starting.
const AGAIN: Duration = Duration::from_millis(20);

/// A service, started.
#[derive(Debug)]
pub(super) struct Managed {
    name: String,
    held: Arc<Held>,
}

/// What the threads share.
#[derive(Debug, Default)]
struct Held {
    /// Its processes die when this is dropped; none: it is not bound, or is being killed.
    job: Mutex<Option<Job>>,
    pid: Mutex<u32>,
    starting: AtomicBool,
    stopping: AtomicBool,
    killing: AtomicBool,
    gone: AtomicBool,
}

impl Managed {
    /// Has it started. One that is `bound` is put into a job, which ends when the guard does.
    pub(super) fn start(name: &str, bound: bool, tell: SyncSender<Heard>) -> Result<Managed, String> {
        let job = bound.then(family::job).transpose().map_err(|error| format!("no job object: {error}"))?;
        let held = Arc::new(Held { job: Mutex::new(job), starting: true.into(), ..Held::default() });
        let control = Control::open(name)?;
        if bound {
            control.may_be_exclusive()?;
        }
        let (observed, shared, observer) = (name.to_owned(), Arc::clone(&held), tell.clone());
        thread::spawn(move || observe(&observed, &shared, &observer));
        let (started, shared) = (name.to_owned(), Arc::clone(&held));
        thread::spawn(move || {
            if let Err(why) = Control::open(&started).and_then(|control| control.start()) {
                let _ = tell.send(Heard::Failed { why });
            }
            shared.starting.store(false, Ordering::SeqCst);
        });
        Ok(Managed { name: name.to_owned(), held })
    }
}

/// Looks how it is, until nothing of it runs any more.
fn observe(name: &str, held: &Held, tell: &SyncSender<Heard>) {
    let mut control = Control::open(name);
    let mut known = 0;
    loop {
        // Before the look: what is seen stopped afterwards has been started.
        let starting = held.starting.load(Ordering::SeqCst);
        let state = control.as_ref().map_or(State::Unknown, Control::state);
        match state {
            State::Stopped { how } if !starting => {
                held.gone.store(true, Ordering::SeqCst);
                let _ = tell.send(Heard::Ended { how });
                return;
            }
            State::Up { pid } | State::Changing { pid } if pid != 0 => {
                held.take_in(pid);
                if pid != known && matches!(state, State::Up { .. }) {
                    known = pid;
                    let _ = tell.send(Heard::Started { pid });
                }
            }
            // A handle can be worth nothing from one call to the next: Wine's is when two threads ask at the same time.
            State::Unknown => control = Control::open(name),
            _ => {}
        }
        let quiet = known != 0 && !held.stopping.load(Ordering::SeqCst) && !held.killing.load(Ordering::SeqCst);
        thread::sleep(if quiet { STEADY } else { LOOK });
    }
}

impl Held {
    /// Binds its process to the guard's life.
    fn take_in(&self, pid: u32) {
        let mut seen = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if self.killing.load(Ordering::SeqCst) {
            let _ = process::terminate(pid);
        }
        if *seen == pid {
            return;
        }
        *seen = pid;
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = job.as_ref() {
            let bound = process::for_job(pid)
                .map_err(|error| io::Error::other(error.to_string()))
                .and_then(|process| job.assign_process(process.ptr() as isize).map_err(io::Error::from));
            if let Err(error) = bound {
                eprintln!("lockstep guard: process {pid} is not bound to its guard: {error}");
            }
        }
    }
}

impl Charge for Managed {
    fn ask(&mut self) -> bool {
        self.held.stopping.store(true, Ordering::SeqCst);
        let (name, held) = (self.name.clone(), Arc::clone(&self.held));
        thread::spawn(move || {
            // Opened anew each time, as for a look.
            let stop = || Control::open(&name).is_ok_and(|control| control.stop());
            while !held.gone.load(Ordering::SeqCst) && !stop() {
                thread::sleep(AGAIN);
            }
        });
        true
    }

    fn kill(&mut self) -> bool {
        if self.held.gone.load(Ordering::SeqCst) {
            return true;
        }
        if !self.held.killing.swap(true, Ordering::SeqCst) {
            let pid = *self.held.pid.lock().unwrap_or_else(PoisonError::into_inner);
            *self.held.job.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if pid != 0 {
                let _ = process::terminate(pid);
            }
        }
        false
    }

    fn is_bound(&self) -> bool {
        self.held.job.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
