//! A session with a CTI server, kept from one probe to the next: each probe is a heartbeat in it.

mod frame;

use super::connect::{self, Stream, at_port};
use super::judge::{self, Finding};
use super::means::Means;
use super::session::{Ended, Kept};
use frame::{NotSaid, Said};
use lockstep_policy::action::CtiProbe;
use lockstep_policy::event::{Fact, Verdict};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};

/// Other messages that are skipped before an answer; a server that says more does not answer.
const SKIPPED: usize = 10_000;

/// `E_CTI_SERVER_NOT_MASTER`: what a standby refuses sessions with.
const STANDBY: u32 = 92;

/// How long a server is waited for when we take our leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// A declared CTI probe, checked.
pub(super) struct Cti {
    probe: CtiProbe,
    sessions: Kept<Session>,
}

struct Session {
    stream: BufReader<Stream>,
    /// The number of the latest request.
    invoke: u32,
}

impl Cti {
    pub fn new(probe: &CtiProbe, servers: usize, means: &Means) -> Result<Cti, String> {
        if probe.client.len() > frame::TEXT_MAX || probe.client.contains('\0') {
            return Err(format!("a client id has at most {} bytes", frame::TEXT_MAX));
        }
        means.check_secret(&probe.secret)?;
        Ok(Cti { probe: probe.clone(), sessions: Kept::new(servers) })
    }

    /// The caller bounds its time; a probe that is cut off takes its session along.
    pub async fn probe(&self, means: &Means, turn: usize, server: SocketAddr) -> Finding {
        let mut place = self.sessions.of(turn).await;
        let kept = match place.session.take() {
            Some(mut session) => match session.heartbeat().await {
                Ok(()) => Some(session),
                // Whether the server is well shows a new session: this one may have ended long ago.
                Err(Ended::Gone(_)) => None,
                Err(Ended::Answered(finding)) => return finding,
            },
            None => None,
        };
        let session = match kept {
            Some(session) => session,
            None => match self.open(means, at_port(server, self.probe.port)).await {
                Ok(session) => session,
                Err(finding) => return finding,
            },
        };
        if let Some(session) = place.keep(session) {
            session.close().await;
        }
        Finding::good(0, "")
    }

    pub async fn close(&self) {
        for session in self.sessions.take_all().await {
            session.close().await;
        }
    }

    async fn open(&self, means: &Means, address: SocketAddr) -> Result<Session, Finding> {
        let password = match self.probe.secret.as_str() {
            "" => None,
            name => Some(means.secret(name).await?),
        };
        if password.as_ref().is_some_and(|password| password.len() > frame::TEXT_MAX) {
            let why = format!("the secret \"{}\" has more than {} bytes", self.probe.secret, frame::TEXT_MAX);
            return Err(Finding::new(Verdict::Wrong, 0, why));
        }
        let name = ServerName::from(address.ip());
        let stream = connect::open(&means.trust, address, self.probe.tls, &name).await?;
        let mut session = Session { stream: BufReader::new(stream), invoke: 0 };
        let invoke = session.next();
        let request = frame::open(invoke, &self.probe, password.as_deref());
        session.ask(&request, invoke, |said| said == Said::Opened(invoke)).await?;
        Ok(session)
    }
}

impl Session {
    async fn heartbeat(&mut self) -> Result<(), Ended> {
        let invoke = self.next();
        self.ask(&frame::heartbeat(invoke), invoke, |said| said == Said::Beats(invoke)).await
    }

    /// Sends a request, and waits until it is answered; whatever else is said meanwhile is skipped.
    async fn ask(&mut self, request: &[u8], invoke: u32, is_answer: impl Fn(Said) -> bool) -> Result<(), Ended> {
        let gone = |error: &std::io::Error| Ended::Gone(judge::broken(error));
        self.stream.write_all(request).await.map_err(|error| gone(&error))?;
        self.stream.flush().await.map_err(|error| gone(&error))?;
        for _ in 0..SKIPPED {
            let said = match frame::read(&mut self.stream).await {
                Ok(said) => said,
                Err(NotSaid::Io(error)) => return Err(gone(&error)),
                Err(error) => return Err(Ended::Answered(Finding::new(Verdict::Wrong, 0, error.to_string()))),
            };
            match said {
                said if is_answer(said) => return Ok(()),
                Said::Failed(of, status) if of == invoke => return Err(Ended::Answered(refused(status))),
                Said::Broken(status) => return Err(Ended::Answered(refused(status))),
                // A session may be ended because it was idle: whether the server would have another one is to be seen.
                Said::Closing(status) => return Err(Ended::Gone(refused(status))),
                Said::Closed => {
                    let why = Finding::new(Verdict::Refused, 0, "the server has closed the session");
                    return Err(Ended::Gone(why));
                }
                // Events, answers to earlier requests.
                _ => {}
            }
        }
        let why = format!("{SKIPPED} messages, and none of them the answer");
        Err(Ended::Answered(Finding::new(Verdict::Wrong, 0, why)))
    }

    /// Best effort: the server notices by itself, later.
    async fn close(mut self) {
        let invoke = self.next();
        let leave = async {
            self.stream.write_all(&frame::close(invoke)).await?;
            self.stream.shutdown().await
        };
        let _ = tokio::time::timeout(FAREWELL, leave).await;
    }

    fn next(&mut self) -> u32 {
        self.invoke = self.invoke.wrapping_add(1);
        self.invoke
    }
}

fn refused(status: u32) -> Finding {
    let meaning = if status == STANDBY { ": it is the standby" } else { "" };
    let facts = vec![Fact { name: "status".to_owned(), value: status.to_string() }];
    Finding {
        facts,
        ..Finding::new(Verdict::Wrong, 0, format!("the server refuses the session with status {status}{meaning}"))
    }
}

#[cfg(test)]
mod tests;
