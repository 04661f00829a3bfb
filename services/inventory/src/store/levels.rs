use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use ids::TenantId;
use jiff::Timestamp;
use pg::{Conn, Json, Pg};
use serde::Deserialize;
use uuid::Uuid;

use super::{Doc, accepted, decode, decode_all};

mod sql {
    use diesel::sql_types::{Array, Text, Uuid};

    diesel::define_sql_function! {
        /// Stock of those products that exist among some SKUs.
        fn get_stock(tenant: Uuid, skus: Array<Text>) -> Jsonb;
    }
}

/// Stock of a product in one warehouse.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StockLevel {
    /// The warehouse.
    pub warehouse: String,
    /// Units that are there.
    pub on_hand: i32,
    /// Units promised to orders.
    pub reserved: i32,
    /// Units kept back from sale.
    pub safety: i32,
}

impl StockLevel {
    /// Units that may be sold now.
    pub fn available(&self) -> i32 {
        (self.on_hand - self.reserved).saturating_sub(self.safety).max(0)
    }
}

/// Stock of a product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stock {
    /// The product.
    pub sku: String,
    /// By warehouse, the first to be used first.
    pub levels: Vec<StockLevel>,
    /// Fewer units than this are low.
    pub threshold: i32,
    /// Free places of a resource in slots to come; none for goods.
    slots: Option<i32>,
}

impl Stock {
    /// Units that may be sold now; stops at the largest figure there is.
    pub fn available(&self) -> i32 {
        let all = || self.levels.iter().fold(0_i32, |sum, level| sum.saturating_add(level.available()));
        self.slots.unwrap_or_else(all)
    }
}

/// Stock after a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Adjusted {
    /// The ledger's line, and the stream of its event.
    pub movement_id: Uuid,
    /// The level after it.
    #[serde(flatten)]
    pub level: StockLevel,
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Movement {
    /// Unique id.
    pub movement_id: Uuid,
    /// Position among the product's lines.
    pub seq: i64,
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// Change of on_hand.
    pub d_on_hand: i32,
    /// Change of reserved.
    pub d_reserved: i32,
    /// Why, a word of the contract.
    pub reason: String,
    /// Order or note it came from.
    pub reference: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// Stock of those products that exist among some SKUs, by SKU, in one round trip (INV-01).
///
/// # Errors
/// Of the database.
pub async fn stocks(pg: &Pg, tenant: TenantId, skus: Vec<String>) -> Result<Vec<Stock>, pg::Error> {
    let query = diesel::select(sql::get_stock(tenant.uuid(), skus));
    let Json(found) = pg.ask("inventory.get_stock", query).await?;
    Ok(found)
}

/// Stock of a product inside a transaction.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND.
pub async fn stock(conn: &mut Conn, tenant: TenantId, sku: &str) -> Result<Stock, pg::Error> {
    let query = diesel::select(sql::get_stock(tenant.uuid(), vec![sku.to_owned()]));
    let Json(found): Json<Vec<Stock>> = query.get_result(conn).await?;
    Ok(found.into_iter().next().ok_or_else(|| crate::queries::no_product(sku))?)
}

/// Up to `limit` goods behind a SKU, by SKU; when asked only what is below the threshold.
///
/// # Errors
/// Of the database.
pub async fn stock_page(
    conn: &mut Conn,
    tenant: TenantId,
    after: &str,
    low: bool,
    limit: i64,
) -> Result<Vec<Stock>, pg::Error> {
    let rows = sql_query(
        "SELECT stock_json(p.tenant_id, p.sku, p.kind) AS doc FROM products p \
         WHERE p.tenant_id = $1 AND p.sku > $2 AND p.kind = 1 \
         AND (NOT $3 OR sellable(p.tenant_id, p.sku, p.kind) < low_threshold($1)) ORDER BY p.sku LIMIT $4",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(after)
    .bind::<Bool, _>(low)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    decode_all(rows)
}

/// A change of what is on hand of one product in one warehouse.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The product.
    pub sku: &'a str,
    /// The warehouse.
    pub warehouse: &'a str,
    /// Units, not 0.
    pub delta: i32,
    /// Why, a word of the ledger.
    pub reason: &'static str,
    /// Order, note or report it comes from.
    pub reference: &'a str,
}

/// Changes what is on hand of a product in a warehouse.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition STOCK_BELOW_RESERVED, STOCK_TOO_LARGE,
/// PRODUCT_IS_RESOURCE.
pub async fn adjust(conn: &mut Conn, tenant: TenantId, change: Change<'_>) -> Result<Adjusted, pg::Error> {
    let query = sql_query("SELECT adjust_stock($1, $2, $3, $4, $5, $6) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(change.sku)
        .bind::<Text, _>(change.warehouse)
        .bind::<Integer, _>(change.delta)
        .bind::<Text, _>(change.reason)
        .bind::<Text, _>(change.reference);
    decode(accepted(query.get_result::<Doc>(conn).await?.doc)?)
}

/// Keeps units of a warehouse back from sale.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition PRODUCT_IS_RESOURCE.
pub async fn set_safety(
    conn: &mut Conn,
    tenant: TenantId,
    (sku, warehouse): (&str, &str),
    safety: i32,
) -> Result<StockLevel, pg::Error> {
    let query = sql_query("SELECT set_safety($1, $2, $3, $4) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(sku)
        .bind::<Text, _>(warehouse)
        .bind::<Integer, _>(safety);
    decode(accepted(query.get_result::<Doc>(conn).await?.doc)?)
}

/// Moves units from one warehouse to another.
///
/// # Errors
/// As [`adjust`].
pub async fn transfer(
    conn: &mut Conn,
    tenant: TenantId,
    sku: &str,
    (from, to): (&str, &str),
    quantity: i32,
    reference: &str,
) -> Result<(), pg::Error> {
    let query = sql_query("SELECT transfer_stock($1, $2, $3, $4, $5, $6) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(sku)
        .bind::<Text, _>(from)
        .bind::<Text, _>(to)
        .bind::<Integer, _>(quantity)
        .bind::<Text, _>(reference);
    accepted(query.get_result::<Doc>(conn).await?.doc)?;
    Ok(())
}

/// Leaves a line for units that came and are not sold.
///
/// # Errors
/// As [`set_safety`].
pub async fn write_off(
    conn: &mut Conn,
    tenant: TenantId,
    (sku, warehouse): (&str, &str),
    reference: &str,
) -> Result<StockLevel, pg::Error> {
    let query = sql_query("SELECT write_off($1, $2, $3, $4) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(sku)
        .bind::<Text, _>(warehouse)
        .bind::<Text, _>(reference);
    decode(accepted(query.get_result::<Doc>(conn).await?.doc)?)
}

/// Sets the figures of a product to the sums of its ledger; returns how many warehouses were wrong.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND.
pub async fn rebuild(conn: &mut Conn, tenant: TenantId, sku: &str) -> Result<i32, pg::Error> {
    let query = sql_query("SELECT rebuild_stock($1, $2) AS doc").bind::<SqlUuid, _>(tenant.uuid()).bind::<Text, _>(sku);
    let mut doc = accepted(query.get_result::<Doc>(conn).await?.doc)?;
    decode(doc["corrected"].take())
}

/// Up to `limit` lines of a product's ledger behind a position, oldest first.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND.
pub async fn movement_page(
    conn: &mut Conn,
    tenant: TenantId,
    sku: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Movement>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(l) AS doc FROM stock_ledger l WHERE tenant_id = $1 AND sku = $2 AND seq > $3 \
         ORDER BY seq LIMIT $4",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(sku)
    .bind::<BigInt, _>(after)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    if rows.is_empty() && after == 0 {
        known(conn, tenant, sku).await?;
    }
    decode_all(rows)
}

async fn known(conn: &mut Conn, tenant: TenantId, sku: &str) -> Result<(), pg::Error> {
    let found = sql_query("SELECT to_jsonb(sku) AS doc FROM products WHERE tenant_id = $1 AND sku = $2")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(sku)
        .load::<Doc>(conn)
        .await?;
    if found.is_empty() { Err(crate::queries::no_product(sku).into()) } else { Ok(()) }
}
