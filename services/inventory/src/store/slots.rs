use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use jiff::Timestamp;
use pg::Conn;
use serde::Deserialize;

use super::{Doc, accepted, decode_all};

/// A span of time in which a resource may be booked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Slot {
    /// Unique for the product.
    pub slot_id: String,
    /// The product.
    pub sku: String,
    /// Where it takes place.
    pub warehouse: String,
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// How many may book it.
    pub capacity: i32,
    /// Places still free.
    pub available: i32,
}

/// Opens a slot with its capacity as stock.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition PRODUCT_IS_GOODS, SLOT_IN_THE_PAST, SLOT_OVERLAPS.
pub async fn open_slot(conn: &mut Conn, tenant: TenantId, slot: &Slot) -> Result<(), pg::Error> {
    let query = sql_query("SELECT open_slot($1, $2, $3, $4, $5, $6, $7) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(&slot.sku)
        .bind::<Text, _>(&slot.slot_id)
        .bind::<Text, _>(&slot.warehouse)
        .bind::<Timestamptz, _>(jiff_diesel::Timestamp::from(slot.starts_at))
        .bind::<Timestamptz, _>(jiff_diesel::Timestamp::from(slot.ends_at))
        .bind::<Integer, _>(slot.capacity);
    accepted(query.get_result::<Doc>(conn).await?.doc)?;
    Ok(())
}

/// Up to `limit` slots of a product that have not begun, behind one that was seen, by start.
///
/// # Errors
/// Of the database.
pub async fn slot_page(
    conn: &mut Conn,
    tenant: TenantId,
    sku: &str,
    after: Option<&(Timestamp, String)>,
    free: bool,
    limit: i64,
) -> Result<Vec<Slot>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(l) || jsonb_build_object('capacity', s.on_hand, 'available', s.on_hand - s.reserved) AS doc \
         FROM slots l JOIN stock s ON s.tenant_id = l.tenant_id AND s.sku = l.sku || '@' || l.slot_id \
           AND s.warehouse = l.warehouse \
         WHERE l.tenant_id = $1 AND l.sku = $2 AND l.starts_at > now() \
           AND ($3 IS NULL OR (l.starts_at, l.slot_id) > ($3, $4)) AND (NOT $5 OR s.on_hand > s.reserved) \
         ORDER BY l.starts_at, l.slot_id LIMIT $6",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(sku)
    .bind::<Nullable<Timestamptz>, _>(after.map(|(start, _)| jiff_diesel::Timestamp::from(*start)))
    .bind::<Text, _>(after.map_or("", |(_, slot)| slot))
    .bind::<Bool, _>(free)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    decode_all(rows)
}
