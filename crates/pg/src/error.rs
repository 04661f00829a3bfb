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

/// Whether a unique constraint of that name was hit, of the table or of one of its parts by month.
pub fn is_unique(error: &Error, constraint: &str) -> bool {
    matches!(error, Error::Db(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info))
        if info.constraint_name().is_some_and(|hit| hit == constraint || without_month(hit).as_deref() == Some(constraint)))
}

/// The name that a constraint of a part has for the whole table: `events_2026_11_pkey` is `events_pkey` there.
fn without_month(name: &str) -> Option<String> {
    const MONTH: &str = "_0000_00_";
    let is_month = |at: usize| {
        let part = name.as_bytes().get(at..at + MONTH.len())?;
        let same = |(is, like): (&u8, u8)| if like == b'0' { is.is_ascii_digit() } else { *is == like };
        part.iter().zip(MONTH.bytes()).all(same).then_some(at)
    };
    let at = (0..name.len()).find_map(is_month)?;
    Some(format!("{}{}", &name[..at], &name[at + MONTH.len() - 1..]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constraint_of_a_part_is_that_of_its_table() {
        assert_eq!(without_month("events_2026_11_pkey").as_deref(), Some("events_pkey"));
        assert_eq!(without_month("order_events_2026_11_number_key").as_deref(), Some("order_events_number_key"));
        for whole in ["events_pkey", "events_2026_pkey", "events_2026_11", ""] {
            assert_eq!(without_month(whole), None, "{whole}");
        }
    }
}
