//! A dead-man's switch on the agent itself, for services that it does not start itself: when the kernel kills the agent,
//! systemd stops the units that are bound to it.

use super::deadman::Switch;
use crate::guard::order::Reach;
use std::io;
use std::sync::mpsc;
use std::thread;

/// The agent's own switch. A kernel timer cannot leave the thread that made it, so it has one.
#[derive(Debug)]
pub(crate) struct OwnSwitch {
    moves: mpsc::Sender<Option<Reach>>,
}

impl OwnSwitch {
    /// A switch that is not armed.
    pub(crate) fn new() -> io::Result<OwnSwitch> {
        let (moves, orders) = mpsc::channel();
        let (made, result) = mpsc::channel();
        thread::Builder::new().name("deadman".to_owned()).spawn(move || {
            let switch = Switch::new();
            let _ = made.send(switch.as_ref().map(|_| ()).map_err(|error| io::Error::from(*error)));
            if let Ok(switch) = switch {
                follow(switch, &orders);
            }
        })?;
        result.recv().map_err(io::Error::other)??;
        Ok(OwnSwitch { moves })
    }

    /// Moves it, or disarms it.
    pub(crate) fn set(&self, reach: Option<Reach>) {
        let _ = self.moves.send(reach);
    }
}

fn follow(mut switch: Switch, orders: &mpsc::Receiver<Option<Reach>>) {
    let mut set = None;
    while let Ok(reach) = orders.recv() {
        if reach == set {
            continue;
        }
        set = reach;
        let moved = match reach {
            Some(reach) => switch.arm(reach),
            None => switch.disarm(),
        };
        if let Err(error) = moved {
            tracing::error!(%error, "the agent's dead-man's switch cannot be moved");
        }
    }
}
