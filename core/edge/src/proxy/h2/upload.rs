//! The body of one request by HTTP/2, and what bounds it.
//!
//! Over HTTP/1 a body is followed on its connection (`client`, `pace`), where it is known who keeps whom waiting. Here pingora reads it,
//! and all that is known is how much has come: so that no client pays for a slow server, it is given `silence` more than there.

use super::super::answer::Refused;
use super::super::head::TOO_LARGE;
use super::super::pace::GRACE;
use super::super::settings::ListenSettings;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::sleep;

/// From one look at a body to the next.
const LOOK: Duration = Duration::from_millis(500);

/// One body, on its way from a client to a server. It travels along with the request's head.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Upload(Arc<Body>);

#[derive(Debug)]
struct Body {
    /// In bytes.
    most: u64,
    came: AtomicU64,
    /// A server has been given the request, and waits for it.
    awaited: AtomicBool,
    /// All of it has come, or the server has answered without it.
    done: AtomicBool,
}

impl Upload {
    pub(super) fn new(settings: &ListenSettings) -> Upload {
        let body = Body {
            most: settings.body_bytes,
            came: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            done: AtomicBool::new(false),
        };
        Upload(Arc::new(body))
    }

    /// That of a request by HTTP/2 that has one.
    pub(in crate::proxy) fn of(request: &RequestHeader) -> Option<&Upload> {
        request.extensions.get()
    }

    /// A server is given the request.
    pub(in crate::proxy) fn is_awaited(&self) {
        self.0.awaited.store(true, Relaxed);
    }

    /// The server has answered: what it does not need the client may send as it likes.
    pub(in crate::proxy) fn is_answered(&self) {
        self.0.done.store(true, Relaxed);
    }

    /// More of it has come.
    ///
    /// # Errors
    /// It is more than there may be.
    pub(in crate::proxy) fn comes(&self, bytes: usize, end: bool) -> Result<()> {
        let body = &*self.0;
        let came = body.came.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if end {
            body.done.store(true, Relaxed);
        }
        if came <= body.most {
            return Ok(());
        }
        let refused = Refused::error(TOO_LARGE);
        Err(Error::because(ErrorType::ReadError, "a body by HTTP/2", refused).into_down())
    }

    /// Resolves when it has come too slowly, or not at all for too long.
    pub(super) async fn is_late(&self, settings: &ListenSettings) {
        let mut waiting = Waiting::new(settings);
        while !self.0.done.load(Relaxed) {
            sleep(LOOK).await;
            if self.0.awaited.load(Relaxed) && waiting.is_too_long(LOOK, self.0.came.load(Relaxed)) {
                return;
            }
        }
        std::future::pending().await
    }
}

/// How long a body has been waited for.
#[derive(Debug)]
struct Waiting {
    rate: u64,
    silence: Duration,
    came: u64,
    all: Duration,
    since_last: Duration,
}

impl Waiting {
    fn new(settings: &ListenSettings) -> Waiting {
        Waiting {
            rate: u64::from(settings.body_rate),
            silence: settings.read_timeout,
            came: 0,
            all: Duration::ZERO,
            since_last: Duration::ZERO,
        }
    }

    /// So much time has passed, and so much has come in all.
    fn is_too_long(&mut self, passed: Duration, came: u64) -> bool {
        self.all += passed;
        self.since_last = if came > self.came { Duration::ZERO } else { self.since_last + passed };
        self.came = came;
        let allowed = came.checked_div(self.rate).map(|worth| GRACE + self.silence + Duration::from_secs(worth));
        self.since_last > self.silence || allowed.is_some_and(|allowed| self.all > allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings(rate: u32, silence: u64) -> ListenSettings {
        ListenSettings { body_rate: rate, read_timeout: Duration::from_secs(silence), ..ListenSettings::default() }
    }

    /// After how many seconds it is too long, when so many bytes come each second.
    fn too_long(settings: &ListenSettings, each: u64) -> Option<u64> {
        let mut waiting = Waiting::new(settings);
        (1..1000).find(|second| waiting.is_too_long(SECOND, second * each))
    }

    #[test]
    fn a_body_comes_fast_enough_or_ends() {
        assert_eq!(too_long(&settings(100, 60), 100), None);
        assert_eq!(too_long(&settings(100, 60), 1), Some(71), "its grace, and what nobody can tell from a slow server");
        assert_eq!(too_long(&settings(100, 60), 50), Some(141));
        assert_eq!(too_long(&settings(0, 60), 1), None, "no rate");
        assert_eq!(too_long(&settings(0, 60), 0), Some(61), "silence");
    }

    #[test]
    fn more_than_may_come_is_refused() {
        let upload = Upload::new(&ListenSettings { body_bytes: 10, ..ListenSettings::default() });
        assert!(upload.comes(6, false).is_ok() && upload.comes(4, false).is_ok());
        assert!(upload.comes(1, false).is_err());
    }
}
