//! `lockstep top`: how the pairs do, again each second.

mod render;
mod screen;

use crate::arguments::Reach;
use crate::exit::Failure;
use crate::verbs;
use lockstep_edge::admin::api::Status;
use render::{Before, fit, lines};
use screen::Screen;
use std::io::{ErrorKind, Write, stdout};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// From one frame to the next.
const TURN: Duration = Duration::from_secs(1);

/// `lockstep top`.
pub async fn top(reach: &Reach, once: bool) -> Result<(), Failure> {
    let client = verbs::client(reach)?;
    // The first frame too shows what happens now, and not what has happened since the edge was started.
    let mut before = Last { status: client.status().await?, at: Instant::now() };
    if once {
        sleep(TURN).await;
        let status = client.status().await?;
        return verbs::print(&plain(&lines(Some(before.since()), &status)));
    }
    let mut screen = Screen::enter().map_err(Failure::from_error)?;
    let ended = lockstep_edge::terminated();
    tokio::pin!(ended);
    let mut frame = lines(None, &before.status);
    loop {
        if !draw(&mut screen, &frame)? {
            return Ok(());
        }
        let next = Instant::now() + TURN;
        let looked = async {
            sleep_until(next).await;
            client.status().await
        };
        let looked = tokio::select! {
            looked = looked => looked,
            () = &mut ended => return Ok(()),
            () = screen.left() => return Ok(()),
        };
        match looked {
            Ok(status) => {
                frame = lines(Some(before.since()), &status);
                before = Last { status, at: Instant::now() };
            }
            Err(error) => frame = vec![format!("{error}; asking again each second")],
        }
    }
}

/// What was looked at last.
struct Last {
    status: Status,
    at: Instant,
}

impl Last {
    fn since(&self) -> Before<'_> {
        Before { status: &self.status, ago: self.at.elapsed() }
    }
}

/// Shows a frame; false: nobody reads any more.
fn draw(screen: &mut Screen, frame: &[String]) -> Result<bool, Failure> {
    let text = match screen.size() {
        Some(size) => screen::page(&fit(frame, size)),
        None => plain(frame) + "\n",
    };
    match stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::from_error(error)),
    }
}

fn plain(frame: &[String]) -> String {
    frame.iter().map(|line| line.clone() + "\n").collect()
}
