//! Where Linux and Windows differ, and no other room has a half for each: both halves here say the same names.
//!
//! | name | on Linux | on Windows |
//! |---|---|---|
//! | `alarm` | a timer of the kernel's | the runtime's |
//! | `disk` | flock, rename and a directory's fsync | a file that nobody else may open, rename and the file's own flush |
//! | `family` | a process group | a job object |
//! | `process` | `/proc`, signals | – |
//! | `socket` | – | what is accepted is kept from being inherited |
//! | `notify` | systemd's notify socket | – (the service control manager is told by who hosts the agent) |
//!
//! Rooms with halves of their own: [`crate::guard`], [`crate::lan`], [`crate::service`] (the system's service manager).

#[cfg(not(windows))]
mod linux;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
use linux as system;
#[cfg(windows)]
use windows as system;

pub(crate) use system::{STATE, alarm, disk, family, notify, process, socket};
