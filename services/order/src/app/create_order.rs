//! Places an order: priced, checked, stored as PENDING with its saga in one commit; stock and money come later (ORD-01).

use contract::common::v1::Money;
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::{OrderId, UserId};
use pg::Once;
use serde_json::json;

use crate::app::App;
use crate::app::quote_order::{Basket, price_changed};
use crate::domain::rules;
use crate::infra::placements::Placement;
use crate::infra::store::wire_time;

/// What a caller wants to buy.
#[derive(Debug, Clone)]
pub struct CreateOrder {
    /// Who buys; a customer buys for himself.
    pub customer_id: String,
    /// What is to be priced.
    pub basket: Basket,
    /// Provider's token.
    pub payment_method: String,
    /// Remark.
    pub note: String,
    /// What the caller thinks it costs.
    pub expected_total: Option<Money>,
}

impl App {
    /// Places an order, once per idempotency key.
    ///
    /// # Errors
    /// Invalid with every wrong field; Denied `NOT_YOUR_CUSTOMER`; Aborted `PRICE_CHANGED`.
    pub async fn create(&self, ctx: &Ctx, command: CreateOrder) -> Result<Once<wire::Order>, Fault> {
        let mut wrong = Violations::default();
        let customer = customer(ctx, &command.customer_id, &mut wrong)?;
        rules::check_extras(&command.note, &command.basket.service, &mut wrong);
        rules::check_payment_method(&command.payment_method, &mut wrong);
        let quote = self.quote(ctx, &command.basket, wrong).await?;
        let Some(customer) = customer else {
            return Err(Fault::internal("a missing customer went unnoticed"));
        };
        if let (Some(expected), Some(actual)) = (&command.expected_total, &quote.totals.total)
            && expected != actual
        {
            return Err(price_changed("total", expected, actual));
        }
        let order_id = OrderId::new();
        let saga_state =
            json!({ "payment_method": command.payment_method, "hold_s": quote.hold_s, "split": quote.split });
        let created = wire::OrderCreated {
            order_id: order_id.to_string(),
            order_number: 0,
            customer_id: customer.to_string(),
            currency_code: command.basket.currency_code,
            lines: quote.lines,
            totals: Some(quote.totals),
            shipping_address: command.basket.address,
            shipping_service: command.basket.service,
            payment_method: command.payment_method,
            note: command.note,
            create_time: Some(wire_time(ctx.now)),
            reservation_hold_s: quote.hold_s,
            split_lines: quote.split,
        };
        let placement = Placement::new(ctx, order_id, customer, created, saga_state);
        self.placements.place(ctx.tenant, placement).await
    }
}

/// Who buys: a customer himself, anybody else whom he names.
fn customer(ctx: &Ctx, named: &str, wrong: &mut Violations) -> Result<Option<UserId>, Fault> {
    let own = ctx.principal.user_id().filter(|_| ctx.principal.is_customer_only());
    if named.is_empty() {
        if own.is_none() {
            wrong.add("customer_id", "REQUIRED", "staff must say who buys");
        }
        return Ok(own);
    }
    match (named.parse::<UserId>(), own) {
        (Ok(named), Some(own)) if named != own => {
            Err(Fault::denied("NOT_YOUR_CUSTOMER", "a customer places orders only for himself"))
        }
        (Ok(named), _) => Ok(Some(named)),
        (Err(error), _) => {
            wrong.add("customer_id", "ID_INVALID", error.to_string());
            Ok(None)
        }
    }
}
