//! Subscriptions: made, changed, paused, resumed, skipped, cancelled and found (ORD-46).

use std::sync::Arc;

use contract::common::v1::Address;
use contract::order::v1 as wire;
use ctx::Ctx;
use fault::{Fault, Violations};
use futures::FutureExt;
use ids::{SubscriptionId, UserId};
use jiff::{SignedDuration, Timestamp};
use pg::{Conn, Once};
use uuid::Uuid;

use crate::app::create_order::customer;
use crate::app::{App, TURNS, overtaken};
use crate::domain::basket::{Basket, Stage};
use crate::domain::promotion::Wanted;
use crate::domain::rules;
use crate::domain::subscription::{Next, Refusal, Subscription};
use crate::infra::subscriptions::{self, Filter, not_found};

/// Farthest start of a first period.
const FARTHEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// An agreement that somebody wants.
#[derive(Debug, Clone)]
pub struct Subscribe {
    /// Who buys; a customer buys for himself.
    pub customer_id: String,
    /// What is ordered each period.
    pub basket: Basket,
    /// Provider's token.
    pub payment_method: String,
    /// What the customer agreed to.
    pub mandate_reference: String,
    /// How long a period is.
    pub interval: Option<wire::SubscriptionInterval>,
    /// When the first period is ordered; None = now. The inner one is a time that is none.
    pub start: Option<Option<Timestamp>>,
}

/// What changes; None = stays.
#[derive(Debug, Clone, Default)]
pub struct Amend {
    /// What is ordered.
    pub items: Option<Vec<wire::OrderItem>>,
    /// Where it goes.
    pub address: Option<Address>,
    /// How it is sent.
    pub service: Option<String>,
    /// How it is paid: token and mandate.
    pub payment: Option<(String, String)>,
}

/// Which subscription is decided on, and on what version.
#[derive(Debug, Clone)]
pub struct About {
    /// The subscription.
    pub id: SubscriptionId,
    /// Version the decision is based on; empty = whatever it is.
    pub etag: String,
}

type Decide = dyn Fn(&Subscription) -> Result<Next, Refusal> + Send + Sync;

/// A page of subscriptions and the token of the next one.
pub type Page = (Vec<wire::Subscription>, String);

impl App {
    /// Begins a subscription, once per idempotency key.
    ///
    /// # Errors
    /// Invalid with every wrong field; Denied `NOT_YOUR_CUSTOMER`, `CUSTOMER_NOT_ELIGIBLE`, `EMAIL_NOT_VERIFIED`.
    pub async fn subscribe(&self, ctx: &Ctx, command: Subscribe) -> Result<Once<wire::Subscription>, Fault> {
        let mut wrong = Violations::default();
        let buyer = customer(ctx, &command.customer_id, &mut wrong)?;
        check_payment(&command.payment_method, &command.mandate_reference, &mut wrong);
        check_interval(command.interval.as_ref(), &mut wrong);
        let start = start(command.start, ctx.now, &mut wrong);
        self.check_basket(ctx, buyer, &command.basket, wrong).await?;
        let Some(buyer) = buyer else {
            return Err(Fault::internal("a missing customer went unnoticed"));
        };
        let doc = wire::Subscription {
            id: SubscriptionId::new().to_string(),
            customer_id: buyer.to_string(),
            items: command.basket.items,
            currency_code: command.basket.currency_code,
            shipping_address: command.basket.address,
            shipping_service: command.basket.service,
            payment_method: command.payment_method,
            mandate_reference: command.mandate_reference,
            interval: command.interval,
            ..Default::default()
        };
        let doc = self.safe.seal_subscription(ctx.tenant, doc).await?;
        let next = Arc::new(Subscription::begin(doc, start, ctx.now));
        let context = ctx.clone();
        let begun = self.store.pg.once("subscription.begin", ctx, move |conn: &mut Conn| {
            let (ctx, next) = (context.clone(), Arc::clone(&next));
            async move {
                let saved = subscriptions::save(conn, &ctx, &Subscription::default(), &next, Some(start)).await?;
                Ok(saved.doc)
            }
            .boxed()
        });
        let Once { response, replayed } = begun.await?;
        Ok(Once { response: self.shown_subscription(ctx, response).await?, replayed })
    }

    /// Reads a subscription that the caller may see.
    ///
    /// # Errors
    /// NotFound `SUBSCRIPTION_NOT_FOUND`.
    pub async fn subscription(&self, ctx: &Ctx, id: SubscriptionId) -> Result<wire::Subscription, Fault> {
        let found = self.whole_subscription(ctx, id).await?;
        self.shown_subscription(ctx, found.doc).await
    }

    /// Reads a page, newest first; a customer has only his own.
    ///
    /// # Errors
    /// Invalid `PAGE_TOKEN_INVALID`.
    pub async fn list_subscriptions(
        &self,
        ctx: &Ctx,
        mut filter: Filter,
        size: i64,
        token: &str,
    ) -> Result<Page, Fault> {
        if ctx.principal.is_customer_only() {
            let own = ctx.principal.user_id();
            if filter.customer.is_some() && filter.customer != own {
                return Ok(Page::default());
            }
            filter.customer = own;
        }
        let mark = format!("subscriptions {filter:?}");
        let before = match self.pages.open(ctx.tenant, mark.as_bytes(), token)? {
            None => None,
            Some(cursor) => Some(Uuid::from_slice(&cursor).map_err(Fault::internal)?),
        };
        // One more than the page tells whether there is another.
        let mut found = subscriptions::page(&self.store.pg, ctx.tenant, &filter, before, size + 1).await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = found.len() > size;
        found.truncate(size);
        let next = match found.last() {
            Some(last) if more => {
                let id: SubscriptionId = last.doc.id.parse().map_err(Fault::internal)?;
                self.pages.seal(ctx.tenant, mark.as_bytes(), id.uuid().as_bytes())
            }
            _ => String::new(),
        };
        let mut page = Vec::with_capacity(found.len());
        for one in found {
            page.push(self.shown_subscription(ctx, one.doc).await?);
        }
        Ok((page, next))
    }

    /// Changes what is ordered, where it goes and how it is paid, from the next order on.
    ///
    /// # Errors
    /// Invalid with every wrong field; Precondition `SUBSCRIPTION_STATE_FORBIDS`; Aborted `ETAG_MISMATCH`.
    pub async fn amend(&self, ctx: &Ctx, about: &About, amend: Amend) -> Result<wire::Subscription, Fault> {
        for turn in 1.. {
            let amended = self.amend_once(ctx, about, amend.clone()).await;
            // Who names no version means the newest one, also when there is a newer one by now.
            let stale = amended.as_ref().is_err_and(|fault| fault.reason() == "ETAG_MISMATCH");
            if turn >= TURNS || !about.etag.is_empty() || !stale {
                return amended;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    /// Changes a subscription as it was seen: what is sealed is one value, so that nothing of another change may be lost.
    async fn amend_once(&self, ctx: &Ctx, about: &About, amend: Amend) -> Result<wire::Subscription, Fault> {
        let seen = self.whole_subscription(ctx, about.id).await?;
        if !about.etag.is_empty() && about.etag != seen.doc.etag {
            return Err(stale(&seen));
        }
        let mut wrong = Violations::default();
        if let Some((method, mandate)) = &amend.payment {
            check_payment(method, mandate, &mut wrong);
        }
        let before = self.safe.open_subscription(ctx.tenant, seen.doc.clone()).await?;
        let after = amended(before.clone(), amend);
        let buyer = seen.doc.customer_id.parse().map_err(Fault::internal)?;
        self.check_basket(ctx, Some(buyer), &basket(&after), wrong).await?;
        let about = About { id: about.id, etag: seen.doc.etag };
        let (same, now) = (after == before, ctx.now);
        let sealed = self.safe.seal_subscription(ctx.tenant, after).await?;
        let decide = move |seen: &Subscription| {
            // A new seal of the same would look like a change.
            seen.update(if same { seen.doc.clone() } else { sealed.clone() }, now)
        };
        self.decide(ctx, &about, Arc::new(decide)).await
    }

    /// Pauses, resumes, skips or cancels.
    ///
    /// # Errors
    /// NotFound `SUBSCRIPTION_NOT_FOUND`; Precondition `SUBSCRIPTION_STATE_FORBIDS`; Aborted `ETAG_MISMATCH`,
    /// `PERIOD_PASSED`.
    pub async fn decide(&self, ctx: &Ctx, about: &About, decide: Arc<Decide>) -> Result<wire::Subscription, Fault> {
        for turn in 1.. {
            let decided = self.decide_once(ctx, about, &decide).await;
            if turn >= TURNS || !overtaken(&decided) {
                return decided;
            }
        }
        Err(Fault::internal("the last turn gave no answer"))
    }

    async fn decide_once(&self, ctx: &Ctx, about: &About, decide: &Arc<Decide>) -> Result<wire::Subscription, Fault> {
        let (context, about, decide) = (ctx.clone(), about.clone(), Arc::clone(decide));
        let decided = self.store.pg.tx("subscription.decide", ctx.tenant, move |conn: &mut Conn| {
            let (ctx, about, decide) = (context.clone(), about.clone(), Arc::clone(&decide));
            async move {
                let seen = subscriptions::get(conn, ctx.tenant, about.id).await?;
                check_visible(&ctx, &seen, about.id)?;
                if !about.etag.is_empty() && about.etag != seen.doc.etag {
                    return Err(stale(&seen).into());
                }
                match decide(&seen) {
                    Ok(next) => {
                        let due = Subscription::of_doc(next.doc.clone()).due(ctx.now);
                        Ok(subscriptions::save(conn, &ctx, &seen, &next, due).await?.doc)
                    }
                    Err(Refusal::Already) => Ok(seen.doc),
                    Err(why) => Err(refused(why).into()),
                }
            }
            .boxed()
        });
        self.shown_subscription(ctx, decided.await?).await
    }

    async fn shown_subscription(&self, ctx: &Ctx, doc: wire::Subscription) -> Result<wire::Subscription, Fault> {
        Ok(shown(self.safe.open_subscription(ctx.tenant, doc).await?))
    }

    async fn whole_subscription(&self, ctx: &Ctx, id: SubscriptionId) -> Result<Subscription, Fault> {
        let tenant = ctx.tenant;
        let read = self.store.pg.read("subscription.get", tenant, move |conn: &mut Conn| {
            async move { subscriptions::get(conn, tenant, id).await }.boxed()
        });
        let found = read.await?;
        check_visible(ctx, &found, id)?;
        Ok(found)
    }

    /// What is ordered each period could be ordered now.
    async fn check_basket(
        &self,
        ctx: &Ctx,
        buyer: Option<UserId>,
        basket: &Basket,
        mut wrong: Violations,
    ) -> Result<(), Fault> {
        rules::check_extras("", &basket.service, &mut wrong);
        let quote = self.quote(ctx, basket, Stage::Placement, wrong).await?;
        match buyer {
            Some(buyer) => self.check_customer(ctx, buyer, &quote).await,
            None => Ok(()),
        }
    }
}

/// What a period orders.
pub(super) fn basket(doc: &wire::Subscription) -> Basket {
    Basket {
        items: doc.items.clone(),
        currency_code: doc.currency_code.clone(),
        address: doc.shipping_address.clone(),
        service: doc.shipping_service.clone(),
        agreed: std::collections::BTreeMap::new(),
        kind: Some(wire::OrderKind::Subscription),
        promotion: Wanted::Nothing,
    }
}

fn amended(mut doc: wire::Subscription, amend: Amend) -> wire::Subscription {
    doc.items = amend.items.unwrap_or(doc.items);
    doc.shipping_address = amend.address.or(doc.shipping_address);
    doc.shipping_service = amend.service.unwrap_or(doc.shipping_service);
    if let Some((method, mandate)) = amend.payment {
        (doc.payment_method, doc.mandate_reference) = (method, mandate);
    }
    doc
}

/// As people see it: the payment token by its last characters.
fn shown(doc: wire::Subscription) -> wire::Subscription {
    let length = doc.payment_method.chars().count();
    // A short token would be given away by four of its characters.
    let kept = if length > 8 { 4 } else { 0 };
    let last: String = doc.payment_method.chars().skip(length - kept).collect();
    wire::Subscription { payment_method: format!("…{last}"), ..doc }
}

fn check_payment(method: &str, mandate: &str, wrong: &mut Violations) {
    rules::check_payment_method(method, wrong);
    if mandate.is_empty() {
        wrong.add("mandate_reference", "REQUIRED", "charges come while the customer is away: he must have agreed");
    } else if mandate.len() > 100 || !mandate.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong.add("mandate_reference", "MANDATE_INVALID", "at most 100 visible ASCII characters");
    }
}

fn check_interval(interval: Option<&wire::SubscriptionInterval>, wrong: &mut Violations) {
    let Some(interval) = interval else {
        return wrong.add("interval", "REQUIRED", "say how long a period is");
    };
    if wire::IntervalUnit::try_from(interval.unit).unwrap_or_default() == wire::IntervalUnit::Unspecified {
        wrong.add("interval.unit", "UNIT_UNKNOWN", "DAY, WEEK or MONTH");
    }
    if !(1..=366).contains(&interval.count) {
        wrong.add("interval.count", "COUNT_INVALID", "1 to 366");
    }
}

fn start(asked: Option<Option<Timestamp>>, now: Timestamp, wrong: &mut Violations) -> Timestamp {
    match asked {
        None => now,
        Some(Some(at)) if at >= now && at.duration_since(now) <= FARTHEST => at,
        Some(Some(_)) => {
            wrong.add("start_time", "START_INVALID", "not in the past, and at most 366 days ahead");
            now
        }
        Some(None) => {
            wrong.add("start_time", "TIME_INVALID", "not a time");
            now
        }
    }
}

fn check_visible(ctx: &Ctx, found: &Subscription, id: SubscriptionId) -> Result<(), Fault> {
    let own = ctx.principal.user_id().is_some_and(|user| user.to_string() == found.doc.customer_id);
    if own || !ctx.principal.is_customer_only() { Ok(()) } else { Err(not_found(id)) }
}

fn stale(seen: &Subscription) -> Fault {
    Fault::aborted("ETAG_MISMATCH", "the subscription was changed meanwhile").with("etag", &seen.doc.etag)
}

fn refused(why: Refusal) -> Fault {
    match why {
        Refusal::Period(next) => Fault::aborted("PERIOD_PASSED", why.to_string()).with("next_period", next),
        Refusal::State(_) | Refusal::Already => Fault::precondition("SUBSCRIPTION_STATE_FORBIDS", why.to_string()),
    }
}
