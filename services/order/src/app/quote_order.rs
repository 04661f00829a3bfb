//! What would an order cost? The same computation prices an order that is placed (ORD-32).

use std::collections::BTreeSet;

use contract::identity::v1::InventoryOutage;
use ctx::Ctx;
use fault::{Fault, Violations};

use crate::app::App;
use crate::domain::basket::{self, Basket, Quote, Stage};
use crate::domain::rules;

impl App {
    /// Prices a basket and stores nothing.
    ///
    /// # Errors
    /// Invalid, naming every wrong field; Aborted `PRICE_CHANGED`; Unavailable when catalog or policy cannot be asked.
    pub async fn quote(&self, ctx: &Ctx, basket: &Basket, stage: Stage, mut wrong: Violations) -> Result<Quote, Fault> {
        let policy = self.catalog.policy(ctx).await?;
        rules::check_items(&basket.items, rules::max_lines(&policy), &mut wrong);
        if !basket.is_service() || basket.address.is_some() {
            rules::check_address("shipping_address", basket.address.as_ref(), &mut wrong);
        }
        let skus: BTreeSet<&str> = basket.items.iter().map(|item| item.sku.as_str()).collect();
        let known: BTreeSet<&str> = skus.into_iter().filter(|sku| rules::is_sku(sku)).take(rules::MAX_LINES).collect();
        // A shop that would rather refuse than wait asks every time; copies answer also while stock does not.
        let ask = stage == Stage::Placement && policy.inventory_outage() == InventoryOutage::Refuse;
        let products = if ask {
            self.catalog.ask_products(ctx, &known).await?
        } else {
            self.catalog.products(ctx, &known).await?
        };
        basket::quote(basket, stage, &policy, &products, ctx.now.as_second(), wrong)
    }
}
