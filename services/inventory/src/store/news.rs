use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ctx::Ctx;
use diesel::sql_query;
use diesel::sql_types::{Array, Integer, Jsonb, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::NewEvent;
use ids::TenantId;
use pg::{Conn, Pg};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::levels::StockLevel;
use super::{Doc, decode};
use crate::news::{Settings, Told};

mod sql {
    use diesel::sql_types::{BigInt, Integer, Text};

    diesel::define_sql_function! {
        /// Goods whose ledger grew since somebody looked; NULL: none.
        fn stock_changes(most: Integer) -> Nullable<Jsonb>;
    }
    diesel::define_sql_function! {
        /// Moves the place in the ledger on; false: another process did.
        fn stock_changes_seen(from_xid: Text, from_seq: BigInt, xid: Text, seq: BigInt) -> Bool;
    }
}

/// Goods whose stock changed since somebody looked.
#[derive(Debug, Clone, Deserialize)]
pub struct Changes {
    from_xid: String,
    from_seq: i64,
    xid: String,
    seq: i64,
    /// Lines of the ledger that were looked at.
    pub lines: i64,
    /// By tenant.
    pub tenants: Vec<Goods>,
}

/// Goods of one tenant.
#[derive(Debug, Clone, Deserialize)]
pub struct Goods {
    tenant_id: Uuid,
    /// The products, each once.
    pub skus: Vec<String>,
}

impl Goods {
    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        TenantId::from_uuid(self.tenant_id)
    }
}

/// What changed, at most so many lines of the ledger, of all tenants.
///
/// # Errors
/// Of the database.
pub async fn changes(pg: &Pg, most: i32) -> Result<Option<Changes>, pg::Error> {
    let query = diesel::select(sql::stock_changes(most));
    let doc = pg.worker_call::<Option<Value>, _>("inventory.changes", query).await?;
    doc.map(decode).transpose()
}

/// Remembers that all of it was told; false when another process was faster.
///
/// # Errors
/// Of the database.
pub async fn seen(pg: &Pg, changes: &Changes) -> Result<bool, pg::Error> {
    let Changes { from_xid, from_seq, xid, seq, .. } = changes.clone();
    let query = diesel::select(sql::stock_changes_seen(from_xid, from_seq, xid, seq));
    pg.worker_call("inventory.changes_seen", query).await
}

/// Leaves products that cannot be told of for a later look.
///
/// # Errors
/// Of the database.
pub async fn put_off(conn: &mut Conn, tenant: TenantId, skus: &[String]) -> Result<(), pg::Error> {
    sql_query(
        "INSERT INTO stock_untold (tenant_id, sku, next_at) SELECT $1, n.sku, now() + interval '10 seconds' \
         FROM unnest($2) AS n (sku) ORDER BY n.sku ON CONFLICT (tenant_id, sku) DO UPDATE SET next_at = excluded.next_at",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Array<Text>, _>(skus)
    .execute(conn)
    .await?;
    Ok(())
}

/// Products under the lock of what was told of them.
#[derive(Debug, Deserialize)]
pub struct Looked {
    threshold: i32,
    reorder_up_to: i32,
    /// The products, by SKU.
    pub products: Vec<Listed>,
}

impl Looked {
    /// When stock is low.
    pub fn settings(&self) -> Settings {
        Settings { low_stock_threshold: self.threshold, reorder_up_to: self.reorder_up_to }
    }
}

/// A product as it was told and as it is.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// The product.
    pub sku: String,
    version: i32,
    low: bool,
    sold_out: bool,
    #[serde(rename = "told")]
    told_levels: Value,
    levels: Value,
}

impl Listed {
    /// What was told.
    pub fn told(&self) -> Told {
        Told { low: self.low, sold_out: self.sold_out }
    }

    /// Whether the figures are others than those that were told.
    pub fn changed(&self) -> bool {
        self.told_levels != self.levels
    }

    /// The figures as they are.
    ///
    /// # Errors
    /// When our own SQL wrote what we cannot read.
    pub fn levels(&self) -> Result<Vec<StockLevel>, pg::Error> {
        decode(self.levels.clone())
    }
}

/// Locks what was told of some products and reads what they are.
///
/// # Errors
/// Of the database.
pub async fn look_at(conn: &mut Conn, tenant: TenantId, skus: &[String]) -> Result<Looked, pg::Error> {
    let query = sql_query("SELECT stock_news_lock($1, $2) AS doc")
        .bind::<SqlUuid, _>(tenant.uuid())
        .bind::<Array<Text>, _>(skus);
    decode(query.get_result::<Doc>(conn).await?.doc)
}

/// What is told of a product, with its events.
#[derive(Debug)]
pub struct Item<'a> {
    /// The product under lock.
    pub product: &'a Listed,
    /// What is told from now on.
    pub told: Told,
    /// Its events; at least one.
    pub events: Vec<NewEvent>,
}

/// Writes what is told, each product in a stream of its own.
///
/// # Errors
/// Of the database.
pub async fn tell(conn: &mut Conn, ctx: &Ctx, topic: &str, items: &[Item<'_>]) -> Result<(), pg::Error> {
    let stream = |sku: &str| Uuid::new_v5(&ctx.tenant.uuid(), format!("stock:{sku}").as_bytes());
    let item = |Item { product, told, events }: &Item<'_>| {
        json!({
            "sku": product.sku,
            "stream": stream(&product.sku),
            "version": product.version,
            "low": told.low,
            "sold_out": told.sold_out,
            "levels": product.levels,
            "types": events.iter().map(|event| event.type_name).collect::<Vec<_>>(),
            "payloads": events.iter().map(|event| BASE64.encode(&event.payload)).collect::<Vec<_>>(),
        })
    };
    sql_query("SELECT stock_news_tell($1, $2, $3, $4)")
        .bind::<SqlUuid, _>(ctx.tenant.uuid())
        .bind::<Text, _>(topic)
        .bind::<Jsonb, _>(items.iter().map(item).collect::<Value>())
        .bind::<Jsonb, _>(eventlog::meta(ctx))
        .execute(conn)
        .await?;
    Ok(())
}

/// When stock of a tenant is low.
///
/// # Errors
/// Of the database.
pub async fn settings(conn: &mut Conn, tenant: TenantId) -> Result<Settings, pg::Error> {
    let query = sql_query(
        "SELECT jsonb_build_object('low_stock_threshold', low_threshold($1), 'reorder_up_to', reorder_up_to($1)) AS doc",
    )
    .bind::<SqlUuid, _>(tenant.uuid());
    decode(query.get_result::<Doc>(conn).await?.doc)
}

/// Says when stock of a tenant is low.
///
/// # Errors
/// Of the database.
pub async fn save_settings(conn: &mut Conn, tenant: TenantId, settings: Settings) -> Result<(), pg::Error> {
    sql_query(
        "INSERT INTO inventory_settings (tenant_id, low_stock_threshold, reorder_up_to) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id) DO UPDATE SET low_stock_threshold = excluded.low_stock_threshold, \
         reorder_up_to = excluded.reorder_up_to",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Integer, _>(settings.low_stock_threshold)
    .bind::<Integer, _>(settings.reorder_up_to)
    .execute(conn)
    .await?;
    Ok(())
}
