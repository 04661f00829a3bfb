use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ctx::Ctx;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use ids::{FulfillmentId, OrderId, TenantId};
use jiff::Timestamp;
use pg::Conn;
use serde_json::{Value, json};

use super::reservations::reservation;
use super::{Doc, decode};
use crate::reservation::{Reservation, State};
use crate::stock::Take;

/// Units of a warehouse that a fulfillment works on from now on.
#[derive(Debug)]
pub struct Bound {
    /// What the locked reservation becomes.
    pub next: Reservation,
    /// The warehouse.
    pub warehouse: String,
    /// The fulfillment.
    pub fulfillment: FulfillmentId,
    /// The event that says so.
    pub event: NewEvent,
    /// Who and why.
    pub meta: Value,
}

/// Binds units to fulfillments; of one reservation in the order of its versions.
///
/// # Errors
/// Of the database; a reservation that was not under lock runs the transaction again.
pub async fn allocate(conn: &mut Conn, tenant: TenantId, bound: &[Bound]) -> Result<(), pg::Error> {
    let [Bound { event: NewEvent { type_name, topic, .. }, .. }, ..] = bound else { return Ok(()) };
    let item = |it: &Bound| {
        json!({
            "order_id": it.next.order.uuid(),
            "reservation": it.next.id.uuid(),
            "version": it.next.version,
            "state": it.next.state.code(),
            "warehouse": it.warehouse,
            "fulfillment": it.fulfillment.uuid(),
            "payload": BASE64.encode(&it.event.payload),
            "meta": it.meta,
        })
    };
    sql_query("SELECT reservations_allocate($1, $2, $3, $4)")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Jsonb, _>(Value::Array(bound.iter().map(item).collect()))
        .bind::<Text, _>(*type_name)
        .bind::<Text, _>(*topic)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes units of a locked reservation from a fulfillment that was called off; it becomes `state`.
///
/// # Errors
/// Of the database.
pub async fn call_off(
    conn: &mut Conn,
    tenant: TenantId,
    order: OrderId,
    gone: FulfillmentId,
    state: State,
) -> Result<(), pg::Error> {
    sql_query("SELECT reservation_call_off($1, $2, $3, $4)")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<SqlUuid, _>(order.uuid())
        .bind::<SqlUuid, _>(gone.uuid())
        .bind::<SmallInt, _>(state.code())
        .execute(conn)
        .await?;
    Ok(())
}

/// Lets a locked hold end later.
///
/// # Errors
/// Of the database.
pub async fn extend(
    conn: &mut Conn,
    ctx: &Ctx,
    found: &Reservation,
    until: Timestamp,
    event: NewEvent,
) -> Result<(), pg::Error> {
    sql_query("SELECT reservation_extend($1, $2, $3)")
        .bind::<SqlUuid, _>(ctx.tenant.uuid())
        .bind::<SqlUuid, _>(found.order.uuid())
        .bind::<Timestamptz, _>(jiff_diesel::Timestamp::from(until))
        .execute(conn)
        .await?;
    eventlog::append(conn, ctx, found.id.uuid(), found.version, &[event]).await?;
    Ok(())
}

/// The last wish about an order whose reservation is locked.
///
/// # Errors
/// Of the database.
pub async fn revision(conn: &mut Conn, tenant: TenantId, order: OrderId) -> Result<i32, pg::Error> {
    let row = sql_query("SELECT to_jsonb(revision) AS doc FROM reservations WHERE tenant_id = $1 AND order_id = $2")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<SqlUuid, _>(order.uuid())
        .get_result::<Doc>(conn)
        .await?;
    decode(row.doc)
}

/// Sets other units of a locked reservation aside and writes the event.
///
/// # Errors
/// Of the database.
pub async fn resize(
    conn: &mut Conn,
    ctx: &Ctx,
    found: &Reservation,
    revision: i32,
    takes: &[Take],
    event: NewEvent,
) -> Result<(), pg::Error> {
    let line = |take: &Take| json!({"sku": take.sku, "warehouse": take.warehouse, "quantity": take.quantity});
    sql_query("SELECT reservation_resize($1, $2, $3, $4)")
        .bind::<SqlUuid, _>(ctx.tenant.uuid())
        .bind::<SqlUuid, _>(found.order.uuid())
        .bind::<Integer, _>(revision)
        .bind::<Jsonb, _>(takes.iter().map(line).collect::<Value>())
        .execute(conn)
        .await?;
    eventlog::append(conn, ctx, found.id.uuid(), found.version, &[event]).await?;
    Ok(())
}

/// Up to `limit` reservations behind an order, by order; when asked of one state or with one product only.
///
/// # Errors
/// Of the database.
pub async fn reservation_page(
    conn: &mut Conn,
    tenant: TenantId,
    after: Option<OrderId>,
    (state, sku): (Option<State>, &str),
    limit: i64,
) -> Result<Vec<Reservation>, pg::Error> {
    let rows = sql_query(
        "SELECT reservations_json(r.tenant_id, ARRAY[r.order_id])->0 AS doc FROM reservations r \
         WHERE r.tenant_id = $1 AND ($2 IS NULL OR r.order_id > $2) AND ($3 IS NULL OR r.state = $3) \
         AND ($4 = '' OR EXISTS (SELECT FROM allocations a WHERE a.tenant_id = r.tenant_id \
              AND a.order_id = r.order_id AND split_part(a.sku, '@', 1) = $4)) \
         ORDER BY r.order_id LIMIT $5",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Nullable<SqlUuid>, _>(after.map(|order| order.uuid()))
    .bind::<Nullable<SmallInt>, _>(state.map(State::code))
    .bind::<Text, _>(sku)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    rows.into_iter().map(|row| reservation(row.doc)).collect()
}
