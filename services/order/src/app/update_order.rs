//! Changes address or remark before fulfillment is asked for (ORD-03, ORD-35).

use contract::common::v1::Address;
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::{Fault, Violations};
use futures::FutureExt;
use ids::OrderId;
use pg::Conn;

use crate::app::cancel_order::{check_etag, refused};
use crate::app::get_order::visible;
use crate::app::{App, TURNS, overtaken};
use crate::domain::rules;
use crate::infra::store::{Store, not_found};

/// What changes.
#[derive(Debug, Clone)]
pub struct UpdateOrder {
    /// The order.
    pub id: OrderId,
    /// New address; None = as it is.
    pub address: Option<Address>,
    /// New remark; None = as it is.
    pub note: Option<String>,
    /// Version the change is based on; empty = whatever it is.
    pub etag: String,
}

impl App {
    /// Changes an order.
    ///
    /// # Errors
    /// Invalid with every wrong field; Precondition `ORDER_STATE_FORBIDS`; Aborted `ETAG_MISMATCH`.
    pub async fn update(&self, ctx: &Ctx, command: UpdateOrder) -> Result<wire::Order, Fault> {
        let mut wrong = Violations::default();
        if command.address.is_some() {
            rules::check_address("shipping_address", command.address.as_ref(), &mut wrong);
        }
        rules::check_extras(command.note.as_deref().unwrap_or_default(), "STANDARD", &mut wrong);
        if command.address.is_none() && command.note.is_none() {
            wrong.add("update_mask", "NOTHING_TO_CHANGE", "shipping_address, note or both");
        }
        wrong.finish()?;
        for _ in 1..TURNS {
            let decided = self.update_once(ctx, &command).await;
            if !overtaken(&decided) {
                return decided;
            }
        }
        self.update_once(ctx, &command).await
    }

    async fn update_once(&self, ctx: &Ctx, command: &UpdateOrder) -> Result<wire::Order, Fault> {
        let (tenant, ctx, command) = (ctx.tenant, ctx.clone(), command.clone());
        let changed = self.store.pg.tx("order.update", tenant, move |conn: &mut Conn| {
            let (ctx, command) = (ctx.clone(), command.clone());
            async move {
                let order = Store::get_in(conn, ctx.tenant, command.id).await?;
                if !visible(&ctx, &order) {
                    return Err(not_found(command.id).into());
                }
                check_etag(&order, &command.etag)?;
                let events = order.update(command.address, command.note).map_err(|why| refused(&why))?;
                Ok(Store::append(conn, &ctx, &order, &events).await?.doc)
            }
            .boxed()
        });
        Ok(changed.await?)
    }
}
