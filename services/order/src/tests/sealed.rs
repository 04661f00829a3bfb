//! What of orders and subscriptions names a person or buys goods elsewhere is readable in no table, and opens for those
//! who may read it (PAY-12).

use std::time::Duration;

use anyhow::{Context as _, Result};
use contract::common::v1::Address;
use contract::order::v1 as wire;
use contract::order::v1::order_service_server::OrderService;
use contract::order::v1::subscription_service_server::SubscriptionService;
use contract::order::v1::{IntervalUnit, LineEdit, OrderState, SubscriptionState};
use ctx::{Ctx, Open};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::FutureExt;
use ids::{OrderId, SubscriptionId};
use pg::Conn;
use testkit::eventually;
use testkit::search::columns_with;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::world::{World, subject};
use crate::api::commands::Commands;
use crate::api::subscriptions::Subscriptions;
use crate::app::create_order::CreateOrder;
use crate::app::draft_order::PlaceOrder;
use crate::app::order_change::RequestChange;
use crate::app::subscribe::{About, Amend, Subscribe};
use crate::app::update_order::UpdateOrder;
use crate::domain::basket::Basket;
use crate::domain::event::OrderEvent;
use crate::infra::store::Store;

/// Everything that a person said in these tests and that no table may show.
const SECRETS: [&str; 12] = [
    "Zacharias Quillfeather",
    "Hollowmere",
    "Attic Nine",
    "94107-7781",
    "Quillgate",
    "pm_sim_heron_4711",
    "pm_sim_egret_4711",
    "mandate-heron-4711",
    "mandate-egret-4711",
    "203.0.113.177",
    "grey heron",
    "egret",
];
const SOON: Duration = Duration::from_secs(20);

fn home() -> Address {
    Address {
        recipient: "Zacharias Quillfeather".to_owned(),
        line1: "7781 Hollowmere Passage".to_owned(),
        line2: "Attic Nine".to_owned(),
        city: "San Francisco".to_owned(),
        region: "CA".to_owned(),
        postal_code: "94107-7781".to_owned(),
        country_code: "US".to_owned(),
        ..Address::default()
    }
}

fn work() -> Address {
    Address { line1: "2 Quillgate".to_owned(), line2: String::new(), ..home() }
}

fn asked<T>(ctx: &Ctx, message: T) -> Request<T> {
    let Ctx { tenant, principal, cause, deadline, now, idempotency } = ctx.clone();
    let mut request = Request::new(message);
    request.extensions_mut().insert(Open { tenant: Some(tenant), principal, cause, deadline, now, idempotency });
    request
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

impl World {
    fn secret_order(&self) -> CreateOrder {
        let order = self.order(&[("TEE", 2)]);
        CreateOrder {
            basket: Basket { address: Some(home()), ..order.basket },
            payment_method: "pm_sim_heron_4711".to_owned(),
            note: "beware of the grey heron".to_owned(),
            client_ip: "203.0.113.177".to_owned(),
            ..order
        }
    }

    fn secret_agreement(&self) -> Subscribe {
        let order = self.secret_order();
        Subscribe {
            customer_id: order.customer_id,
            basket: Basket { kind: Some(wire::OrderKind::Subscription), ..order.basket },
            payment_method: order.payment_method,
            mandate_reference: "mandate-heron-4711".to_owned(),
            interval: Some(wire::SubscriptionInterval { unit: IntervalUnit::Month.into(), count: 1 }),
            start: None,
        }
    }

    /// Lives through all that people can say about orders, so that every table has something to hide.
    async fn live(&self) -> Result<(wire::Order, SubscriptionId)> {
        let (ctx, csr) = (self.ctx(), self.csr());
        let keyed = self.keyed(self.ctx(), "place", 1);
        let placed = self.app.create(&keyed, self.secret_order()).await?.response;
        let id: OrderId = placed.id.parse()?;
        let update = |address, note: Option<&str>| UpdateOrder {
            id,
            address,
            note: note.map(str::to_owned),
            etag: String::new(),
        };
        self.app.update(&ctx, update(Some(work()), Some("and of the egret"))).await?;
        let note = self.keyed(self.csr(), "note", 2);
        self.app.add_note(&note, &subject(&placed), "called about the egret".to_owned()).await?;
        // Enough of them for a snapshot.
        for _ in 0..50 {
            self.app.update(&ctx, update(None, Some("the grey heron again"))).await?;
        }
        self.lead(&placed, &[OrderState::PaymentProcessing, OrderState::PaymentCompleted]).await?;
        self.at_step(&placed, 3).await?;
        let change = RequestChange {
            to: None,
            subject: subject(&placed),
            edits: vec![LineEdit { line: 1, quantity: 1, ..LineEdit::default() }],
            reason: "one is for the egret".to_owned(),
            expected_total: None,
        };
        let asked = self.app.request_change(&self.keyed(self.csr(), "change", 3), &change).await?.response;
        let why = "the egret changed her mind".to_owned();
        self.app.decline_change(&self.csr(), &subject(&placed), asked.id.parse()?, why).await?;
        self.lead(&placed, &[OrderState::Delivered]).await?;
        self.app.rate(&ctx, &subject(&placed), 5, "a grey heron came with it".to_owned()).await?;

        let draft =
            CreateOrder { draft: true, payment_method: String::new(), client_ip: String::new(), ..self.secret_order() };
        let draft = self.app.create(&ctx, draft).await?.response;
        let moved = UpdateOrder { id: draft.id.parse()?, ..update(Some(work()), None) };
        self.app.update(&ctx, moved).await?;
        let place = PlaceOrder {
            subject: subject(&draft),
            payment_method: "pm_sim_egret_4711".to_owned(),
            expected_total: None,
            promotion_code: String::new(),
        };
        self.app.place(&csr, &place).await?;

        let begun = self.app.subscribe(&self.keyed(self.ctx(), "agree", 4), self.secret_agreement()).await?;
        let about = About { id: begun.response.id.parse()?, etag: String::new() };
        let payment = Some(("pm_sim_egret_4711".to_owned(), "mandate-egret-4711".to_owned()));
        self.app.amend(&ctx, &about, Amend { address: Some(work()), payment, ..Amend::default() }).await?;
        assert_eq!(self.app.renew_due(None, 10).await?.orders, 1);
        Ok((placed, about.id))
    }

    async fn readable(&self) -> Result<Vec<String>> {
        let mut conn = self.db.admin().await?;
        let mut readable = Vec::new();
        for secret in SECRETS {
            readable.extend(
                columns_with(&mut conn, secret).await?.into_iter().map(|column| format!("{secret} in {column}")),
            );
        }
        Ok(readable)
    }

    async fn number(&self, sql: &'static str) -> Result<i64> {
        let query = diesel::sql_query(sql).bind::<SqlUuid, _>(self.tenant.uuid());
        Ok(query.get_result::<Count>(&mut self.db.admin().await?).await?.n)
    }
}

#[tokio::test]
async fn pay_12_no_table_of_orders_shows_where_somebody_lives_or_how_he_pays() -> Result<()> {
    let world = World::open().await?;
    let (placed, agreed) = world.live().await?;
    // The search finds what is not sealed, in every kind of column that hides the rest.
    let city = columns_with(&mut world.db.admin().await?, "San Francisco").await?;
    for column in ["orders.doc", "events.payload", "snapshots.state", "subscriptions.doc"] {
        let known = column == "subscriptions.doc" || city.iter().any(|found| found == &format!("om_order.{column}"));
        assert!(known, "{column} in {city:?}");
    }
    let kept = columns_with(&mut world.db.admin().await?, &placed.id).await?;
    assert!(kept.iter().any(|column| column == "om_order.idempotency.response"), "{kept:?}");
    assert_eq!(world.readable().await?, Vec::<String>::new());

    let seen = world.read(&placed).await?;
    assert_eq!((seen.shipping_address, seen.note.as_str()), (Some(work()), "the grey heron again"));
    assert_eq!(seen.notes[0].text, "called about the egret");
    assert_eq!(seen.changes[0].reason, "one is for the egret");
    assert_eq!(seen.changes[0].outcome_reason, "the egret changed her mind");
    assert_eq!(seen.rating.context("a rating")?.comment, "a grey heron came with it");
    let subscription = world.app.subscription(&world.ctx(), agreed).await?;
    assert_eq!(subscription.shipping_address, Some(work()));
    assert_eq!(
        (subscription.payment_method.as_str(), subscription.mandate_reference.as_str()),
        ("…4711", "mandate-egret-4711")
    );
    assert!(subscription.sealed.is_none());
    let renewed = subscription.renewal.context("a period")?.order_id;
    let renewed = world.read(&wire::Order { id: renewed, ..wire::Order::default() }).await?;
    assert_eq!(renewed.shipping_address, Some(work()));
    // Events and picture still say the same.
    assert!(world.verified(&placed).await? && world.verified(&renewed).await?);
    for event in world.app.history(&world.csr(), placed.id.parse()?).await?.events {
        assert!(!event.payload_json.contains("sealed"), "{}", event.payload_json);
    }
    Ok(())
}

#[tokio::test]
async fn pay_12_callers_read_what_they_wrote_also_when_an_answer_is_repeated() -> Result<()> {
    let world = World::open().await?;
    let (commands, subscriptions) = (Commands(world.app.clone()), Subscriptions(world.app.clone()));
    let request = wire::CreateOrderRequest {
        items: world.order(&[("TEE", 1)]).basket.items,
        currency_code: "USD".to_owned(),
        shipping_address: Some(home()),
        payment_method: "pm_sim_heron_4711".to_owned(),
        note: "beware of the grey heron".to_owned(),
        ..wire::CreateOrderRequest::default()
    };
    let keyed = world.keyed(world.ctx(), "place", 1);
    for _ in 0..2 {
        let order = commands.create_order(asked(&keyed, request.clone())).await?.into_inner();
        assert_eq!((order.shipping_address, order.note.as_str()), (Some(home()), "beware of the grey heron"));
    }
    assert_eq!(world.count("orders").await?, 1);
    let batch = wire::BatchCreateOrdersRequest { requests: vec![request.clone()] };
    let batch = commands.batch_create_orders(asked(&world.ctx(), batch)).await?.into_inner();
    match batch.results[0].result.clone().context("a result")? {
        wire::batch_create_result::Result::Order(order) => assert_eq!(order.shipping_address, Some(home())),
        failure => anyhow::bail!("{failure:?}"),
    }
    let agreement = wire::CreateSubscriptionRequest {
        items: request.items.clone(),
        currency_code: "USD".to_owned(),
        shipping_address: Some(home()),
        payment_method: "pm_sim_heron_4711".to_owned(),
        mandate_reference: "mandate-heron-4711".to_owned(),
        interval: Some(wire::SubscriptionInterval { unit: IntervalUnit::Month.into(), count: 1 }),
        ..wire::CreateSubscriptionRequest::default()
    };
    let keyed = world.keyed(world.ctx(), "agree", 2);
    for _ in 0..2 {
        let agreed = subscriptions.create_subscription(asked(&keyed, agreement.clone())).await?.into_inner();
        assert_eq!((agreed.shipping_address, agreed.payment_method.as_str()), (Some(home()), "…4711"));
    }
    // A client has no sealed address; one that claims to be is named among the wrong fields.
    let sealed = Address { sealed: Some(b"\x01\0\0\0\x01whatever".to_vec().into()), ..home() };
    let request = wire::CreateOrderRequest { shipping_address: Some(sealed), ..request };
    let refused = commands.create_order(asked(&world.ctx(), request)).await.expect_err("it is refused");
    let fault = fault::Fault::from(refused);
    assert_eq!(fault.violations()[0].field, "shipping_address.sealed");
    assert_eq!(world.readable().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn pay_12_the_same_again_is_no_change_although_two_seals_of_it_differ() -> Result<()> {
    let world = World::open().await?;
    let about = About {
        id: world.app.subscribe(&world.ctx(), world.secret_agreement()).await?.response.id.parse()?,
        etag: String::new(),
    };
    let payment = Some(("pm_sim_heron_4711".to_owned(), "mandate-heron-4711".to_owned()));
    let same = Amend { address: Some(home()), payment, ..Amend::default() };
    let first = world.app.amend(&world.ctx(), &about, same.clone()).await?;
    assert_eq!(first.etag, "1");
    let moved = world.app.amend(&world.ctx(), &about, Amend { address: Some(work()), ..Amend::default() }).await?;
    assert_eq!((moved.etag.as_str(), moved.payment_method.as_str()), ("2", "…4711"));
    let delivered = world.placed(&[("TEE", 1)]).await?;
    world.lead(&delivered, &[OrderState::Delivered]).await?;
    let rate = async || world.app.rate(&world.ctx(), &subject(&delivered), 4, "a fine egret".to_owned()).await;
    let (once, again) = (rate().await?, rate().await?);
    assert_eq!(once.etag, again.etag);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pay_12_of_two_changes_at_once_none_is_lost() -> Result<()> {
    let world = World::open().await?;
    for _ in 0..10 {
        let begun = world.app.subscribe(&world.ctx(), world.secret_agreement()).await?.response;
        let about = About { id: begun.id.parse()?, etag: String::new() };
        let payment = Some(("pm_sim_egret_4711".to_owned(), "mandate-egret-4711".to_owned()));
        let ctx = world.ctx();
        let (moved, paid) = tokio::join!(
            world.app.amend(&ctx, &about, Amend { address: Some(work()), ..Amend::default() }),
            world.app.amend(&ctx, &about, Amend { payment, ..Amend::default() }),
        );
        moved?;
        paid?;
        let now = world.app.subscription(&ctx, about.id).await?;
        assert_eq!((now.shipping_address, now.mandate_reference.as_str()), (Some(work()), "mandate-egret-4711"));
        assert_eq!(now.etag, "3");
    }
    Ok(())
}

#[tokio::test]
async fn pay_12_what_was_stored_before_it_was_sealed_opens_as_it_is() -> Result<()> {
    let world = World::open().await?;
    let placed = world.placed(&[("TEE", 1)]).await?;
    let (ctx, id) = (world.csr(), placed.id.parse::<OrderId>()?);
    let old = wire::OrderUpdated {
        order_id: placed.id.clone(),
        shipping_address: Some(home()),
        note: "beware of the grey heron".to_owned(),
        ..wire::OrderUpdated::default()
    };
    let stored = world.app.store.pg.tx("test.old", world.tenant, move |conn: &mut Conn| {
        let (ctx, old) = (ctx.clone(), old.clone());
        async move {
            let order = Store::get_in(conn, ctx.tenant, id).await?;
            Store::append(conn, &ctx, &order, &[OrderEvent::Updated(old)]).await
        }
        .boxed()
    });
    stored.await?;
    assert!(!world.readable().await?.is_empty(), "the search sees what is not sealed");
    let seen = world.read(&placed).await?;
    assert_eq!((seen.shipping_address, seen.note.as_str()), (Some(home()), "beware of the grey heron"));
    assert!(world.verified(&placed).await?);
    Ok(())
}

#[tokio::test]
async fn pay_12_a_placement_asks_for_no_keys_that_are_known() -> Result<()> {
    let world = World::open().await?;
    world.placed(&[("TEE", 1)]).await?;
    let mut admin = world.db.admin().await?;
    admin.batch_execute("ALTER FUNCTION om_order.data_keys_of(uuid) RENAME TO data_keys_of_nobody").await?;
    world.placed(&[("TEE", 2)]).await?;
    let other = World { tenant: ids::TenantId::new(), ..world.clone() };
    other.known_as(contract::identity::v1::User { email_verified: true, ..Default::default() }).await;
    other.know(super::world::policy(), vec![super::world::product("TEE", 1999)]).await;
    assert!(other.placed(&[("TEE", 1)]).await.is_err(), "the keys of another shop are not known yet");
    Ok(())
}

#[tokio::test]
async fn pay_12_keys_turn_subscriptions_are_sealed_anew_and_old_orders_still_open() -> Result<()> {
    const FIRST: &str = "SELECT count(*) AS n FROM om_order.subscriptions \
        WHERE tenant_id = $1 AND substring(sealed FOR 5) = '\\x0100000001'";
    let world = World::open().await?;
    let placed = world.app.create(&world.ctx(), world.secret_order()).await?.response;
    let agreed = world.app.subscribe(&world.ctx(), world.secret_agreement()).await?.response;
    assert_eq!(world.number(FIRST).await?, 1);
    let mut admin = world.db.admin().await?;
    admin.batch_execute("UPDATE om_order.data_keys SET created_at = now() - interval '91 days'").await?;
    let cancel = CancellationToken::new();
    let job = tokio::spawn(world.app.safe.clone().keep(cancel.clone()));
    eventually(SOON, || async { Ok((world.number(FIRST).await? == 0).then_some(())) }).await?;
    cancel.cancel();
    job.await?;
    let id: SubscriptionId = agreed.id.parse()?;
    let now = world.app.subscription(&world.ctx(), id).await?;
    assert_eq!((now.shipping_address.clone(), now.etag.as_str()), (Some(home()), "1"));
    assert_eq!(world.read(&placed).await?.shipping_address, Some(home()));
    assert_eq!(world.app.renew_due(None, 10).await?.orders, 1);
    assert_eq!(now.state(), SubscriptionState::Active);
    Ok(())
}
