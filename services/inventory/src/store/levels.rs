use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use ids::TenantId;
use jiff::Timestamp;
use pg::{Conn, Pg};
use serde::Deserialize;
use uuid::Uuid;

use super::{Doc, decode, decode_all};

mod sql {
    use diesel::sql_types::{Text, Uuid};

    diesel::define_sql_function! {
        /// Stock of a product by warehouse; NULL: no such product.
        fn get_stock(tenant: Uuid, sku: Text) -> Nullable<Jsonb>;
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
}

/// Stock after a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Adjusted {
    /// The ledger's line, and the stream of its event.
    pub movement_id: Uuid,
    /// Units that are there.
    pub on_hand: i32,
    /// Units promised to orders.
    pub reserved: i32,
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
    /// RECEIVE, ADJUST, RESERVE, RELEASE, EXPIRE or CONSUME.
    pub reason: String,
    /// Order or note it came from.
    pub reference: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// Stock of a product by warehouse in one round trip; none: no such product (INV-01).
///
/// # Errors
/// Of the database.
pub async fn level_list(pg: &Pg, tenant: TenantId, sku: &str) -> Result<Option<Vec<StockLevel>>, pg::Error> {
    let query = diesel::select(sql::get_stock(tenant.uuid(), sku.to_owned()));
    let doc = pg.call::<Option<serde_json::Value>, _>("inventory.get_stock", query).await?;
    doc.map(decode).transpose()
}

/// Changes what is on hand of a product in a warehouse.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition STOCK_BELOW_RESERVED, STOCK_TOO_LARGE.
pub async fn adjust(
    conn: &mut Conn,
    tenant: TenantId,
    (sku, warehouse): (&str, &str),
    delta: i32,
    note: &str,
) -> Result<Adjusted, pg::Error> {
    let doc = sql_query("SELECT adjust_stock($1, $2, $3, $4, $5) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Text, _>(sku)
        .bind::<Text, _>(warehouse)
        .bind::<Integer, _>(delta)
        .bind::<Text, _>(note)
        .get_result::<Doc>(conn)
        .await?
        .doc;
    let fact = |name: &str| doc[name].to_string();
    let refusal = match doc["refused"].as_str() {
        None => return decode(doc),
        Some("PRODUCT_NOT_FOUND") => return Err(crate::queries::no_product(sku).into()),
        Some("WAREHOUSE_NOT_FOUND") => return Err(crate::queries::no_warehouse(warehouse).into()),
        Some("STOCK_BELOW_RESERVED") => {
            Fault::precondition("STOCK_BELOW_RESERVED", "fewer units would be there than orders were promised")
        }
        Some("STOCK_TOO_LARGE") => Fault::precondition("STOCK_TOO_LARGE", "a warehouse holds at most 1000000000 units"),
        Some(other) => Fault::internal(format!("adjust_stock refused with {other}")),
    };
    Err(refusal.with("on_hand", fact("on_hand")).with("reserved", fact("reserved")).into())
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
