use ctx::Ctx;
use diesel::QueryableByName;
use diesel::sql_types::{Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use jiff::Timestamp;
use pg::Conn;
use serde_json::Value;
use uuid::Uuid;

use crate::Definition;

diesel::define_sql_function! {
    /// Starts a saga in the transaction of what it is about.
    fn saga_start(tenant: SqlUuid, saga: SqlUuid, kind: Text, rev: Integer, state: Jsonb, cause: Jsonb) -> Bool;
}
diesel::define_sql_function! {
    /// Makes a saga look again.
    fn saga_wake(tenant: SqlUuid, saga: SqlUuid, until: Nullable<Integer>, undo_reason: Nullable<Text>) -> Bool;
}

/// Starts a saga in the caller's transaction; false when it exists already.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn start(
    conn: &mut Conn,
    ctx: &Ctx,
    definition: &Definition,
    saga_id: Uuid,
    state: Value,
) -> Result<bool, pg::Error> {
    let cause = serde_json::to_value(&ctx.cause).expect("a struct of strings is JSON");
    let query = saga_start(ctx.tenant.uuid(), saga_id, definition.kind, i32::from(definition.rev), state, cause);
    Ok(diesel::select(query).get_result(conn).await?)
}

/// Makes a saga look again: now if it waits, at its next stop if it is busy. False when it has ended or has got beyond
/// the step that waits for this (its index): most news is of what the saga did itself and knows.
///
/// Call it before appending to the saga's aggregate in the same transaction: the engine locks in that order too.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn wake(conn: &mut Conn, tenant: TenantId, saga_id: Uuid, step: i16) -> Result<bool, pg::Error> {
    let query = saga_wake(tenant.uuid(), saga_id, Some(i32::from(step)), None::<String>);
    Ok(diesel::select(query).get_result(conn).await?)
}

/// Asks a saga to undo what it did. False when it has ended.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn request_undo(conn: &mut Conn, tenant: TenantId, saga_id: Uuid, reason: &str) -> Result<bool, pg::Error> {
    let query = saga_wake(tenant.uuid(), saga_id, None::<i32>, Some(reason));
    Ok(diesel::select(query).get_result(conn).await?)
}

/// A saga as operators see it.
#[derive(Debug, Clone)]
pub struct View {
    /// Definition it runs by.
    pub kind: String,
    /// running, waiting, completed, compensated or attention.
    pub status: String,
    /// do or undo.
    pub phase: String,
    /// Index of the step that is next.
    pub step: i16,
    /// Tries of that step so far.
    pub attempts: i32,
    /// What happened, oldest first.
    pub log: Vec<LogEntry>,
}

/// One step of a saga's history.
#[derive(QueryableByName, Debug, Clone)]
pub struct LogEntry {
    /// Position, from 1.
    #[diesel(sql_type = Integer)]
    pub seq: i32,
    /// Name of the step.
    #[diesel(sql_type = Text)]
    pub step: String,
    /// do or undo.
    #[diesel(sql_type = Text)]
    pub phase: String,
    /// DONE, WAIT, RETRY, REJECTED, ATTENTION or COMPENSATED.
    #[diesel(sql_type = Text)]
    pub outcome: String,
    /// Why.
    #[diesel(sql_type = Text)]
    pub detail: String,
    #[diesel(sql_type = Timestamptz)]
    occurred_at: jiff_diesel::Timestamp,
}

impl LogEntry {
    /// When, by the database's clock.
    pub fn occurred_at(&self) -> Timestamp {
        self.occurred_at.to_jiff()
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = SmallInt)]
    step: i16,
    #[diesel(sql_type = Integer)]
    attempts: i32,
}

/// Reads a saga with its history.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn view(conn: &mut Conn, tenant: TenantId, saga_id: Uuid) -> Result<Option<View>, pg::Error> {
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT kind, status, phase, step, attempts FROM sagas WHERE tenant_id = $1 AND saga_id = $2",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(saga_id)
    .load(conn)
    .await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let log = diesel::sql_query(
        "SELECT seq, step, phase, outcome, detail, occurred_at FROM saga_log \
         WHERE tenant_id = $1 AND saga_id = $2 ORDER BY seq",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<SqlUuid, _>(saga_id)
    .load(conn)
    .await?;
    let Row { kind, status, phase, step, attempts } = row;
    Ok(Some(View { kind, status, phase, step, attempts, log }))
}
