use fault::Fault;
use ids::TenantId;
use pg::Conn;
use uuid::Uuid;

use crate::snapshot::{self, Snapshot};
use crate::store::{Recorded, load};
use crate::upcast::{Upcast, upcast};

/// How the events of a kind of stream become a state.
#[derive(Debug)]
pub struct Fold<S> {
    /// Raised when the state's encoding or the effect of an event changes: older snapshots are then not used.
    pub schema_rev: i32,
    /// How events of old types are read.
    pub upcasts: &'static [Upcast],
    /// Reads a snapshot's state; None when it cannot, and then all events are folded.
    pub open: fn(&[u8]) -> Option<S>,
    /// What an event does to a state.
    pub apply: fn(&mut S, &Recorded) -> Result<(), Fault>,
}

/// What a stream adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay<S> {
    /// The state; the default for a stream without events.
    pub state: S,
    /// Version of the stream, 0 without events.
    pub version: i32,
    /// Version of the snapshot it began with; None when it began with nothing.
    pub snapshot: Option<i32>,
    /// Events that were read and folded.
    pub events: usize,
}

/// Adds up a stream from its snapshot and the events behind it: less than [`snapshot::EVERY`] of them where every
/// append keeps a snapshot when one is [due](snapshot::due) (ORD-38).
///
/// # Errors
/// Internal for an event that cannot be read or a gap between versions; what `apply` says; [`pg::Error::Db`].
pub async fn replay<S: Default>(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    fold: &Fold<S>,
) -> Result<Replay<S>, pg::Error> {
    let (found, events) = snapshot::load(conn, tenant, stream, fold.schema_rev).await?;
    let Some(Snapshot { version, state }) = found else { return Ok(fold.run(None, events)?) };
    match (fold.open)(&state) {
        Some(state) => Ok(fold.run(Some((version, state)), events)?),
        None => {
            tracing::warn!(%stream, version, "a snapshot cannot be read; folding all events");
            replay_from_first(conn, tenant, stream, fold).await
        }
    }
}

/// Adds up a stream from its first event, whatever snapshots there are: what an audit wants (ORD-37).
///
/// # Errors
/// As [`replay`].
pub async fn replay_from_first<S: Default>(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    fold: &Fold<S>,
) -> Result<Replay<S>, pg::Error> {
    Ok(fold.run(None, load(conn, tenant, stream).await?)?)
}

impl<S: Default> Fold<S> {
    fn run(&self, start: Option<(i32, S)>, events: Vec<Recorded>) -> Result<Replay<S>, Fault> {
        let (snapshot, mut state) = start.map_or_else(Default::default, |(version, state)| (Some(version), state));
        let (mut version, count) = (snapshot.unwrap_or(0), events.len());
        for event in events {
            if event.version != version + 1 {
                return Err(Fault::internal(format!("event {} of a stream follows event {version}", event.version)));
            }
            version = event.version;
            let unreadable = || Fault::internal(format!("event {version} of a stream cannot be read as its type"));
            let event = upcast(self.upcasts, event).ok_or_else(unreadable)?;
            (self.apply)(&mut state, &event)?;
        }
        Ok(Replay { state, version, snapshot, events: count })
    }
}
