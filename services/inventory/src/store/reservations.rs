use ctx::Ctx;
use diesel::sql_types::{BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use fault::Fault;
use ids::{FulfillmentId, OrderId, ReservationId, ShipmentId, TenantId};
use jiff::Timestamp;
use pg::{Conn, Json, Pg};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Doc, decode};
use crate::reservation::{Allocation, Reservation, State};
use crate::stock::{Demand, Level, Take};

mod sql {
    use diesel::sql_types::{Array, Binary, Integer, Jsonb, SmallInt, Text, Uuid};

    diesel::define_sql_function! {
        /// The reservation of an order; NULL: none.
        fn reservation_lookup(tenant: Uuid, order: Uuid) -> Nullable<Jsonb>;
    }
    diesel::define_sql_function! {
        /// Locks reservations and stock and tells what they are.
        fn reserve_lock(tenant: Uuid, orders: Array<Uuid>, skus: Array<Text>) -> Jsonb;
    }
    diesel::define_sql_function! {
        /// Holds what was planned; tells when each hold ends.
        fn reserve_apply(tenant: Uuid, orders: Array<Uuid>, reservations: Array<Uuid>, rounds: Array<Integer>, hold_s: Array<Integer>,
            plan: Jsonb, type_name: Text, topic: Text, payloads: Array<Binary>, metas: Array<Jsonb>) -> Jsonb;
    }
    diesel::define_sql_function! {
        /// Keeps holds for good.
        fn reservation_confirm(tenant: Uuid, orders: Array<Uuid>, streams: Array<Uuid>, versions: Array<Integer>,
            type_name: Text, topic: Text, payloads: Array<Binary>, metas: Array<Jsonb>) -> Integer;
    }
    diesel::define_sql_function! {
        /// Gives back what did not leave; false: the state was another.
        fn reservation_end(tenant: Uuid, order: Uuid, from: SmallInt, to: SmallInt, reason: Text) -> Bool;
    }
    diesel::define_sql_function! {
        /// Leaves the mark that refuses a late reservation.
        fn reservation_mark(tenant: Uuid, order: Uuid, reservation: Uuid, round: Integer) -> Jsonb;
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    id: Uuid,
    order_id: Uuid,
    state: i16,
    version: i32,
    round: i32,
    expires_at: Timestamp,
    called_off: Option<Vec<Uuid>>,
    allocations: Vec<AllocationRow>,
}

#[derive(Debug, Deserialize)]
struct AllocationRow {
    sku: String,
    warehouse: String,
    quantity: i32,
    consumed: i32,
    fulfillment: Option<Uuid>,
}

impl TryFrom<Row> for Reservation {
    type Error = pg::Error;

    fn try_from(row: Row) -> Result<Self, pg::Error> {
        let state = State::of(row.state);
        let allocations = row.allocations.into_iter().map(|row| {
            let AllocationRow { sku, warehouse, quantity, consumed, fulfillment } = row;
            Allocation { sku, warehouse, quantity, consumed, fulfillment: fulfillment.map(FulfillmentId::from_uuid) }
        });
        Ok(Self {
            id: ReservationId::from_uuid(row.id),
            order: OrderId::from_uuid(row.order_id),
            state: state.ok_or_else(|| Fault::internal(format!("reservation state {}", row.state)))?,
            version: row.version,
            round: row.round,
            expires_at: row.expires_at,
            allocations: allocations.collect(),
            called_off: row.called_off.into_iter().flatten().map(FulfillmentId::from_uuid).collect(),
        })
    }
}

pub(super) fn reservation(doc: Value) -> Result<Reservation, pg::Error> {
    decode::<Row>(doc)?.try_into()
}

/// What was found under lock.
#[derive(Debug)]
pub struct Locked {
    /// Reservations of those orders that have one.
    pub reservations: Vec<Reservation>,
    /// Free stock, in the order in which warehouses are used.
    pub levels: Vec<Level>,
}

/// The reservation of an order in one round trip.
///
/// # Errors
/// Of the database.
pub async fn lookup(pg: &Pg, tenant: TenantId, order: OrderId) -> Result<Option<Reservation>, pg::Error> {
    let query = diesel::select(sql::reservation_lookup(tenant.uuid(), order.uuid()));
    let doc = pg.ask::<Option<Value>, _>("inventory.get_reservation", query).await?;
    doc.map(reservation).transpose()
}

/// Locks the reservations of some orders and the stock of some SKUs until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn lock(conn: &mut Conn, tenant: TenantId, orders: &[OrderId], skus: &[String]) -> Result<Locked, pg::Error> {
    #[derive(Debug, Deserialize)]
    struct LockedRow {
        reservations: Vec<Row>,
        levels: Vec<LevelRow>,
    }
    #[derive(Debug, Deserialize)]
    struct LevelRow {
        sku: String,
        warehouse: String,
        free: i32,
    }
    let orders: Vec<Uuid> = orders.iter().map(|order| order.uuid()).collect();
    let query = diesel::select(sql::reserve_lock(tenant.uuid(), orders, skus));
    let Json(doc): Json<LockedRow> = query.get_result(conn).await?;
    let level = |LevelRow { sku, warehouse, free }| Level { sku, warehouse, free };
    Ok(Locked {
        reservations: doc.reservations.into_iter().map(Reservation::try_from).collect::<Result<_, _>>()?,
        levels: doc.levels.into_iter().map(level).collect(),
    })
}

/// A hold that is about to be written, with its event.
#[derive(Debug)]
pub struct Hold {
    /// The order.
    pub order: OrderId,
    /// Its new reservation.
    pub reservation: ReservationId,
    /// Which round of paying the order it belongs to.
    pub round: i32,
    /// How long, seconds.
    pub hold_s: i32,
    /// What is set aside where.
    pub takes: Vec<Take>,
    /// The event that says so.
    pub event: NewEvent,
    /// Who and why.
    pub meta: Value,
}

/// Writes holds that were planned under the lock; returns when each ends, in order.
///
/// # Errors
/// Of the database; a race with another process runs the transaction again.
pub async fn apply_holds(conn: &mut Conn, tenant: TenantId, holds: &[Hold]) -> Result<Vec<Timestamp>, pg::Error> {
    let Some(Hold { event: NewEvent { type_name, topic, .. }, .. }) = holds.first() else { return Ok(Vec::new()) };
    let line = |hold: &Hold, take: &Take| {
        let Take { sku, warehouse, quantity } = take;
        json!({"order_id": hold.order.uuid(), "sku": sku, "warehouse": warehouse, "quantity": quantity})
    };
    let plan: Value = holds.iter().flat_map(|hold| hold.takes.iter().map(move |take| line(hold, take))).collect();
    let query = sql::reserve_apply(
        tenant.uuid(),
        holds.iter().map(|hold| hold.order.uuid()).collect::<Vec<_>>(),
        holds.iter().map(|hold| hold.reservation.uuid()).collect::<Vec<_>>(),
        holds.iter().map(|hold| hold.round).collect::<Vec<_>>(),
        holds.iter().map(|hold| hold.hold_s).collect::<Vec<_>>(),
        plan,
        *type_name,
        *topic,
        holds.iter().map(|hold| hold.event.payload.as_slice()).collect::<Vec<_>>(),
        holds.iter().map(|hold| hold.meta.clone()).collect::<Vec<_>>(),
    );
    let Json(ends) = diesel::select(query).get_result(conn).await?;
    Ok(ends)
}

/// Keeps holds that were found held under the lock, each with its event and meta.
///
/// # Errors
/// Of the database.
pub async fn apply_confirmations(
    conn: &mut Conn,
    tenant: TenantId,
    confirmed: &[(&Reservation, NewEvent, Value)],
) -> Result<(), pg::Error> {
    let Some((_, NewEvent { type_name, topic, .. }, _)) = confirmed.first() else { return Ok(()) };
    let query = sql::reservation_confirm(
        tenant.uuid(),
        confirmed.iter().map(|(it, ..)| it.order.uuid()).collect::<Vec<_>>(),
        confirmed.iter().map(|(it, ..)| it.id.uuid()).collect::<Vec<_>>(),
        confirmed.iter().map(|(it, ..)| it.version).collect::<Vec<_>>(),
        *type_name,
        *topic,
        confirmed.iter().map(|(_, event, _)| event.payload.as_slice()).collect::<Vec<_>>(),
        confirmed.iter().map(|(.., meta)| meta.clone()).collect::<Vec<_>>(),
    );
    diesel::select(query).get_result::<i32>(conn).await?;
    Ok(())
}

/// Ends a locked reservation: what did not leave is free again, and its event is written.
///
/// # Errors
/// Of the database; a reservation that was not under lock runs the transaction again.
pub async fn end(
    conn: &mut Conn,
    ctx: &Ctx,
    reservation: &Reservation,
    to: State,
    event: NewEvent,
) -> Result<(), pg::Error> {
    let reason = if to == State::Expired { "EXPIRE" } else { "RELEASE" };
    let (order, from) = (reservation.order.uuid(), reservation.state.code());
    let query = sql::reservation_end(ctx.tenant.uuid(), order, from, to.code(), reason);
    if !diesel::select(query).get_result::<bool>(conn).await? {
        return Err(Fault::internal("a locked reservation changed its state").into());
    }
    eventlog::append(conn, ctx, reservation.id.uuid(), reservation.version, &[event]).await?;
    Ok(())
}

/// Marks a round of paying an order as undone, so that a late attempt to reserve for it is refused.
///
/// # Errors
/// Of the database; an order that was reserved meanwhile runs the transaction again.
pub async fn mark(conn: &mut Conn, tenant: TenantId, order: OrderId, round: i32) -> Result<Reservation, pg::Error> {
    let query = sql::reservation_mark(tenant.uuid(), order.uuid(), ReservationId::new().uuid(), round);
    reservation(diesel::select(query).get_result::<Value>(conn).await?)
}

/// The order whose units left with a shipment, if any did.
///
/// # Errors
/// Of the database.
pub async fn shipment_order(
    conn: &mut Conn,
    tenant: TenantId,
    shipment: ShipmentId,
) -> Result<Option<OrderId>, pg::Error> {
    let row = sql_query("SELECT to_jsonb(order_id) AS doc FROM consumptions WHERE tenant_id = $1 AND shipment_id = $2")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<SqlUuid, _>(shipment.uuid())
        .get_result::<Doc>(conn)
        .await
        .optional()?;
    row.map(|row| decode(row.doc).map(OrderId::from_uuid)).transpose()
}

/// Takes units of a locked reservation out of a warehouse and writes the event.
///
/// # Errors
/// Of the database.
pub async fn consume(
    conn: &mut Conn,
    ctx: &Ctx,
    reservation: &Reservation,
    shipment: ShipmentId,
    (warehouse, lines): (&str, &[Demand]),
    event: NewEvent,
) -> Result<(), pg::Error> {
    let line = |Demand { sku, quantity }: &Demand| json!({"sku": sku, "quantity": quantity});
    sql_query("SELECT reservation_consume($1, $2, $3, $4, $5)")
        .bind::<SqlUuid, _>(ctx.tenant.uuid())
        .bind::<SqlUuid, _>(reservation.order.uuid())
        .bind::<SqlUuid, _>(shipment.uuid())
        .bind::<Text, _>(warehouse)
        .bind::<Jsonb, _>(lines.iter().map(line).collect::<Value>())
        .execute(conn)
        .await?;
    eventlog::append(conn, ctx, reservation.id.uuid(), reservation.version, &[event]).await?;
    Ok(())
}

/// A hold whose time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Due {
    #[diesel(sql_type = SqlUuid)]
    tenant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    order_id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    expires_at: jiff_diesel::Timestamp,
}

impl Due {
    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        TenantId::from_uuid(self.tenant_id)
    }

    /// The order.
    pub fn order(&self) -> OrderId {
        OrderId::from_uuid(self.order_id)
    }

    /// When it ran out.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at.to_jiff()
    }
}

/// Up to `limit` holds of all tenants whose time ran out, behind one that was seen, oldest first.
///
/// # Errors
/// Of the database.
pub async fn due(conn: &mut Conn, after: Option<Due>, limit: i64) -> Result<Vec<Due>, pg::Error> {
    let rows = sql_query(
        "SELECT tenant_id, order_id, expires_at FROM reservations WHERE state = 1 AND expires_at <= now() \
         AND ($1 IS NULL OR (expires_at, tenant_id, order_id) > ($1, $2, $3)) \
         ORDER BY expires_at, tenant_id, order_id LIMIT $4",
    )
    .bind::<Nullable<Timestamptz>, _>(after.map(|due| due.expires_at))
    .bind::<Nullable<SqlUuid>, _>(after.map(|due| due.tenant_id))
    .bind::<Nullable<SqlUuid>, _>(after.map(|due| due.order_id))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(rows)
}
