use ctx::Ctx;
use diesel::sql_types::{Array, Binary, Integer, Jsonb, Nullable, Record, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use ids::TenantId;
use jiff::Timestamp;
use pg::Conn;
use uuid::Uuid;

use crate::meta::{Meta, meta};

diesel::define_sql_function! {
    /// Appends to a stream; NULL when it is not at the expected version.
    fn event_append(tenant: SqlUuid, stream: SqlUuid, expected: Integer, types: Array<Text>, topics: Array<Text>,
        payloads: Array<Binary>, meta: Jsonb) -> Nullable<Integer>;
}
diesel::define_sql_function! {
    /// Snapshot and events of a stream, of one moment.
    fn stream_read(tenant: SqlUuid, stream: SqlUuid, after: Integer, schema_rev: Nullable<Integer>)
        -> Record<(Nullable<Integer>, Nullable<Binary>, Array<RecordedRow>)>;
}

/// The composite type `recorded`.
type RecordedRow = Record<(SqlUuid, Text, Integer, Timestamptz, Jsonb, Binary)>;

/// An event that is about to be written.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Full name of its message.
    pub type_name: &'static str,
    /// Topic it is published to.
    pub topic: &'static str,
    /// Its message, encoded.
    pub payload: Vec<u8>,
}

impl NewEvent {
    /// An event of a registered type.
    pub fn new(type_name: &'static str, topic: &'static str, payload: Vec<u8>) -> Self {
        Self { type_name, topic, payload }
    }
}

/// An event as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Unique id of the event.
    pub event_id: Uuid,
    /// Full name of its message.
    pub type_name: String,
    /// Position in the stream, from 1.
    pub version: i32,
    /// When it was written, by the database's clock.
    pub occurred_at: Timestamp,
    /// Who and why.
    pub meta: Meta,
    /// Its message, encoded.
    pub payload: Vec<u8>,
}

/// Appends events to a stream in the caller's transaction and returns the new version.
///
/// # Errors
/// Aborted `VERSION_CONFLICT` when the stream is not at `expected`: read again and decide again.
pub async fn append(
    conn: &mut Conn,
    ctx: &Ctx,
    stream: Uuid,
    expected: i32,
    events: &[NewEvent],
) -> Result<i32, pg::Error> {
    let types: Vec<&str> = events.iter().map(|event| event.type_name).collect();
    let topics: Vec<&str> = events.iter().map(|event| event.topic).collect();
    let payloads: Vec<&[u8]> = events.iter().map(|event| event.payload.as_slice()).collect();
    let query = event_append(ctx.tenant.uuid(), stream, expected, types, topics, payloads, meta(ctx));
    let version = diesel::select(query).get_result::<Option<i32>>(conn).await.map_err(pg::Error::from);
    match version {
        Ok(Some(version)) => Ok(version),
        Ok(None) => Err(conflict().into()),
        Err(error) if pg::is_unique(&error, "events_pkey") => Err(conflict().into()),
        Err(error) => Err(error),
    }
}

fn conflict() -> Fault {
    Fault::aborted("VERSION_CONFLICT", "somebody else changed it at the same moment")
}

/// Reads a whole stream, oldest event first.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn load(conn: &mut Conn, tenant: TenantId, stream: Uuid) -> Result<Vec<Recorded>, pg::Error> {
    load_after(conn, tenant, stream, 0).await
}

/// Reads the events of a stream behind a version.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn load_after(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    version: i32,
) -> Result<Vec<Recorded>, pg::Error> {
    Ok(read(conn, tenant, stream, version, None).await?.1)
}

/// One round trip: the snapshot of a revision behind a version, and the events behind it or else behind the version.
pub(crate) async fn read(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    after: i32,
    schema_rev: Option<i32>,
) -> Result<(Option<(i32, Vec<u8>)>, Vec<Recorded>), pg::Error> {
    let query = stream_read(tenant.uuid(), stream, after, schema_rev);
    let (version, state, events): (Option<i32>, Option<Vec<u8>>, Vec<Row>) =
        diesel::select(query).get_result(conn).await?;
    Ok((version.zip(state), events.into_iter().map(Recorded::of).collect()))
}

type Row = (Uuid, String, i32, jiff_diesel::Timestamp, serde_json::Value, Vec<u8>);

impl Recorded {
    fn of((event_id, type_name, version, occurred_at, meta, payload): Row) -> Self {
        Self {
            event_id,
            type_name,
            version,
            occurred_at: occurred_at.to_jiff(),
            // Written by this crate; what an old version left out has defaults.
            meta: serde_json::from_value(meta).unwrap_or_default(),
            payload,
        }
    }
}
