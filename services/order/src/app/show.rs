//! Orders on their way out: what is sealed at rest is opened for who may see it, and for the services that need it
//! (PAY-12). Everything before that works on sealed values.

use contract::common::v1::Address;
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use pg::Once;
use saga::{Outcome, Run};

use crate::app::App;
use crate::app::place_saga::{Steps, order_id};
use crate::domain::order::Order;
use crate::infra::seal::{Spot, column};

impl App {
    /// An order as callers see it.
    ///
    /// # Errors
    /// Internal when a sealed value does not open.
    pub async fn shown(&self, ctx: &Ctx, order: wire::Order) -> Result<wire::Order, Fault> {
        self.safe.open_order(ctx.tenant, order).await
    }

    /// Orders as callers see them.
    ///
    /// # Errors
    /// As of [`App::shown`].
    pub async fn all_shown(&self, ctx: &Ctx, orders: Vec<wire::Order>) -> Result<Vec<wire::Order>, Fault> {
        let mut shown = Vec::with_capacity(orders.len());
        for order in orders {
            shown.push(self.shown(ctx, order).await?);
        }
        Ok(shown)
    }

    /// The answer of a command as callers see it; stored answers are sealed too.
    ///
    /// # Errors
    /// As of [`App::shown`].
    pub async fn shown_once(&self, ctx: &Ctx, once: Once<wire::Order>) -> Result<Once<wire::Order>, Fault> {
        Ok(Once { response: self.shown(ctx, once.response).await?, replayed: once.replayed })
    }

    /// A change as callers see it.
    ///
    /// # Errors
    /// As of [`App::shown`].
    pub async fn shown_change(&self, ctx: &Ctx, change: wire::OrderChange) -> Result<wire::OrderChange, Fault> {
        self.safe.open_change(ctx.tenant, change).await
    }

    /// Where an order goes, for who checks or compares it.
    ///
    /// # Errors
    /// As of [`App::shown`].
    pub(super) async fn address_of(&self, ctx: &Ctx, order: &Order) -> Result<Option<Address>, Fault> {
        let Some(stored) = order.doc.shipping_address.clone() else { return Ok(None) };
        let spot = Spot { tenant: ctx.tenant, column: column::ADDRESS, row: &order.doc.id };
        self.safe.open_address(spot, stored).await.map(Some)
    }

    /// Address and remark of an order as they are stored; None stays None.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub(super) async fn sealed(
        &self,
        ctx: &Ctx,
        order: &str,
        address: Option<Address>,
        note: Option<&str>,
    ) -> Result<(Option<Address>, Option<String>), Fault> {
        let spot = |column| Spot { tenant: ctx.tenant, column, row: order };
        let address = match address {
            Some(address) => Some(self.safe.seal_address(spot(column::ADDRESS), address).await?),
            None => None,
        };
        let note = match note {
            Some(note) => Some(self.safe.seal_text(spot(column::REMARK), note).await?),
            None => None,
        };
        Ok((address, note))
    }

    /// What somebody says about an order, as it is stored.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub(super) async fn sealed_text(
        &self,
        ctx: &Ctx,
        column: &'static str,
        order: &str,
        text: &str,
    ) -> Result<String, Fault> {
        self.safe.seal_text(Spot { tenant: ctx.tenant, column, row: order }, text).await
    }
}

impl Steps {
    /// A sealed text of a saga's state; empty when it has none.
    pub(super) async fn secret(&self, run: &Run, column: &'static str) -> Result<String, Outcome> {
        // The last part of the column is the name in the state.
        let name = column.rsplit('.').next().unwrap_or(column);
        let stored = run.state[name].as_str().unwrap_or_default();
        let order = order_id(run).to_string();
        let spot = Spot { tenant: run.ctx.tenant, column, row: &order };
        self.safe.open_text(spot, stored).await.map_err(later)
    }

    /// Where an order goes.
    pub(super) async fn address(&self, run: &Run, order: &Order) -> Result<Option<Address>, Outcome> {
        let Some(stored) = order.doc.shipping_address.clone() else { return Ok(None) };
        let spot = Spot { tenant: run.ctx.tenant, column: column::ADDRESS, row: &order.doc.id };
        self.safe.open_address(spot, stored).await.map(Some).map_err(later)
    }
}

fn later(fault: Fault) -> Outcome {
    Outcome::Retry { reason: fault.to_string() }
}
