//! Tells of stock that changed (INV-06, INV-07).
//!
//! What changes stock does nothing for this: the job follows the ledger below the oldest open transaction, and tells
//! once of all that happened to a product since it looked. So a product that everybody buys is not locked for it.

use std::time::Duration;

use contract::Event as _;
use contract::inventory::v1::{BackInStock, LowStock, StockChanged};
use ctx::{Cause, Ctx};
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use serve::{Job, Turn};
use uuid::Uuid;

use crate::api::wire;
use crate::commands::{Inventory, everybodys};
use crate::news::{Settings, look};
use crate::store::{self, Item, Listed};

/// Pause between two looks: a third of what the requirement gives.
const EVERY: Duration = Duration::from_millis(300);
/// Lines of the ledger that are looked at together.
const LINES: i32 = 5_000;
/// Products of one transaction.
const TOGETHER: usize = 100;

/// The job that looks three times a second; any number of processes may run it.
pub fn teller(inventory: Inventory) -> Job {
    Job::every("inventory.tell", EVERY, inventory, |inventory| async move {
        inventory.tell_stock(Timestamp::now()).await.map(|_| Turn::Done)
    })
}

impl Inventory {
    /// Tells of all that changed until now, of all tenants; returns how many events it took.
    ///
    /// Two processes that tell at once tell the same once: the second finds the figures told.
    ///
    /// # Errors
    /// When there is no database to be had; what was not told then is told by the next look.
    pub async fn tell_stock(&self, now: Timestamp) -> Result<usize, Fault> {
        let mut told = 0;
        loop {
            let Some(changes) = store::changes(&self.pg, LINES).await? else { return Ok(told) };
            for goods in &changes.tenants {
                for skus in goods.skus.chunks(TOGETHER) {
                    told += self.tell_some(goods.tenant(), skus, now).await?;
                }
            }
            if !store::seen(&self.pg, &changes).await? || changes.lines < i64::from(LINES) {
                return Ok(told);
            }
        }
    }

    /// Tells of some products of a tenant; those that fail are told later, and nobody else waits for them.
    async fn tell_some(&self, tenant: TenantId, skus: &[String], now: Timestamp) -> Result<usize, Fault> {
        let fault = match self.tell(tenant, skus.to_vec(), now).await {
            Ok(told) => return Ok(told),
            Err(fault) if everybodys(&fault) => return Err(fault),
            Err(fault) => fault,
        };
        tracing::warn!(%tenant, error = ?fault, products = skus.len(), "stock news fail");
        let (mut told, mut late) = (0, Vec::new());
        for sku in skus {
            // Somebody who holds the tenant's lock holds it for every product.
            let again = skus.len() > 1 && fault.reason() != "IN_FLIGHT";
            match if again { self.tell(tenant, vec![sku.clone()], now).await.ok() } else { None } {
                Some(events) => told += events,
                None => late.push(sku.clone()),
            }
        }
        metrics::counter!("inventory_news_put_off_total").increment(u64::try_from(late.len()).unwrap_or_default());
        self.pg
            .tx("inventory.put_off", tenant, move |conn| {
                let late = late.clone();
                async move { store::put_off(conn, tenant, &late).await }.boxed()
            })
            .await?;
        Ok(told)
    }

    async fn tell(&self, tenant: TenantId, skus: Vec<String>, now: Timestamp) -> Result<usize, Fault> {
        let id = Uuid::now_v7().simple().to_string();
        let cause = Cause { correlation_id: id.clone(), causation_id: id, traceparent: None };
        let context = Ctx::service("inventory", tenant, cause, now);
        Ok(self
            .pg
            .tx("inventory.tell", tenant, move |conn| {
                let (ctx, skus) = (context.clone(), skus.clone());
                async move { run(conn, &ctx, &skus).await }.boxed()
            })
            .await?)
    }
}

async fn run(conn: &mut pg::Conn, ctx: &Ctx, skus: &[String]) -> Result<usize, pg::Error> {
    let looked = store::look_at(conn, ctx.tenant, skus).await?;
    let settings = looked.settings();
    let mut items = Vec::with_capacity(looked.products.len());
    for product in looked.products.iter().filter(|product| product.changed()) {
        items.push(item(product, settings)?);
    }
    if items.is_empty() {
        return Ok(0);
    }
    store::tell(conn, ctx, StockChanged::TOPIC, &items).await?;
    let lows = items.iter().filter(|item| item.events.iter().any(|event| event.type_name == LowStock::TYPE));
    for low in lows {
        metrics::counter!("inventory_low_stock_total").increment(1);
        tracing::warn!(tenant = %ctx.tenant, sku = low.product.sku, "stock is low");
    }
    Ok(items.iter().map(|item| item.events.len()).sum())
}

fn item(product: &Listed, settings: Settings) -> Result<Item<'_>, pg::Error> {
    let sku = product.sku.clone();
    let levels = product.levels()?;
    let available = levels.iter().fold(0_i32, |sum, level| sum.saturating_add(level.available()));
    let news = look(product.told(), available, settings);
    let levels = levels.into_iter().map(|level| wire::level(&sku, level)).collect();
    let mut events = vec![store::event(&StockChanged { sku: sku.clone(), available, levels })];
    if let Some(reorder_quantity) = news.low {
        let threshold = settings.low_stock_threshold;
        events.push(store::event(&LowStock { sku: sku.clone(), available, threshold, reorder_quantity }));
    }
    if news.back {
        events.push(store::event(&BackInStock { sku, available }));
    }
    Ok(Item { product, told: news.told, events })
}
