use std::collections::BTreeMap;

use contract::inventory::v1::ProductChanged;
use ctx::Ctx;
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel::{OptionalExtension, sql_query};
use diesel_async::RunQueryDsl;
use fault::Fault;
use ids::TenantId;
use jiff::Timestamp;
use money::Money;
use pg::{Conn, Json, Pg};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Doc, decode, decode_all, event};
use crate::news::Availability;
use crate::product::{NewProduct, Product, ProductKind, Restrictions, Warehouse};

mod sql {
    use diesel::sql_types::{Array, Text, Uuid};

    diesel::define_sql_function! {
        /// Products among some SKUs.
        fn get_products(tenant: Uuid, skus: Array<Text>) -> Jsonb;
    }
    diesel::define_sql_function! {
        /// A product that is for sale, with what may be sold of it; NULL: none.
        fn get_product(tenant: Uuid, sku: Text) -> Nullable<Jsonb>;
    }
}

#[derive(Debug, Deserialize)]
struct ProductRow {
    sku: String,
    display_name: String,
    prices: BTreeMap<String, i64>,
    tax_class: String,
    weight_grams: i32,
    kind: i16,
    restrictions: Restrictions,
    version: i32,
    created_at: Timestamp,
}

impl TryFrom<ProductRow> for Product {
    type Error = pg::Error;

    fn try_from(row: ProductRow) -> Result<Self, pg::Error> {
        let price = |(code, minor): (String, i64)| Ok(Money::new(code.parse().map_err(Fault::internal)?, minor));
        Ok(Self {
            content: NewProduct {
                sku: row.sku,
                display_name: row.display_name,
                prices: row.prices.into_iter().map(price).collect::<Result<_, Fault>>()?,
                tax_class: row.tax_class,
                weight_grams: row.weight_grams,
                kind: ProductKind::of(row.kind),
                restrictions: row.restrictions,
            },
            version: row.version,
            created_at: row.created_at,
        })
    }
}

fn prices(product: &NewProduct) -> Value {
    product.prices.iter().map(|price| (price.currency.code().to_owned(), Value::from(price.minor))).collect()
}

/// Each product is a stream of its own.
fn stream(tenant: TenantId, sku: &str) -> Uuid {
    Uuid::new_v5(&tenant.uuid(), format!("product:{sku}").as_bytes())
}

fn all(rows: Vec<ProductRow>) -> Result<Vec<Product>, pg::Error> {
    rows.into_iter().map(Product::try_from).collect()
}

/// Adds a product.
///
/// # Errors
/// AlreadyExists SKU_TAKEN.
pub async fn add_product(conn: &mut Conn, ctx: &Ctx, product: &NewProduct) -> Result<Product, pg::Error> {
    let row = sql_query(
        "INSERT INTO products AS p (tenant_id, sku, display_name, prices, tax_class, weight_grams, kind, restrictions) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING to_jsonb(p) AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<Text, _>(&product.sku)
    .bind::<Text, _>(&product.display_name)
    .bind::<Jsonb, _>(prices(product))
    .bind::<Text, _>(&product.tax_class)
    .bind::<Integer, _>(product.weight_grams)
    .bind::<SmallInt, _>(product.kind.unwrap_or(ProductKind::Goods).code())
    .bind::<Jsonb, _>(serde_json::to_value(&product.restrictions).map_err(Fault::internal)?)
    .get_result::<Doc>(conn)
    .await
    .optional()?
    .ok_or_else(|| {
        Fault::already_exists("SKU_TAKEN", "the tenant has a product with this SKU").with("sku", &product.sku)
    })?;
    changed(conn, ctx, &product.sku, 0).await?;
    decode::<ProductRow>(row.doc)?.try_into()
}

/// Replaces a product's content when it is still at the version the change is based on.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, Aborted ETAG_MISMATCH.
pub async fn change_product(
    conn: &mut Conn,
    ctx: &Ctx,
    product: &NewProduct,
    based_on: Option<i32>,
) -> Result<Product, pg::Error> {
    let (version, kind) = lock_product(conn, ctx.tenant, &product.sku, based_on).await?;
    if product.kind.is_some_and(|wanted| wanted.code() != kind) {
        return Err(Fault::precondition("PRODUCT_KIND_FIXED", "goods stay goods and a resource stays one").into());
    }
    let row = sql_query(
        "UPDATE products AS p SET display_name = $3, prices = $4, tax_class = $5, weight_grams = $6, restrictions = $7, \
         version = version + 1 WHERE tenant_id = $1 AND sku = $2 RETURNING to_jsonb(p) AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<Text, _>(&product.sku)
    .bind::<Text, _>(&product.display_name)
    .bind::<Jsonb, _>(prices(product))
    .bind::<Text, _>(&product.tax_class)
    .bind::<Integer, _>(product.weight_grams)
    .bind::<Jsonb, _>(serde_json::to_value(&product.restrictions).map_err(Fault::internal)?)
    .get_result::<Doc>(conn)
    .await?;
    changed(conn, ctx, &product.sku, version).await?;
    decode::<ProductRow>(row.doc)?.try_into()
}

/// Locks a product that is for sale; its version and kind.
async fn lock_product(
    conn: &mut Conn,
    tenant: TenantId,
    sku: &str,
    based_on: Option<i32>,
) -> Result<(i32, i16), pg::Error> {
    // The lock comes before the first write, so that events of one product are in the log's order (data.md H3).
    let row = sql_query(
        "SELECT jsonb_build_array(version, kind) AS doc FROM products \
         WHERE tenant_id = $1 AND sku = $2 AND active FOR NO KEY UPDATE",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(sku)
    .get_result::<Doc>(conn)
    .await
    .optional()?;
    let (version, kind): (i32, i16) = decode(row.ok_or_else(|| crate::queries::no_product(sku))?.doc)?;
    if based_on.is_some_and(|based_on| based_on != version) {
        return Err(Fault::aborted("ETAG_MISMATCH", "the product was changed meanwhile").with("etag", version).into());
    }
    Ok((version, kind))
}

/// Sets the price of one currency and leaves the others.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, Aborted ETAG_MISMATCH.
pub async fn set_price(
    conn: &mut Conn,
    ctx: &Ctx,
    sku: &str,
    price: Money,
    based_on: Option<i32>,
) -> Result<Product, pg::Error> {
    let (version, _) = lock_product(conn, ctx.tenant, sku, based_on).await?;
    let row = sql_query(
        "UPDATE products AS p SET prices = prices || jsonb_build_object($3, $4), version = version + 1 \
         WHERE tenant_id = $1 AND sku = $2 RETURNING to_jsonb(p) AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<Text, _>(sku)
    .bind::<Text, _>(price.currency.code())
    .bind::<BigInt, _>(price.minor)
    .get_result::<Doc>(conn)
    .await?;
    changed(conn, ctx, sku, version).await?;
    decode::<ProductRow>(row.doc)?.try_into()
}

/// Takes a product out of sale.
///
/// # Errors
/// NotFound PRODUCT_NOT_FOUND, Aborted ETAG_MISMATCH.
pub async fn retire_product(
    conn: &mut Conn,
    ctx: &Ctx,
    sku: &str,
    based_on: Option<i32>,
) -> Result<Product, pg::Error> {
    let (version, _) = lock_product(conn, ctx.tenant, sku, based_on).await?;
    let row = sql_query(
        "UPDATE products AS p SET active = false, version = version + 1 \
         WHERE tenant_id = $1 AND sku = $2 RETURNING to_jsonb(p) AS doc",
    )
    .bind::<SqlUuid, _>(ctx.tenant.uuid())
    .bind::<Text, _>(sku)
    .get_result::<Doc>(conn)
    .await?;
    changed(conn, ctx, sku, version).await?;
    decode::<ProductRow>(row.doc)?.try_into()
}

/// A product with what may be sold of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The product.
    pub product: Product,
    /// Whether it may be bought now.
    pub availability: Availability,
}

#[derive(Deserialize)]
struct ShownRow {
    #[serde(flatten)]
    product: ProductRow,
    available: i64,
    threshold: i32,
}

impl TryFrom<ShownRow> for Shown {
    type Error = pg::Error;

    fn try_from(row: ShownRow) -> Result<Self, pg::Error> {
        let available = i32::try_from(row.available).unwrap_or(i32::MAX);
        Ok(Self { product: row.product.try_into()?, availability: Availability::of(available, row.threshold) })
    }
}

/// A product that is for sale, in one round trip (INV-08).
///
/// # Errors
/// Of the database.
pub async fn shown(pg: &Pg, tenant: TenantId, sku: &str) -> Result<Option<Shown>, pg::Error> {
    let query = diesel::select(sql::get_product(tenant.uuid(), sku.to_owned()));
    let doc = pg.ask::<Option<Value>, _>("inventory.get_product", query).await?;
    doc.map(|doc| decode::<ShownRow>(doc)?.try_into()).transpose()
}

/// Up to `limit` products behind a SKU of which something may be bought now, by SKU (INV-08).
///
/// # Errors
/// Of the database.
pub async fn catalog_page(conn: &mut Conn, tenant: TenantId, after: &str, limit: i64) -> Result<Vec<Shown>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(p) || jsonb_build_object('available', a.units, 'threshold', low_threshold($1)) AS doc \
         FROM products p CROSS JOIN LATERAL sellable(p.tenant_id, p.sku, p.kind) AS a (units) \
         WHERE p.tenant_id = $1 AND p.sku > $2 AND p.active AND a.units > 0 ORDER BY p.sku LIMIT $3",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(after)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    decode_all::<ShownRow>(rows)?.into_iter().map(Shown::try_from).collect()
}

async fn changed(conn: &mut Conn, ctx: &Ctx, sku: &str, expected: i32) -> Result<(), pg::Error> {
    let message = ProductChanged { sku: sku.to_owned() };
    eventlog::append(conn, ctx, stream(ctx.tenant, sku), expected, &[event(&message)]).await?;
    Ok(())
}

/// Products among some SKUs, by SKU, in one round trip.
///
/// # Errors
/// Of the database.
pub async fn products(pg: &Pg, tenant: TenantId, skus: Vec<String>) -> Result<Vec<Product>, pg::Error> {
    let query = diesel::select(sql::get_products(tenant.uuid(), skus));
    let Json(rows) = pg.ask("inventory.get_products", query).await?;
    all(rows)
}

/// Up to `limit` products behind a SKU, by SKU.
///
/// # Errors
/// Of the database.
pub async fn product_page(
    conn: &mut Conn,
    tenant: TenantId,
    after: &str,
    limit: i64,
) -> Result<Vec<Product>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(p) AS doc FROM products p WHERE tenant_id = $1 AND sku > $2 AND active ORDER BY sku LIMIT $3",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(after)
    .bind::<BigInt, _>(limit)
    .load::<Doc>(conn)
    .await?;
    all(decode_all(rows)?)
}

/// Adds a warehouse.
///
/// # Errors
/// AlreadyExists WAREHOUSE_TAKEN; Precondition WAREHOUSE_LIMIT behind the hundredth.
pub async fn add_warehouse(conn: &mut Conn, tenant: TenantId, warehouse: &Warehouse) -> Result<(), pg::Error> {
    let address = serde_json::to_value(&warehouse.address).map_err(Fault::internal)?;
    let added = sql_query(
        "INSERT INTO warehouses (tenant_id, code, display_name, address, priority, slot) \
         SELECT $1, $2, $3, $4, $5, n FROM (SELECT count(*) + 1 AS n FROM warehouses WHERE tenant_id = $1) slots \
         WHERE n <= 100 ON CONFLICT (tenant_id, code) DO NOTHING RETURNING to_jsonb(slot) AS doc",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(&warehouse.code)
    .bind::<Text, _>(&warehouse.display_name)
    .bind::<Jsonb, _>(address)
    .bind::<Integer, _>(warehouse.priority)
    .get_result::<Doc>(conn)
    .await
    .optional();
    match added.map_err(pg::Error::from) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(refused(conn, tenant, &warehouse.code).await?.into()),
        Err(error) if pg::is_unique(&error, "warehouses_slot") => {
            Err(Fault::aborted("WAREHOUSE_RACE", "another warehouse was added at the same moment").into())
        }
        Err(error) => Err(error),
    }
}

async fn refused(conn: &mut Conn, tenant: TenantId, code: &str) -> Result<Fault, pg::Error> {
    Ok(if warehouse(conn, tenant, code).await?.is_some() {
        Fault::already_exists("WAREHOUSE_TAKEN", "the tenant has a warehouse with this code").with("code", code)
    } else {
        Fault::precondition("WAREHOUSE_LIMIT", "a tenant has at most 100 warehouses")
    })
}

/// A warehouse, if there is one of that code.
///
/// # Errors
/// Of the database.
pub async fn warehouse(conn: &mut Conn, tenant: TenantId, code: &str) -> Result<Option<Warehouse>, pg::Error> {
    Ok(some_warehouses(conn, tenant, Some(code)).await?.pop())
}

/// All warehouses, the first to be used first.
///
/// # Errors
/// Of the database.
pub async fn warehouses(conn: &mut Conn, tenant: TenantId) -> Result<Vec<Warehouse>, pg::Error> {
    some_warehouses(conn, tenant, None).await
}

async fn some_warehouses(conn: &mut Conn, tenant: TenantId, code: Option<&str>) -> Result<Vec<Warehouse>, pg::Error> {
    let rows = sql_query(
        "SELECT to_jsonb(w) AS doc FROM warehouses w WHERE tenant_id = $1 AND ($2 IS NULL OR code = $2) \
         ORDER BY priority, code",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Nullable<Text>, _>(code)
    .load::<Doc>(conn)
    .await?;
    decode_all(rows)
}
