//! Places an order: priced, checked, stored as PENDING with its saga in one commit; stock and money come later (ORD-01).

use std::collections::BTreeMap;

use contract::common::v1::Money;
use contract::order::v1 as wire;
use ctx::{Ctx, Principal};
use fault::{Fault, Violations};
use ids::{OrderId, SubscriptionId, UserId};
use pg::Once;
use serde_json::{Value, json};

use crate::app::App;
use crate::domain::basket::{Basket, Quote, Stage, check_expected_total};
use crate::domain::customer::limits;
use crate::domain::rules;
use crate::infra::id_time::made_at;
use crate::infra::placements::{Guard, Placement};
use crate::infra::seal::{Spot, column};
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
    /// It is not placed yet.
    pub draft: bool,
    /// Where the buyer came from; empty when nobody knows.
    pub client_ip: String,
    /// The period of a subscription that it is the order of.
    pub renewal: Option<Renewal>,
}

/// A period of a subscription to be ordered.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The order: written down before it is made, so that it is made once.
    pub order: OrderId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its period, from 1.
    pub period: i32,
    /// What the customer agreed to when his payment method was stored.
    pub mandate: String,
}

impl App {
    /// Places an order, or begins a draft, once per idempotency key.
    ///
    /// # Errors
    /// Invalid with every wrong field; Denied `NOT_YOUR_CUSTOMER`; Aborted `PRICE_CHANGED`, `POSSIBLE_DUPLICATE`.
    pub async fn create(&self, ctx: &Ctx, command: CreateOrder) -> Result<Once<wire::Order>, Fault> {
        match self.placement(ctx, command).await {
            Ok(placement) => self.placements.place(ctx.tenant, placement).await,
            // Prices may have changed since the first call with this key; its answer has not.
            Err(fault) => self.repeated("order.create", ctx).await?.ok_or(fault),
        }
    }

    async fn placement(&self, ctx: &Ctx, command: CreateOrder) -> Result<Placement, Fault> {
        let mut wrong = Violations::default();
        let customer = customer(ctx, &command.customer_id, &mut wrong)?;
        rules::check_extras(&command.note, &command.basket.service, &mut wrong);
        if !command.client_ip.is_empty() && command.client_ip.parse::<std::net::IpAddr>().is_err() {
            wrong.add("client_ip", "IP_INVALID", "must be an IPv4 or IPv6 address");
        }
        if !command.draft {
            rules::check_payment_method(&command.payment_method, &mut wrong);
        } else if !command.payment_method.is_empty() {
            wrong.add("payment_method", "PAYMENT_METHOD_NOT_KEPT", "a draft keeps none; PlaceOrder takes it");
        }
        match command.basket.kind {
            Some(wire::OrderKind::Subscription) if command.renewal.is_none() => {
                wrong.add("kind", "KIND_NOT_PLACED", "a subscription makes its orders itself");
            }
            Some(wire::OrderKind::ServiceRequest) if command.draft => {
                wrong.add("draft", "KIND_NOT_DRAFTED", "a service request is placed at once");
            }
            _ => {}
        }
        let stage = if command.draft { Stage::Draft } else { Stage::Placement };
        let quote = self.quote(ctx, &command.basket, stage, wrong).await?;
        let Some(customer) = customer else {
            return Err(Fault::internal("a missing customer went unnoticed"));
        };
        check_expected_total(command.expected_total.as_ref(), &quote)?;
        if !command.draft {
            self.check_customer(ctx, customer, &quote).await?;
        }
        let limits = if command.draft { BTreeMap::new() } else { limits(&quote.restricted) };
        let renewal = command.renewal;
        let order_id = renewal.as_ref().map_or_else(OrderId::new, |renewal| renewal.order);
        let id = order_id.to_string();
        // Lists look for orders where the time of their ids is: a period may be begun long before its order can be made.
        let begun = renewal.as_ref().and_then(|renewal| made_at(renewal.order.uuid())).unwrap_or(ctx.now);
        let saga_state = if command.draft {
            None
        } else {
            let mandate = renewal.as_ref().map_or("", |renewal| renewal.mandate.as_str());
            let secrets = [&*command.payment_method, mandate, &*command.client_ip];
            Some(self.saga_state(ctx, &id, secrets, &quote).await?)
        };
        // A subscription orders the same again and again, and means it.
        let guard = if command.draft || renewal.is_some() { Guard::default() } else { self.guard(ctx).await? };
        let (address, note) = self.sealed(ctx, &id, command.basket.address, Some(&command.note)).await?;
        let created = wire::OrderCreated {
            order_id: id,
            order_number: 0,
            customer_id: customer.to_string(),
            currency_code: command.basket.currency_code,
            lines: quote.lines,
            totals: Some(quote.totals),
            shipping_address: address,
            shipping_service: command.basket.service,
            payment_method: String::new(),
            note: note.unwrap_or_default(),
            create_time: Some(wire_time(begun)),
            reservation_hold_s: quote.hold_s,
            split_lines: quote.split,
            channel: channel(&ctx.principal).into(),
            warnings: Vec::new(),
            kind: command.basket.kind.unwrap_or_default().into(),
            subscription_id: renewal.as_ref().map(|renewal| renewal.subscription.to_string()).unwrap_or_default(),
            subscription_period: renewal.as_ref().map_or(0, |renewal| renewal.period),
            promotion: quote.promotion,
        };
        Ok(Placement { limits, ..Placement::new(ctx, order_id, customer, created, saga_state, guard) })
    }

    /// What the saga of a placed order starts with; `secrets` are token, mandate and the buyer's address.
    pub(super) async fn saga_state(
        &self,
        ctx: &Ctx,
        order: &str,
        secrets: [&str; 3],
        quote: &Quote,
    ) -> Result<Value, Fault> {
        let [token, mandate, ip] = secrets;
        let spot = |column| Spot { tenant: ctx.tenant, column, row: order };
        Ok(json!({
            "payment_method": self.safe.seal_text(spot(column::SAGA_TOKEN), token).await?,
            "mandate": self.safe.seal_text(spot(column::SAGA_MANDATE), mandate).await?,
            "client_ip": self.safe.seal_text(spot(column::SAGA_IP), ip).await?,
            "hold_s": quote.hold_s,
            "split": quote.split,
            "capture_now": quote.capture_now,
        }))
    }

    /// What the tenant decided about orders that come twice.
    pub(super) async fn guard(&self, ctx: &Ctx) -> Result<Guard, Fault> {
        let policy = self.catalog.policy(ctx).await?;
        Ok(Guard { within_s: policy.duplicate_window_s, refuse: policy.refuse_duplicates })
    }
}

/// How an order came in (ORD-45).
fn channel(principal: &Principal) -> wire::OrderChannel {
    match principal {
        Principal::Service { .. } => wire::OrderChannel::Internal,
        caller if caller.is_customer_only() => wire::OrderChannel::Customer,
        _ => wire::OrderChannel::Staff,
    }
}

/// Who buys: a customer himself, anybody else whom he names.
pub(super) fn customer(ctx: &Ctx, named: &str, wrong: &mut Violations) -> Result<Option<UserId>, Fault> {
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
