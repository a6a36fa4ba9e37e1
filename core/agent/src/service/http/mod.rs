//! The driver `http`: a service that somebody else runs, and that is started, stopped and asked by calls.
//!
//! A start or a stop is done when its answer is the expected one, and the status says so too, where one is configured. A stop
//! that is not confirmed so is tried again and again, and until then the service counts as running: the node says of no
//! stop that it is done. No kernel timer can end what runs elsewhere. An exclusive service is bounded only by `kill`, a
//! program that its guard runs at the deadline, or when the agent has died; its status 0 is the proof that nothing runs.

mod call;
#[cfg(test)]
mod tests;

pub(crate) use call::{read_login, trusted};

use super::guarded::{Guarded, Means};
use super::{Event, Order, Post, earlier};
use crate::config::{HttpService, HttpStatus};
use crate::guard::order::{self, Begin, Reach};
use call::Caller;
use lockstep_policy::At;
use lockstep_wire::clock;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// From one look to the next while something is expected to change.
const SOON: Duration = Duration::from_millis(100);
/// From one try to stop it to the next: longer each time.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// So many answers in a row that say nothing make a service unready.
const UNKNOWN: u32 = 2;

/// One service, and what bounds it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) service: Box<HttpService>,
    pub(crate) means: Means,
    /// The guard's first order: its last program is `kill`, when there is one.
    pub(crate) begin: Begin,
    /// The status says when it is ready: there is no other check.
    pub(crate) says_ready: bool,
    /// How long its own stop may take when nobody has said by when it must be gone.
    pub(crate) stop_time: Duration,
}

/// One life of a service: from the call that starts it until its stop is confirmed.
pub(crate) async fn run(remote: Remote, orders: mpsc::Receiver<Order>, post: Post) {
    let caller = Caller::new(&remote.service);
    let mut watch = Watch::new(remote, orders);
    let end = match watch.stand_by().await {
        Ok(()) => match live(&caller, &mut watch, &post).await {
            Ok(never) => match never {},
            Err(end) => end,
        },
        Err(Some(how)) => {
            // Nothing was started.
            post.say(Event::Exited { how }).await;
            return post.say(Event::Gone).await;
        }
        Err(None) => return,
    };
    match end {
        End::Ordered => {}
        End::Fault(how) => {
            // A start that has failed may have started it.
            watch.kill_at = Some(clock::now() + watch.remote.stop_time);
            post.say(Event::Exited { how }).await;
        }
        End::Agent => return,
    }
    stop(&caller, watch, &post).await;
}

/// What an earlier life of the agent may have left: stopped, whether it runs or not.
pub(crate) async fn end(remote: Remote, mut orders: mpsc::Receiver<Order>, post: Post) {
    if remote.begin.last.is_some() && !earlier::clear(&remote.begin.lock, None, &mut orders).await {
        return;
    }
    let caller = Caller::new(&remote.service);
    stop(&caller, Watch::new(remote, orders), &post).await;
}

/// Why a life does not go on.
enum End {
    Ordered,
    Fault(String),
    Agent,
}

/// What a service's status says.
enum How {
    Running,
    Stopped(String),
    Unknown(String),
}

async fn live(caller: &Caller, watch: &mut Watch, post: &Post) -> Result<Infallible, End> {
    let service = watch.remote.service.clone();
    watch.during(caller.make(&service.start)).await?.map_err(End::Fault)?;
    if let Some(status) = &service.status {
        while !matches!(watch.during(how(caller, status)).await?, How::Running) {
            watch.during(sleep(status.interval.min(SOON))).await?;
        }
    }
    post.say(Event::Started { pid: 0 }).await;
    let Some(status) = &service.status else { return watch.during(std::future::pending()).await };
    let mut unknown = 0;
    loop {
        watch.during(sleep(status.interval)).await?;
        match watch.during(how(caller, status)).await? {
            How::Running => {
                if unknown >= UNKNOWN && watch.remote.says_ready {
                    post.say(Event::Ready).await;
                }
                unknown = 0;
            }
            How::Stopped(text) => return Err(End::Fault(format!("its status says that it is stopped: {text}"))),
            How::Unknown(why) => {
                unknown += 1;
                if unknown == UNKNOWN {
                    tracing::warn!(service = watch.remote.means.name, why, "its status says nothing");
                    if watch.remote.says_ready {
                        post.say(Event::Unready).await;
                    }
                }
            }
        }
    }
}

async fn how(caller: &Caller, status: &HttpStatus) -> How {
    match caller.ask(&status.running).await {
        Ok(answer) if answer.is(&status.running.expected) => How::Running,
        Ok(answer) if answer.is(&status.stopped) => How::Stopped(answer.text()),
        Ok(answer) => How::Unknown(format!("{} was answered with {}", call::text(&status.running), answer.text())),
        Err(why) => How::Unknown(why),
    }
}

/// Stops the service, and says so when that is sure.
async fn stop(caller: &Caller, mut watch: Watch, post: &Post) {
    let service = watch.remote.service.clone();
    let mut pause = AGAIN;
    loop {
        tokio::select! {
            biased;
            confirmed = watch.bound() => match confirmed {
                Bound::Ended => break,
                Bound::Agent => return,
            },
            tried = confirm(caller, &service) => match tried {
                Ok(()) => break,
                Err(why) => {
                    let service = watch.remote.means.name.as_str();
                    tracing::error!(service, why, "the stop is not confirmed: the service counts as running");
                }
            },
        }
        tokio::select! {
            biased;
            confirmed = watch.bound() => match confirmed {
                Bound::Ended => break,
                Bound::Agent => return,
            },
            () = sleep(pause) => pause = (pause * 2).min(AGAIN_MAX),
        }
    }
    watch.dismiss().await;
    post.say(Event::Gone).await;
}

/// Calls, and waits until the status says what the answer has said.
async fn confirm(caller: &Caller, service: &HttpService) -> Result<(), String> {
    caller.make(&service.stop).await?;
    let Some(status) = &service.status else { return Ok(()) };
    let until = clock::now() + service.stop.timeout;
    loop {
        let why = match how(caller, status).await {
            How::Stopped(_) => return Ok(()),
            How::Running => "its status says that it runs".to_owned(),
            How::Unknown(why) => why,
        };
        if clock::now() >= until {
            return Err(format!("{} was answered as expected, but {why}", call::text(&service.stop)));
        }
        sleep(status.interval.min(SOON)).await;
    }
}

/// What has become of a stop meanwhile.
enum Bound {
    /// `kill` has ended well.
    Ended,
    Agent,
}

/// Who listens to orders, and to the guard that stands by.
struct Watch {
    remote: Remote,
    orders: mpsc::Receiver<Order>,
    guard: Option<Guarded>,
    /// From here on `kill` is run.
    kill_at: Option<At>,
    /// The guard has been told to run it, and has not said how it has ended.
    killing: bool,
    /// How long after one that has failed it is run again.
    pause: Duration,
}

impl Watch {
    fn new(remote: Remote, orders: mpsc::Receiver<Order>) -> Watch {
        Watch { remote, orders, guard: None, kill_at: None, killing: false, pause: AGAIN }
    }

    /// Starts the guard, where there is something for it to run.
    async fn stand_by(&mut self) -> Result<(), Option<String>> {
        if self.remote.begin.last.is_some() {
            self.guard = Some(Guarded::stand_by(&self.remote.means, self.remote.begin.clone()).await?);
        }
        Ok(())
    }

    /// Does something as long as nobody orders an end.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Stop { kill_at }) => {
                        self.kill_at = Some(kill_at);
                        return Err(End::Ordered);
                    }
                    Some(Order::Extend(reach)) => self.extend(reach),
                    Some(Order::Release) => {}
                    None => return Err(End::Agent),
                },
                said = said(&mut self.guard) => return Err(End::Fault(match said {
                    Some(order::Event::Gone) => "its time was over, and its guard has run `kill`".to_owned(),
                    Some(order::Event::NotUndone { how }) => format!("its time was over, and `kill` has failed: {how}"),
                    _ => {
                        self.guard = None;
                        "its guard has died: nothing bounds it".to_owned()
                    }
                })),
                done = &mut work => return Ok(done),
            }
        }
    }

    fn extend(&self, reach: Reach) {
        if let Some(guard) = &self.guard {
            guard.pass(Order::Extend(self.remote.begin.own(reach)));
        }
    }

    /// Listens while the service is being stopped. Returns when `kill` has ended it, or the agent is ending; whoever stops
    /// waiting loses nothing.
    async fn bound(&mut self) -> Bound {
        loop {
            let kill_at = self.kill_at.filter(|_| !self.killing && self.remote.begin.last.is_some());
            let kill_in = kill_at.map(|at| at.since(clock::now()));
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Stop { kill_at }) => {
                        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
                    }
                    Some(Order::Extend(reach)) => self.extend(reach),
                    Some(Order::Release) => {}
                    None => return Bound::Agent,
                },
                said = said(&mut self.guard) => match said {
                    Some(order::Event::Gone) => return Bound::Ended,
                    Some(order::Event::NotUndone { how } | order::Event::Failed { why: how }) => self.not_killed(&how),
                    Some(_) => {}
                    None if self.killing => self.not_killed("its guard has died"),
                    None => self.guard = None,
                },
                () = sleep(kill_in.unwrap_or_default()), if kill_in.is_some() => self.kill().await,
            }
        }
    }

    /// Has the guard run `kill` now.
    async fn kill(&mut self) {
        tracing::warn!(service = self.remote.means.name, "the stop was not confirmed in time: `kill` is run");
        if self.guard.is_none() {
            let begin = Begin { reach: None, ..self.remote.begin.clone() };
            match Guarded::stand_by(&self.remote.means, begin).await {
                Ok(guard) => self.guard = Some(guard),
                Err(why) => return self.not_killed(why.as_deref().unwrap_or("the agent is ending")),
            }
        }
        if let Some(guard) = &self.guard {
            self.killing = true;
            guard.tell(&order::Order::Stop { kill_at: clock::now() + self.remote.begin.stop_max });
        }
    }

    fn not_killed(&mut self, how: &str) {
        tracing::error!(service = self.remote.means.name, how, "`kill` has failed: the service counts as running");
        self.guard = None;
        self.killing = false;
        self.kill_at = Some(clock::now() + self.pause);
        self.pause = (self.pause * 2).min(AGAIN_MAX);
    }

    /// The guard has nothing to do any more.
    async fn dismiss(mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.tell(&order::Order::Dismiss);
            while guard.next().await.is_some() {}
            guard.end().await;
        }
    }
}

/// What the guard says; nothing, where there is none.
async fn said(guard: &mut Option<Guarded>) -> Option<order::Event> {
    match guard {
        Some(guard) => guard.next().await,
        None => std::future::pending().await,
    }
}
