//! Failed payments that are tried again (PAY-18).

use anyhow::{Context as _, Result};
use contract::identity::v1::User;
use contract::inventory::v1::ProductRestrictions;
use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use ctx::Ctx;
use diesel::QueryableByName;
use diesel::sql_types::{Jsonb, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::{Fault, Kind};
use futures::FutureExt;
use futures::future::{join, join_all};
use ids::{OrderId, TenantId};
use jiff::{SignedDuration, Timestamp};
use pg::{Conn, Once};
use serde_json::Value;

use super::world::{World, policy, product, reason, subject};
use crate::app::cancel_order::CancelOrder;
use crate::app::retry_payment::{RetryPayment, paid_outside};
use crate::app::rounds::run_of;
use crate::domain::event::OrderEvent;
use crate::infra::seal::{Spot, column};
use crate::infra::store::{Store, wire_time};

fn again(order: &wire::Order, payment_method: &str, reason: &str) -> RetryPayment {
    RetryPayment { subject: subject(order), payment_method: payment_method.to_owned(), reason: reason.to_owned() }
}

/// The payment of an order fails as its saga would have it; nothing is undone yet.
async fn fails(world: &World, order: &wire::Order) -> Result<wire::Order> {
    if world.get(order).await?.state() == OrderState::Pending {
        world.lead(order, &[OrderState::PaymentProcessing]).await?;
    }
    let (ctx, id) = (world.csr(), order.id.parse::<OrderId>()?);
    let failed = world.app.store.pg.tx("test.fail", world.tenant, move |conn: &mut Conn| {
        let ctx = ctx.clone();
        async move {
            let order = Store::get_in(conn, ctx.tenant, id).await?;
            let events = order.fail_payment("card_declined", wire_time(ctx.now)).map_err(Fault::internal)?;
            Ok(Store::append(conn, &ctx, &order, &events).await?.doc)
        }
        .boxed()
    });
    Ok(failed.await?)
}

/// Every saga of the shop is undone.
async fn undone(world: &World) -> Result<()> {
    let sql = "UPDATE om_order.sagas SET status = 'compensated' WHERE tenant_id = $1";
    let query = diesel::sql_query(sql).bind::<SqlUuid, _>(world.tenant.uuid());
    query.execute(&mut world.db.admin().await?).await?;
    Ok(())
}

async fn failed(world: &World, items: &[(&str, i32)]) -> Result<wire::Order> {
    let order = world.placed(items).await?;
    let order = fails(world, &order).await?;
    undone(world).await?;
    Ok(order)
}

/// The run of a round: its kind, why it is to be undone, and what it starts with.
async fn run(world: &World, order: &wire::Order, round: i32) -> Result<(String, Value)> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Jsonb)]
        doc: Value,
    }
    let sql = "SELECT kind, state || jsonb_build_object('undo', undo_reason) AS doc FROM om_order.sagas \
        WHERE tenant_id = $1 AND saga_id = $2";
    let query = diesel::sql_query(sql).bind::<SqlUuid, _>(world.tenant.uuid());
    let query = query.bind::<SqlUuid, _>(run_of(order.id.parse()?, round));
    let row: Row = query.get_result(&mut world.db.admin().await?).await?;
    Ok((row.kind, row.doc))
}

async fn token(world: &World, order: &wire::Order, state: &Value) -> Result<String> {
    let spot = Spot { tenant: world.tenant, column: column::SAGA_TOKEN, row: &order.id };
    Ok(world.app.safe.open_text(spot, state["payment_method"].as_str().context("a token")?).await?)
}

fn later(ctx: Ctx, by: SignedDuration) -> Result<Ctx> {
    Ok(Ctx { now: ctx.now.checked_add(by)?, ..ctx })
}

#[tokio::test]
async fn pay_18_a_failed_payment_is_tried_again_in_a_run_of_its_own_once_the_last_is_undone() -> Result<()> {
    let world = World::open().await?;
    let order = world.placed(&[("TEE", 2)]).await?;
    let command = again(&order, "pm_sim_other", "");
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &command).await), "ORDER_STATE_FORBIDS");
    let order = fails(&world, &order).await?;
    let early = world.app.retry_payment(&world.ctx(), &command).await.err().context("the undo is not over")?;
    assert_eq!((early.reason(), early.retryable(), early.wait().is_some()), ("PAYMENT_UNDO_PENDING", true, true));
    undone(&world).await?;

    let key = || world.keyed(world.ctx(), "again", 1);
    let begun = world.app.retry_payment(&key(), &command).await?;
    let payment = begun.response.payment.clone().context("a payment")?;
    assert_eq!((begun.replayed, begun.response.state()), (false, OrderState::PaymentProcessing));
    assert_eq!((payment.round, payment.retries_left, payment.decline_reason.as_str()), (2, 2, ""));
    assert_eq!(begun.response.totals, order.totals, "prices stay");
    let repeat = world.app.retry_payment(&key(), &command).await?;
    assert_eq!((repeat.replayed, &repeat.response), (true, &begun.response));
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &command).await), "ORDER_STATE_FORBIDS");
    assert_eq!((world.count("sagas").await?, world.numbers().await?), (2, vec![1]));

    let ((kind, first), (of, next)) = (run(&world, &order, 1).await?, run(&world, &order, 2).await?);
    assert_eq!((kind.as_str(), of.as_str()), ("place", "pay_again"));
    assert_eq!((&next["subject"], &next["round"]), (&Value::from(order.id.as_str()), &Value::from(2)));
    assert_eq!((&next["hold_s"], &next["split"]), (&first["hold_s"], &first["split"]));
    assert_eq!(
        (token(&world, &order, &first).await?, token(&world, &order, &next).await?),
        ("pm_sim_visa".to_owned(), "pm_sim_other".to_owned())
    );
    assert!(!next.to_string().contains("pm_sim"), "the token is sealed");
    let events = world.events(&order).await?;
    assert_eq!(events[events.len() - 2..], ["OrderPaymentRetried", "OrderStatusChanged"]);
    assert!(world.verified(&order).await?);
    let shown = world.app.saga(&world.csr(), world.app.latest_run(&world.csr(), order.id.parse()?).await?).await?;
    assert!(shown.id.starts_with("sag_") && shown.order_id == order.id, "{shown:?}");
    Ok(())
}

#[tokio::test]
async fn pay_18_staff_says_why_and_may_leave_the_payment_method_as_it_was() -> Result<()> {
    let world = World::open().await?;
    let order = failed(&world, &[("TEE", 1)]).await?;
    let silent = world.app.retry_payment(&world.csr(), &again(&order, "", " ")).await;
    assert_eq!(silent.err().context("no reason")?.violations()[0].field, "reason");
    let ctx = world.csr();
    let begun = world.app.retry_payment(&ctx, &again(&order, "", "the bank was away")).await?.response;
    assert_eq!(begun.state(), OrderState::PaymentProcessing);
    assert_eq!(token(&world, &order, &run(&world, &order, 2).await?.1).await?, "pm_sim_visa");
    let history = world.app.history(&world.ctx(), order.id.parse()?).await?.events;
    let entry = history.iter().find(|event| event.r#type == "OrderPaymentRetried").context("it is in the history")?;
    let actor = entry.actor.clone().context("somebody did it")?;
    assert_eq!((actor.kind.as_str(), actor.id), ("user", ctx.principal.actor().1));
    assert!(entry.payload_json.contains("the bank was away"), "{}", entry.payload_json);
    Ok(())
}

#[tokio::test]
async fn pay_18_bad_input_and_what_is_not_the_callers_change_nothing() -> Result<()> {
    let world = World::open().await?;
    let order = failed(&world, &[("TEE", 1)]).await?;
    let long = "p".repeat(256);
    for method in ["", &long, "4242424242424242", "pm with spaces"] {
        let fault = world.app.retry_payment(&world.ctx(), &again(&order, method, "")).await.err().context("refused")?;
        assert_eq!((fault.kind(), fault.violations()[0].field.as_str()), (Kind::Invalid, "payment_method"), "{method}");
    }
    let wordy = world.app.retry_payment(&world.ctx(), &again(&order, "pm_sim_visa", &long)).await;
    assert_eq!(wordy.err().context("refused")?.violations()[0].field, "reason");
    let good = again(&order, "pm_sim_visa", "");
    let nobody = RetryPayment {
        subject: subject(&wire::Order { id: OrderId::new().to_string(), ..order.clone() }),
        ..good.clone()
    };
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &nobody).await), "ORDER_NOT_FOUND");
    let stranger = world.another().await.ctx();
    assert_eq!(reason(world.app.retry_payment(&stranger, &good).await), "ORDER_NOT_FOUND");
    let abroad = World { tenant: TenantId::new(), ..world.clone() };
    assert_eq!(reason(world.app.retry_payment(&abroad.ctx(), &good).await), "ORDER_NOT_FOUND");
    let mut stale = good.clone();
    "1".clone_into(&mut stale.subject.etag);
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &stale).await), "ETAG_MISMATCH");
    world.known_as(User { email_verified: true, blocked: true, ..User::default() }).await;
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &good).await), "CUSTOMER_NOT_ELIGIBLE");
    assert_eq!((world.count("sagas").await?, world.get(&order).await?.state()), (1, OrderState::PaymentFailed));
    Ok(())
}

#[tokio::test]
async fn pay_18_three_times_within_a_day_of_the_first_failure_and_what_is_left_is_said() -> Result<()> {
    let world = World::open().await?;
    let order = failed(&world, &[("TEE", 1)]).await?;
    let until = order.payment.clone().and_then(|payment| payment.retry_until).context("an end")?;
    let command = again(&order, "pm_sim_visa", "");
    let late = later(world.ctx(), SignedDuration::from_hours(24) + SignedDuration::from_secs(5))?;
    let fault = world.app.retry_payment(&late, &command).await.err().context("too late")?;
    assert_eq!((fault.kind(), fault.reason()), (Kind::Precondition, "PAYMENT_RETRY_TOO_LATE"));
    let said: Timestamp = fault.metadata()["retry_until"].parse()?;
    assert_eq!((said.as_second(), fault.metadata()["retries_left"].as_str()), (until.seconds, "3"));
    for left in [2, 1, 0] {
        let begun = world.app.retry_payment(&world.ctx(), &command).await?.response;
        assert_eq!(begun.payment.context("a payment")?.retries_left, left);
        let again = fails(&world, &order).await?.payment.context("a payment")?;
        assert_eq!(again.retry_until, Some(until), "counted from the first failure");
        undone(&world).await?;
    }
    let fault = world.app.retry_payment(&world.ctx(), &command).await.err().context("three were enough")?;
    assert_eq!((fault.kind(), fault.reason()), (Kind::Precondition, "PAYMENT_RETRIES_EXHAUSTED"));
    assert_eq!((fault.metadata()["retries_left"].as_str(), world.count("sagas").await?), ("0", 4));
    assert!(world.verified(&order).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pay_18_many_retries_at_once_are_one_run() -> Result<()> {
    let world = World::open().await?;
    for turn in 0..15_u8 {
        let order = failed(&world, &[("TEE", 1)]).await?;
        let (sagas, command) = (world.count("sagas").await?, again(&order, "pm_sim_visa", ""));
        let tries = (0..4_u8).map(|caller| {
            let (world, command) = (world.clone(), command.clone());
            // Two of the four share a key.
            let ctx = world.keyed(world.ctx(), &format!("{turn}/{}", caller.max(1)), 1);
            async move { world.app.retry_payment(&ctx, &command).await }
        });
        let answers = join_all(tries).await;
        let begun = answers.iter().flatten().filter(|once| !once.replayed).count();
        assert_eq!(begun, 1, "turn {turn}");
        let refused = |answer: &Result<Once<wire::Order>, Fault>| {
            answer.as_ref().err().is_none_or(|fault| ["ORDER_STATE_FORBIDS", "IN_FLIGHT"].contains(&fault.reason()))
        };
        assert!(answers.iter().all(refused), "turn {turn}: {answers:?}");
        assert_eq!(world.count("sagas").await?, sagas + 1, "turn {turn}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pay_18_a_cancellation_races_a_retry_and_never_leaves_a_run_that_goes_on() -> Result<()> {
    let world = World::open().await?;
    for turn in 0..20 {
        let order = failed(&world, &[("TEE", 1)]).await?;
        let (by, command) = (world.ctx(), again(&order, "pm_sim_visa", ""));
        let cancel = CancelOrder { id: order.id.parse()?, reason: "changed my mind".to_owned(), etag: String::new() };
        let (retried, cancelled) = join(world.app.retry_payment(&by, &command), world.app.cancel(&by, cancel)).await;
        cancelled?;
        let now = world.get(&order).await?;
        match retried {
            Ok(_) => {
                assert_eq!(now.state(), OrderState::CancellationPending, "turn {turn}");
                assert_eq!(run(&world, &order, 2).await?.1["undo"], "CANCELLED", "turn {turn}");
                assert!(run(&world, &order, 1).await?.1["undo"].is_null(), "turn {turn}");
            }
            Err(fault) => {
                assert_eq!(
                    (fault.reason(), now.state()),
                    ("ORDER_STATE_FORBIDS", OrderState::Cancelled),
                    "turn {turn}"
                );
                assert!(run(&world, &order, 2).await.is_err(), "turn {turn}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn pay_18_units_that_a_customer_may_have_only_some_of_count_once() -> Result<()> {
    let world = World::open().await?;
    let restrictions = Some(ProductRestrictions { max_per_customer: 5, ..ProductRestrictions::default() });
    world.know(policy(), vec![contract::inventory::v1::Product { restrictions, ..product("RARE", 1000) }]).await;
    let order = failed(&world, &[("RARE", 3)]).await?;
    let other = world.placed(&[("RARE", 3)]).await?;
    let command = again(&order, "pm_sim_visa", "");
    assert_eq!(reason(world.app.retry_payment(&world.ctx(), &command).await), "PRODUCT_RESTRICTED");
    assert_eq!((world.count("sagas").await?, world.get(&order).await?.state()), (2, OrderState::PaymentFailed));
    fails(&world, &other).await?;
    world.app.retry_payment(&world.ctx(), &command).await?;
    assert_eq!(reason(world.app.create(&world.ctx(), world.order(&[("RARE", 3)])).await), "PRODUCT_RESTRICTED");
    world.placed(&[("RARE", 2)]).await?;
    Ok(())
}

#[tokio::test]
async fn pay_18_an_order_whose_money_came_from_outside_goes_on_and_no_other_does() -> Result<()> {
    let world = World::open().await?;
    let (order, alive) = (failed(&world, &[("TEE", 1)]).await?, world.placed(&[("CAP", 1)]).await?);
    for id in [&order.id, &alive.id, &order.id] {
        let (ctx, id, table) = (world.csr(), id.parse::<OrderId>()?, world.app.pay_again.clone());
        let told = world.app.store.pg.tx("test.paid", world.tenant, move |conn: &mut Conn| {
            let (ctx, table) = (ctx.clone(), table.clone());
            async move { paid_outside(conn, &ctx, &table, id, "cheque 120").await }.boxed()
        });
        told.await?;
    }
    let paid = world.get(&order).await?;
    let payment = paid.payment.clone().context("a payment")?;
    assert_eq!((paid.state(), payment.round, payment.retries_left), (OrderState::PaymentProcessing, 2, 3));
    assert_eq!(world.get(&alive).await?.state(), OrderState::Pending);
    assert_eq!(world.count("sagas").await?, 3);
    let retried = OrderEvent::PaymentRetried(wire::OrderPaymentRetried::default()).encode().0;
    assert!(world.events(&order).await?.iter().any(|name| retried.ends_with(name.as_str())));
    Ok(())
}
