use std::path::PathBuf;

/// Why there is no private PostgreSQL, each with its fix.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory holds both `initdb` and `postgres`.
    #[error(
        "PostgreSQL server binaries (initdb, postgres) were not found in PG_BIN, PATH or /usr/lib/postgresql/*/bin; \
         fix: apt-get install postgresql (15 or newer), or set PG_BIN to the directory that holds them"
    )]
    MissingBinaries,
    /// The server is older than the SQL we use.
    #[error("PostgreSQL {found} in {} is too old; fix: install PostgreSQL 15 or newer, or set PG_BIN", dir.display())]
    TooOld {
        /// What `postgres --version` said.
        found: String,
        /// Where it was found.
        dir: PathBuf,
    },
    /// Another live process holds the directory.
    #[error("{} is in use by another ordermesh process; fix: stop that one, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// We are root, and the unprivileged user cannot get to the directory.
    #[error(
        "PostgreSQL must not run as root and user {user} cannot enter {}; \
         fix: choose a --data-dir below /var/lib or /tmp, or chmod o+x {}", dir.display(), dir.display()
    )]
    Unreachable {
        /// The unprivileged user.
        user: String,
        /// The directory that stops it.
        dir: PathBuf,
    },
    /// We are root and there is nobody to run it as.
    #[error("PostgreSQL must not run as root and there is neither a user postgres nor nobody; fix: useradd postgres")]
    NoUser,
    /// `initdb` failed.
    #[error("initdb failed: {output}")]
    Init {
        /// Its last lines.
        output: String,
    },
    /// The server ended or never became ready.
    #[error("PostgreSQL did not start; its log {} ends with: {tail}", log.display())]
    NotStarted {
        /// Where to read more.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A database name that is not `[a-z_][a-z0-9_]{0,62}`.
    #[error("{0:?} is not a database name of letters, digits and underscores")]
    Name(String),
    /// The server refused a statement.
    #[error("{what}: {source}")]
    Sql {
        /// What was tried.
        what: String,
        /// What the server said.
        source: tokio_postgres::Error,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// Says what was tried when the operating system refuses.
pub(crate) trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Tried<T> for std::io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
