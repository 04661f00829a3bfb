use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use fault::Fault;

/// Why a passage failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or broke.
    #[error("database: {0}")]
    Db(#[from] DieselError),
    /// The body of the passage decided so; the transaction was rolled back.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// No connection in time.
    #[error("no database connection in time")]
    Busy,
    /// The passage's task died.
    #[error("a database passage was aborted")]
    Aborted,
}

impl Error {
    /// Whether the database asks for the same transaction again.
    pub(crate) fn transient(&self) -> bool {
        match self {
            Self::Db(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Self::Db(DieselError::DatabaseError(_, info)) => info.message().starts_with("deadlock detected"),
            Self::Db(_) | Self::Fault(_) | Self::Busy | Self::Aborted => false,
        }
    }

    /// Word for the outcome label of the metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Db(_) => "error",
            Self::Fault(_) => "refused",
            Self::Busy => "busy",
            Self::Aborted => "aborted",
        }
    }
}

/// Whether a unique constraint of that name was hit.
pub fn is_unique(error: &Error, constraint: &str) -> bool {
    matches!(error, Error::Db(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info))
        if info.constraint_name() == Some(constraint))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        const SOON: Duration = Duration::from_millis(500);
        match error {
            Error::Fault(fault) => fault,
            Error::Busy => Self::unavailable("DATABASE_BUSY", "too much at once, try again soon").retry_after(SOON),
            Error::Aborted => Self::internal(error),
            Error::Db(DieselError::DatabaseError(kind, info)) => {
                let message = info.message();
                if message.contains("due to lock timeout") {
                    return Self::aborted("IN_FLIGHT", "the same thing is being changed right now").retry_after(SOON);
                }
                if message.contains("0x00") || message.contains("\\u0000") {
                    return Self::invalid("request", "NUL_CHARACTER", "texts must not contain NUL characters");
                }
                if message.contains("due to statement timeout") {
                    return Self::unavailable("DATABASE_SLOW", "the database took too long").retry_after(SOON);
                }
                if matches!(kind, DatabaseErrorKind::ClosedConnection) || message.contains("shutting down") {
                    return Self::unavailable("DATABASE_GONE", "the database is restarting").retry_after(SOON);
                }
                if matches!(kind, DatabaseErrorKind::SerializationFailure) || message.starts_with("deadlock") {
                    return Self::aborted("CONTENTION", "too many changes of the same thing").retry_after(SOON);
                }
                Self::internal(Error::Db(DieselError::DatabaseError(kind, info)))
            }
            Error::Db(DieselError::BrokenTransactionManager) => {
                Self::unavailable("DATABASE_GONE", "the database connection broke").retry_after(SOON)
            }
            Error::Db(other) => Self::internal(Error::Db(other)),
        }
    }
}
