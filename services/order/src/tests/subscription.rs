use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use contract::identity::v1::TenantPolicy;
use contract::inventory::v1::{Product, ProductKind};
use contract::order::v1 as wire;
use contract::order::v1::{IntervalUnit, OrderState, RenewalState, SubscriptionState};
use ctx::{Ctx, Principal, Role};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Integer, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Kind;
use futures::FutureExt;
use futures::future::try_join_all;
use ids::{SubscriptionId, UserId};
use jiff::SignedDuration;

use super::world::{World, policy, product, reason, usd};
use crate::app::create_order::CreateOrder;
use crate::app::subscribe::{About, Amend, Subscribe};
use crate::domain::subscription::Subscription;
use crate::infra::subscriptions::Filter;

#[derive(QueryableByName)]
struct Period {
    #[diesel(sql_type = Integer)]
    period: i32,
    #[diesel(sql_type = BigInt)]
    orders: i64,
    #[diesel(sql_type = Text)]
    subscription: String,
}

impl World {
    fn agreement(&self) -> Subscribe {
        let CreateOrder { customer_id, basket, payment_method, .. } = self.order(&[("TEE", 1)]);
        let basket = crate::domain::basket::Basket { kind: Some(wire::OrderKind::Subscription), ..basket };
        Subscribe {
            customer_id,
            basket,
            payment_method,
            mandate_reference: "mandate-1".to_owned(),
            interval: Some(wire::SubscriptionInterval { unit: IntervalUnit::Day.into(), count: 1 }),
            start: None,
        }
    }

    /// The customer as he was some days ago.
    fn ago(&self, days: i64) -> Ctx {
        let ctx = self.ctx();
        Ctx { now: ctx.now - SignedDuration::from_hours(24 * days), ..ctx }
    }

    /// A daily subscription that began some days ago and was not looked after since.
    async fn subscribed(&self, days: i64) -> Result<SubscriptionId> {
        let begun = self.app.subscribe(&self.ago(days), self.agreement()).await?;
        Ok(begun.response.id.parse()?)
    }

    /// Everything is looked at again, whatever was planned.
    async fn renew_now(&self) -> Result<i32> {
        self.hurry().await?;
        Ok(self.app.renew_due(None, 100).await?.orders)
    }

    /// What waits for its order waits no more.
    async fn hurry(&self) -> Result<()> {
        diesel::sql_query("UPDATE om_order.subscriptions SET due_at = now() WHERE due_at IS NOT NULL")
            .execute(&mut self.db.admin().await?)
            .await?;
        Ok(())
    }

    /// Days pass for a subscription: what it planned comes that much sooner.
    async fn time_passes(&self, id: SubscriptionId, days: i64) -> Result<()> {
        let (ctx, tenant) = (self.csr(), self.tenant);
        let passed = self.app.store.pg.tx("test.passes", tenant, move |conn: &mut pg::Conn| {
            let ctx = ctx.clone();
            async move {
                let seen = crate::infra::subscriptions::get(conn, tenant, id).await?;
                let mut doc = seen.doc.clone();
                if let Some(next) = &mut doc.next_time {
                    next.seconds -= days * 86_400;
                }
                let next = seen.update(doc, ctx.now).map_err(fault::Fault::internal)?;
                crate::infra::subscriptions::save(conn, &ctx, &seen, &next, Some(ctx.now)).await.map(drop)
            }
            .boxed()
        });
        Ok(passed.await?)
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<wire::Subscription> {
        Ok(self.app.subscription(&self.csr(), id).await?)
    }

    /// The order of the last period.
    async fn last_order(&self, id: SubscriptionId) -> Result<wire::Order> {
        let renewal = self.subscription(id).await?.renewal.context("a period was begun")?;
        Ok(self.app.get(&self.csr(), renewal.order_id.parse()?).await?.doc)
    }

    /// Orders that still may be paid, per subscription and period.
    async fn periods(&self) -> Result<Vec<Period>> {
        let rows = diesel::sql_query(
            "SELECT p.subscription_id::text AS subscription, p.period, count(o.order_id) AS orders \
             FROM om_order.subscription_periods p LEFT JOIN om_order.orders o USING (tenant_id, order_id) \
             WHERE p.tenant_id = $1 GROUP BY 1, 2 ORDER BY 1, 2",
        );
        Ok(rows.bind::<SqlUuid, _>(self.tenant.uuid()).load(&mut self.db.admin().await?).await?)
    }
}

const PAID: [OrderState; 2] = [OrderState::PaymentProcessing, OrderState::PaymentCompleted];
const DECLINED: [OrderState; 2] = [OrderState::PaymentProcessing, OrderState::PaymentFailed];

#[tokio::test]
async fn ord_46_a_subscription_orders_each_period_once_when_it_is_due() -> Result<()> {
    let world = World::open().await?;
    let id = world.subscribed(2).await?;
    assert_eq!(world.renew_now().await?, 1);
    assert_eq!(world.renew_now().await?, 0, "the first one is not paid yet");
    let first = world.last_order(id).await?;
    assert_eq!(
        (first.kind(), first.subscription_id.as_str()),
        (wire::OrderKind::Subscription, id.to_string().as_str())
    );
    assert_eq!((first.subscription_period, first.channel()), (1, wire::OrderChannel::Internal));
    assert_eq!(first.customer_id, world.customer.to_string());
    world.lead(&first, &PAID).await?;
    assert_eq!(world.renew_now().await?, 0, "it is noticed that the first one is paid");
    assert_eq!(world.subscription(id).await?.renewal.context("begun")?.state(), RenewalState::Paid);
    // Of the days that nobody looked each has its order.
    for period in 2..=3 {
        assert_eq!(world.renew_now().await?, 1);
        let order = world.last_order(id).await?;
        assert_eq!(order.subscription_period, period);
        world.lead(&order, &PAID).await?;
        assert_eq!(world.renew_now().await?, 0);
    }
    assert_eq!(world.renew_now().await?, 0, "the fourth day has not come");
    assert_eq!(world.count("orders").await?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ord_46_two_workers_make_one_order_of_each_period() -> Result<()> {
    const SUBSCRIPTIONS: usize = 6;
    const ROUNDS: usize = 25;
    const WORKERS: usize = 4;
    let world = World::open().await?;
    let mut all = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        all.push(world.subscribed(40).await?);
    }
    for round in 1..=ROUNDS {
        world.hurry().await?;
        let workers = (0..WORKERS).map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.app.renew_due(None, 100).await })
        });
        let mut made = 0;
        for worker in try_join_all(workers).await? {
            made += worker?.orders;
        }
        assert_eq!(usize::try_from(made)?, SUBSCRIPTIONS, "round {round}");
        for id in &all {
            let order = world.last_order(*id).await?;
            assert_eq!(usize::try_from(order.subscription_period)?, round);
            world.lead(&order, &PAID).await?;
        }
        world.renew_now().await?;
    }
    let mut counted: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for period in world.periods().await? {
        assert_eq!(period.orders, 1, "period {} of {}", period.period, period.subscription);
        counted.entry(period.subscription).or_default().push(period.period);
    }
    let right: Vec<i32> = (1..=i32::try_from(ROUNDS)?).collect();
    assert!(counted.len() == SUBSCRIPTIONS && counted.values().all(|periods| *periods == right), "{counted:?}");
    assert_eq!(world.count("orders").await?, i64::try_from(SUBSCRIPTIONS * ROUNDS)?);
    Ok(())
}

#[tokio::test]
async fn ord_46_a_worker_that_dies_before_the_order_leaves_it_to_the_next_one() -> Result<()> {
    let world = World::open().await?;
    let id = world.subscribed(0).await?;
    let (order, ctx, tenant) = (ids::OrderId::new(), world.csr(), world.tenant);
    let dead = world.app.store.pg.tx("test.begin", tenant, move |conn: &mut pg::Conn| {
        let ctx = ctx.clone();
        async move {
            let seen = crate::infra::subscriptions::get(conn, tenant, id).await?;
            let next = seen.order(order, ctx.now);
            crate::infra::subscriptions::save(conn, &ctx, &seen, &next, Some(ctx.now)).await.map(drop)
        }
        .boxed()
    });
    dead.await?;
    assert_eq!(world.count("orders").await?, 0);
    assert_eq!(world.renew_now().await?, 1);
    assert_eq!(world.last_order(id).await?.id, order.to_string(), "the very order that was written down");
    assert_eq!(world.renew_now().await?, 0);
    Ok(())
}

#[tokio::test]
async fn ord_46_dunning_follows_the_tenants_schedule_and_each_try_is_an_order_of_its_own() -> Result<()> {
    let world = World::with(TenantPolicy { dunning_days: vec![2], ..policy() }).await?;
    let id = world.subscribed(0).await?;
    world.renew_now().await?;
    let first = world.last_order(id).await?;
    world.lead(&first, &DECLINED).await?;
    world.renew_now().await?;
    let failed = world.subscription(id).await?;
    assert_eq!(failed.state(), SubscriptionState::PastDue);
    let wait = failed.next_time.context("another try")?.seconds - world.ctx().now.as_second();
    assert!((2 * 86_400 - 60..=2 * 86_400).contains(&wait), "{wait} s");
    assert_eq!(world.renew_now().await?, 0, "two days have not passed");
    world.time_passes(id, 3).await?;
    assert_eq!(world.renew_now().await?, 1);
    let second = world.last_order(id).await?;
    assert_ne!(first.id, second.id);
    assert_eq!((second.subscription_period, first.subscription_period), (1, 1));
    world.lead(&second, &DECLINED).await?;
    world.renew_now().await?;
    let over = world.subscription(id).await?;
    assert_eq!((over.state(), over.state_reason.as_str()), (SubscriptionState::Paused, "DUNNING_EXHAUSTED"));
    assert_eq!(world.renew_now().await?, 0);
    Ok(())
}

#[tokio::test]
async fn ord_46_an_order_that_cannot_be_made_counts_as_a_failed_try() -> Result<()> {
    let world = World::open().await?;
    let id = world.subscribed(0).await?;
    world.know(policy(), vec![Product { prices: Vec::new(), ..product("TEE", 1999) }]).await;
    assert_eq!(world.renew_now().await?, 0);
    let failed = world.subscription(id).await?;
    assert_eq!(failed.state(), SubscriptionState::PastDue);
    assert_eq!(failed.renewal.context("a try")?.reason, "NO_PRICE_IN_CURRENCY");
    assert_eq!(world.count("orders").await?, 0);
    Ok(())
}

#[tokio::test]
async fn ord_46_people_pause_resume_skip_change_and_cancel_their_own_subscriptions() -> Result<()> {
    let world = World::open().await?;
    let ctx = world.keyed(world.ctx(), "agreed", 1);
    let first = world.app.subscribe(&ctx, world.agreement()).await?;
    let again = world.app.subscribe(&ctx, world.agreement()).await?;
    assert!(again.replayed && first.response == again.response);
    assert_eq!(first.response.payment_method, "…visa", "nobody reads the token back");
    let id: SubscriptionId = first.response.id.parse()?;
    let about = About { id, etag: first.response.etag.clone() };
    let now = ctx.now;
    let skip = std::sync::Arc::new(move |seen: &Subscription| seen.skip(1, now));
    let skipped = world.app.decide(&ctx, &about, skip.clone()).await?;
    assert_eq!(skipped.next_period, 2);
    let stale = world.app.decide(&ctx, &about, skip).await.expect_err("the version moved");
    assert_eq!(stale.reason(), "ETAG_MISMATCH");
    let any = About { etag: String::new(), ..about };
    let late = world.app.decide(&ctx, &any, std::sync::Arc::new(move |seen: &Subscription| seen.skip(7, now))).await;
    assert_eq!(late.expect_err("not the next").reason(), "PERIOD_PASSED");
    let two = vec![wire::OrderItem { sku: "CAP".to_owned(), quantity: 2, ..Default::default() }];
    let amended = world.app.amend(&ctx, &any, Amend { items: Some(two), ..Amend::default() }).await?;
    assert_eq!((amended.items[0].sku.as_str(), amended.items.len()), ("CAP", 1));
    let unknown = vec![wire::OrderItem { sku: "no such!".to_owned(), quantity: 1, ..Default::default() }];
    let wrong = world.app.amend(&ctx, &any, Amend { items: Some(unknown), ..Amend::default() }).await;
    assert_eq!(wrong.expect_err("no such product").violations()[0].field, "items[0].sku");

    let stranger = world.by(Principal::User { id: UserId::new(), roles: vec![Role::Customer] });
    let hidden = world.app.subscription(&stranger, id).await.expect_err("not his");
    assert_eq!((hidden.kind(), hidden.reason()), (Kind::NotFound, "SUBSCRIPTION_NOT_FOUND"));
    let cancel = std::sync::Arc::new(move |seen: &Subscription| seen.cancel("", now));
    assert!(world.app.decide(&stranger, &any, cancel.clone()).await.is_err());
    assert!(world.app.list_subscriptions(&stranger, Filter::default(), 10, "").await?.0.is_empty());
    let pause = std::sync::Arc::new(move |seen: &Subscription| seen.pause("holiday", now));
    assert_eq!(world.app.decide(&ctx, &any, pause).await?.state(), SubscriptionState::Paused);
    assert_eq!(world.renew_now().await?, 0);
    assert_eq!(world.app.decide(&ctx, &any, cancel).await?.state(), SubscriptionState::Cancelled);
    let resume = std::sync::Arc::new(move |seen: &Subscription| seen.resume(now));
    let over = world.app.decide(&ctx, &any, resume).await.expect_err("it has ended");
    assert_eq!(over.reason(), "SUBSCRIPTION_STATE_FORBIDS");
    Ok(())
}

#[tokio::test]
async fn ord_46_every_wrong_field_of_an_agreement_is_named_and_nothing_is_stored() -> Result<()> {
    let world = World::open().await?;
    let mut wrong = world.agreement();
    wrong.basket.items[0].quantity = 0;
    wrong.basket.items[0].slot_id = "slot-1".to_owned();
    wrong.basket.service = "PIGEON".to_owned();
    wrong.payment_method = "4242424242424242".to_owned();
    wrong.mandate_reference = String::new();
    wrong.interval = Some(wire::SubscriptionInterval { unit: 9, count: 0 });
    wrong.start = Some(Some(world.ctx().now - SignedDuration::from_hours(1)));
    let fault = world.app.subscribe(&world.ctx(), wrong).await.expect_err("nothing is right");
    let named: std::collections::BTreeSet<_> = fault.violations().iter().map(|one| one.field.as_str()).collect();
    for field in [
        "items[0].quantity",
        "items[0].slot_id",
        "shipping_service",
        "payment_method",
        "mandate_reference",
        "interval.unit",
        "interval.count",
        "start_time",
    ] {
        assert!(named.contains(field), "{field} in {named:?}");
    }
    assert!(world.app.list_subscriptions(&world.csr(), Filter::default(), 10, "").await?.0.is_empty());
    Ok(())
}

#[tokio::test]
async fn ord_46_pages_of_subscriptions_hold_each_once() -> Result<()> {
    let world = World::open().await?;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, world.subscribed(0).await?.to_string());
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let filter = Filter { customer: Some(world.customer), states: Some(vec![1]) };
        let (page, next) = world.app.list_subscriptions(&world.csr(), filter, 2, &token).await?;
        seen.extend(page.into_iter().map(|one| one.id));
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made);
    let paused = Filter { customer: None, states: Some(vec![2]) };
    assert!(world.app.list_subscriptions(&world.csr(), paused, 10, "").await?.0.is_empty());
    Ok(())
}

fn service(world: &World) -> CreateOrder {
    let mut order = world.order(&[("CUT", 1)]);
    order.basket.kind = Some(wire::OrderKind::ServiceRequest);
    order.basket.address = None;
    order.basket.items[0].slot_id = "20261201T0900-MAIN".to_owned();
    order
}

#[tokio::test]
async fn ord_46_a_service_request_has_a_slot_and_neither_address_nor_shipping_cost() -> Result<()> {
    let world = World::open().await?;
    let cut = Product { kind: ProductKind::Resource.into(), ..product("CUT", 4500) };
    world.know(policy(), vec![cut]).await;
    let booked = world.app.create(&world.ctx(), service(&world)).await?.response;
    assert_eq!((booked.kind(), booked.state()), (wire::OrderKind::ServiceRequest, OrderState::Pending));
    assert_eq!(booked.lines[0].slot_id, "20261201T0900-MAIN");
    let totals = booked.totals.clone().context("priced")?;
    assert_eq!((totals.shipping, totals.total), (usd(0), usd(4500)));
    assert_eq!(
        reason(world.app.create(&world.ctx(), CreateOrder { draft: true, ..service(&world) }).await),
        "INVALID_REQUEST"
    );
    let slotless = |mut order: CreateOrder| {
        order.basket.items[0].slot_id.clear();
        order
    };
    let goods = |mut order: CreateOrder| {
        order.basket.items[0].sku = "TEE".to_owned();
        order
    };
    let sent = |mut order: CreateOrder| {
        order.basket.kind = Some(wire::OrderKind::Purchase);
        order.basket.address = world.order(&[]).basket.address;
        order
    };
    let forged = |mut order: CreateOrder| {
        order.basket.kind = Some(wire::OrderKind::Subscription);
        order
    };
    let unknown = |mut order: CreateOrder| {
        order.basket.kind = None;
        order
    };
    let plain = world.order(&[("TEE", 1)]);
    for (wrong, field) in [
        (slotless(service(&world)), "items[0].slot_id"),
        (goods(service(&world)), "items[0].sku"),
        (sent(service(&world)), "items[0].slot_id"),
        (sent(slotless(service(&world))), "items[0].sku"),
        (forged(plain.clone()), "kind"),
        (unknown(plain), "kind"),
    ] {
        let fault = world.app.create(&world.ctx(), wrong).await.expect_err(field);
        assert!(fault.violations().iter().any(|one| one.field == field), "{field}: {fault}");
    }
    Ok(())
}
