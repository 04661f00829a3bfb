//! What a stream's events add up to at a version, kept so that the events before it need not be read.

use diesel::sql_types::{Binary, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use pg::Conn;
use uuid::Uuid;

use crate::store::{Recorded, read};

/// Events from one snapshot to the next (ORD-38); the schema's `snapshot_due` has the same number.
pub const EVERY: i32 = 50;

diesel::define_sql_function! {
    /// Keeps a state; false when what is kept is as new.
    fn snapshot_save(tenant: SqlUuid, stream: SqlUuid, version: Integer, schema_rev: Integer, state: Binary) -> Bool;
}

/// A stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Version of the stream that it is of.
    pub version: i32,
    /// The state as its owner encoded it.
    pub state: Vec<u8>,
}

/// Whether a stream that grew to a version needs a snapshot, given the version of its last one.
///
/// The version before an append does as well as the last snapshot's: what counts is that a multiple of [`EVERY`] was
/// reached since. So an append of several events at once never skips one, and fewer than [`EVERY`] events follow.
pub fn due(version: i32, last_snapshot_version: i32) -> bool {
    version / EVERY > last_snapshot_version / EVERY
}

/// Keeps the state of a stream, one per stream; false when what is kept is as new.
///
/// Call it in the transaction that appends the events, so that no snapshot is ahead of its log.
///
/// # Errors
/// [`pg::Error::Db`], also for a tenant that is not the passage's.
pub async fn save(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    version: i32,
    schema_rev: i32,
    state: &[u8],
) -> Result<bool, pg::Error> {
    let query = snapshot_save(tenant.uuid(), stream, version, schema_rev, state);
    Ok(diesel::select(query).get_result(conn).await?)
}

/// Reads the usable snapshot of a stream and the events behind it, or all events when there is none.
///
/// Usable is a snapshot of this schema revision whose event is in the log.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn load(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    schema_rev: i32,
) -> Result<(Option<Snapshot>, Vec<Recorded>), pg::Error> {
    let (found, events) = read(conn, tenant, stream, 0, Some(schema_rev)).await?;
    Ok((found.map(|(version, state)| Snapshot { version, state }), events))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{EVERY, due};

    #[test]
    fn every_fiftieth_event_is_due_once() {
        let versions: Vec<i32> = (1..=200).filter(|version| due(*version, version - 1)).collect();
        assert_eq!(versions, [50, 100, 150, 200]);
        assert!(due(51, 49), "an append of several events passes the fiftieth");
        assert!(!due(50, 50));
    }

    proptest! {
        #[test]
        fn fewer_than_fifty_events_follow_a_snapshot(batches in prop::collection::vec(1..120_i32, 1..100)) {
            let (mut version, mut last) = (0, 0);
            for batch in batches {
                let before = version;
                version += batch;
                prop_assert_eq!(due(version, last), due(version, before));
                if due(version, before) {
                    last = version;
                }
                prop_assert!(version - last < EVERY);
            }
        }
    }
}
