use ctx::Ctx;
use diesel::sql_types::{Array, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use pg::Conn;
use serde_json::Value;
use uuid::Uuid;

use crate::Definition;

diesel::define_sql_function! {
    /// Starts a saga in the transaction of what it is about.
    fn saga_start(tenant: SqlUuid, saga: SqlUuid, kind: Text, rev: Integer, state: Jsonb, cause: Jsonb) -> Bool;
}
diesel::define_sql_function! {
    /// Makes sagas look again; how many of them heard it.
    fn saga_wake(tenant: SqlUuid, sagas: Array<SqlUuid>, until: Nullable<Integer>, undo_reason: Nullable<Text>) -> Integer;
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
    Ok(wake_all(conn, tenant, vec![saga_id], step).await? > 0)
}

/// [`wake`] for many sagas that wait at the same step; how many of them heard it.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn wake_all(conn: &mut Conn, tenant: TenantId, sagas: Vec<Uuid>, step: i16) -> Result<i32, pg::Error> {
    let query = saga_wake(tenant.uuid(), sagas, Some(i32::from(step)), None::<String>);
    Ok(diesel::select(query).get_result(conn).await?)
}

/// Asks a saga to undo what it did. False when it has ended.
///
/// # Errors
/// [`pg::Error::Db`].
pub async fn request_undo(conn: &mut Conn, tenant: TenantId, saga_id: Uuid, reason: &str) -> Result<bool, pg::Error> {
    let query = saga_wake(tenant.uuid(), vec![saga_id], None::<i32>, Some(reason));
    Ok(diesel::select(query).get_result::<i32>(conn).await? > 0)
}
