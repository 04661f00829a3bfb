use std::collections::hash_map::RandomState;
use std::fs::{DirBuilder, File, TryLockError};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::Tried;
use crate::postmaster;
use crate::privileges::Runner;

const TEMPORARY: &str = "ordermesh-pg-";
const LOCK: &str = "lock";
const KEPT: &str = "kept";
// sun_path holds 108 bytes with the final zero; the socket's own name takes 15.
const LONGEST_SOCKET_DIR: usize = 107 - "/.s.PGSQL.5432".len();

/// The directory of one cluster and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub root: PathBuf,
    pub temporary: bool,
}

impl Home {
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// PostgreSQL's own note of who serves the data; gone when the server is.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    pub(crate) fn kept(&self) -> PathBuf {
        self.root.join(KEPT)
    }

    /// Directory of the socket: inside when the path is short enough for the kernel, else below the temporary one.
    pub(crate) fn socket(&self) -> PathBuf {
        let inside = self.root.join("s");
        if inside.as_os_str().len() <= LONGEST_SOCKET_DIR {
            return inside;
        }
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        std::env::temp_dir().join(format!("ordermesh-s-{:016x}", hasher.finish()))
    }

    /// Whether a cluster was ever opened there.
    pub(crate) fn is_one(root: &Path) -> bool {
        root.join(LOCK).is_file()
    }

    /// Makes the directory ours, for as long as the returned lock lives.
    pub(crate) fn open(root: Option<&Path>, runner: &Runner) -> Result<(Self, File), Error> {
        let Some(root) = root else {
            sweep();
            return temporary(runner);
        };
        std::fs::create_dir_all(root).tried(|| format!("create {}", root.display()))?;
        let root = root.canonicalize().tried(|| format!("resolve {}", root.display()))?;
        let home = Self { root, temporary: false };
        let lock = home.lock()?.ok_or_else(|| Error::InUse(home.root.clone()))?;
        home.prepare(runner)?;
        Ok((home, lock))
    }

    fn lock(&self) -> Result<Option<File>, Error> {
        let path = self.root.join(LOCK);
        let file = File::create(&path).tried(|| format!("create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::Io { what: format!("lock {}", path.display()), source }),
        }
    }

    fn prepare(&self, runner: &Runner) -> Result<(), Error> {
        runner.can_enter_parents_of(&self.root)?;
        runner.own(&self.root)?;
        let socket = self.socket();
        private(&socket).tried(|| format!("create {}", socket.display()))?;
        runner.own(&socket)
    }

    pub(crate) fn remove(&self) {
        if self.temporary && !self.kept().exists() {
            let _gone_already = std::fs::remove_dir_all(&self.root);
        }
    }
}

fn private(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn temporary(runner: &Runner) -> Result<(Home, File), Error> {
    loop {
        let unique = RandomState::new().hash_one(std::process::id());
        let root = std::env::temp_dir().join(format!("{TEMPORARY}{unique:016x}"));
        private(&root).tried(|| format!("create {}", root.display()))?;
        let home = Home { root, temporary: true };
        // A sweeper of another process may have been faster with the lock: it takes the directory away.
        if let Some(lock) = home.lock()? {
            home.prepare(runner)?;
            return Ok((home, lock));
        }
    }
}

/// Removes what processes left behind that did not even leave a guardian.
fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        let home = Home { root: entry.path(), temporary: true };
        if !home.root.join(LOCK).exists() || home.kept().exists() {
            continue;
        }
        let Ok(Some(_lock)) = home.lock() else { continue };
        if postmaster::stop_orphan(&home).is_ok() {
            home.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Home, LONGEST_SOCKET_DIR};

    #[test]
    fn the_socket_path_fits_the_kernel_even_for_a_deep_directory() {
        let home = Home { root: format!("/{}", "deep/".repeat(60)).into(), temporary: false };
        assert!(home.socket().as_os_str().len() <= LONGEST_SOCKET_DIR);
    }
}
