//! A private PostgreSQL: found, created, started and stopped by the process that needs it.
//!
//! [`Cluster::start`] runs `postgres` on a UNIX socket only, as an unprivileged user when we are root. It ends with our
//! process whatever happens to that: a guardian holds a pipe to us and stops the server when the pipe closes.

mod binaries;
mod databases;
mod error;
mod guardian;
mod home;
mod postmaster;
mod privileges;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;

pub use binaries::{Binaries, find_binaries};
pub use error::Error;
use guardian::Guardian;
use home::Home;
pub use postmaster::ADMIN;

/// Where the cluster lives and how careful it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the cluster; none is a temporary one that is removed at the end.
    pub root: Option<PathBuf>,
    /// Whether a commit reaches the disk; false only where losing everything is fine.
    pub fsync: bool,
}

/// A running private PostgreSQL; dropping it stops it.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    server: Option<Child>,
    guardian: Option<Guardian>,
    // Held, not read: whoever has it owns the directory.
    _lock: File,
}

impl Cluster {
    /// Directory with the data, the socket and `postgres.log`.
    pub fn root(&self) -> &Path {
        &self.home.root
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.home.log()
    }
}
