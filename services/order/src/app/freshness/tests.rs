use anyhow::{Context as _, Result};
use contract::order::v1::OrderState;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use pg::Parts;

use super::*;
use crate::app::find_orders::tests::Shop;
use crate::infra::cache::{Backend, Source};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn number(shop: &Shop, sql: &str) -> Result<i64> {
    let row: Number = diesel::sql_query(sql).get_result(&mut shop.db.admin().await?).await?;
    Ok(row.n)
}

/// What another process commits: this one knows nothing of it but by the log.
async fn written_elsewhere(shop: &Shop, id: OrderId) -> Result<()> {
    let sql = format!(
        "BEGIN; UPDATE om_order.orders SET version = version + 1, state = 16 WHERE order_id = '{id}';
         INSERT INTO om_order.events (tenant_id, stream_id, version, event_id, type, topic, payload, meta)
           SELECT tenant_id, order_id, version, gen_random_uuid(), 'x', 'order', '', '{{}}' FROM om_order.orders WHERE order_id = '{id}';
         COMMIT",
        id = id.uuid()
    );
    Ok(shop.db.admin().await?.batch_execute(&sql).await?)
}

#[tokio::test]
async fn ord_41_what_this_process_writes_is_read_at_once() -> Result<()> {
    let shop = Shop::open().await?;
    let mut listener = Listener::new(shop.pg.clone(), shop.reads.cache.clone());
    listener.hear().await?;
    let buyer = UserId::new();
    let order = shop.place(buyer, &["A"], 1000).await?;
    let (ctx, id) = (shop.customer(buyer), order.id.parse::<OrderId>()?);
    let states = [OrderState::PaymentProcessing, OrderState::PaymentCompleted, OrderState::FulfillmentPending];
    for state in states {
        listener.hear().await?;
        for source in [Source::Miss, Source::Hit] {
            assert_eq!(shop.reads.get(&ctx, id).await?.1, source, "{state:?}");
            assert_eq!(shop.reads.of_user(&ctx, buyer, 10, String::new()).await?.1, Some(source));
            assert_eq!(shop.reads.count(&shop.staff(), Filter::default()).await?.1, Some(source));
        }
        shop.lead(&order.id, &[state]).await?;
        let (read, source) = shop.reads.get(&ctx, id).await?;
        assert_eq!((read.state(), source), (state, Source::Miss));
        let ((list, _), source) = shop.reads.of_user(&ctx, buyer, 10, String::new()).await?;
        assert_eq!((list[0].state(), source), (state, Some(Source::Miss)));
    }
    listener.hear().await?;
    let counted = |shop: Shop| async move { shop.reads.count(&shop.staff(), Filter::default()).await };
    let before = shop.reads.count(&shop.staff(), Filter::default()).await?;
    assert_eq!(before.0.count, 1);
    shop.place(buyer, &["A"], 1000).await?;
    let (after, source) = counted(shop).await?;
    assert_eq!((after.count, source), (2, Some(Source::Miss)));
    Ok(())
}

#[tokio::test]
async fn ord_41_what_another_process_writes_is_read_when_the_log_was_heard() -> Result<()> {
    let shop = Shop::open().await?;
    let mut listener = Listener::new(shop.pg.clone(), shop.reads.cache.clone());
    listener.hear().await?;
    let buyer = UserId::new();
    let order = shop.place(buyer, &["A"], 1000).await?;
    let (ctx, id) = (shop.staff(), order.id.parse::<OrderId>()?);
    let ours = shop.reads.clone();
    listener.hear().await?;
    assert_eq!(ours.get(&ctx, id).await?.1, Source::Miss);
    assert_eq!(ours.get(&ctx, id).await?.1, Source::Hit);
    written_elsewhere(&shop, id).await?;
    listener.hear().await?;
    assert_eq!(ours.get(&ctx, id).await?.1, Source::Miss);
    listener.hear().await?;
    assert_eq!(ours.get(&ctx, id).await?.1, Source::Hit, "what was heard is not ended again");
    Ok(())
}

#[tokio::test]
async fn ord_41_copies_are_ended_although_the_commit_was_late() -> Result<()> {
    let shop = Shop::open().await?;
    let mut listener = Listener::new(shop.pg.clone(), shop.reads.cache.clone());
    listener.hear().await?;
    let order = shop.place(UserId::new(), &["A"], 1000).await?;
    let (ctx, id) = (shop.staff(), order.id.parse::<OrderId>()?);
    // It has its number before others that commit first.
    let mut late = shop.db.admin().await?;
    late.batch_execute("BEGIN; SELECT pg_current_xact_id()").await?;
    for _ in 0..3 {
        shop.place(UserId::new(), &["A"], 1000).await?;
        listener.hear().await?;
    }
    shop.reads.get(&ctx, id).await?;
    assert_eq!(shop.reads.get(&ctx, id).await?.1, Source::Hit);
    late.batch_execute(&format!(
        "INSERT INTO om_order.events (tenant_id, stream_id, version, event_id, type, topic, payload, meta)
           SELECT tenant_id, order_id, version + 1, gen_random_uuid(), 'x', 'order', '', '{{}}' FROM om_order.orders WHERE order_id = '{}';
         COMMIT",
        id.uuid()
    ))
    .await?;
    listener.hear().await?;
    assert_eq!(shop.reads.get(&ctx, id).await?.1, Source::Miss);
    Ok(())
}

#[tokio::test]
async fn ord_42_the_newest_orders_and_counts_are_warm_after_the_start() -> Result<()> {
    let (shop, metrics) = (Shop::open().await?, telemetry::metrics::install());
    let mut orders = Vec::new();
    for _ in 0..5 {
        orders.push(shop.place(UserId::new(), &["A"], 1000).await?.id.parse::<OrderId>()?);
    }
    // A process that has just started: nothing in memory, nothing in doubt.
    let mut listener = Listener::new(shop.pg.clone(), shop.reads.cache.clone());
    listener.hear().await?;
    for id in &orders {
        doubt::written(id.uuid(), i32::MAX);
    }
    assert_eq!(shop.reads.warm(3).await?, 4, "three orders and the count of their tenant");
    let shown = metrics.render();
    for line in ["cache_warmed_total{what=\"orders\"} 3", "cache_warmed_total{what=\"counts\"} 1"] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    let ctx = shop.staff();
    let mut sources = Vec::new();
    for id in orders {
        sources.push(shop.reads.get(&ctx, id).await?.1);
    }
    assert_eq!(sources, [Source::Miss, Source::Miss, Source::Hit, Source::Hit, Source::Hit]);
    assert_eq!(shop.reads.count(&ctx, Filter::default()).await?.1, Some(Source::Hit));
    assert_eq!(shop.reads.warm(3).await?, 0, "what is there is left");
    Ok(())
}

#[tokio::test]
async fn ord_41_copies_in_redis_that_cannot_be_ended_are_not_taken() -> Result<()> {
    let mut shop = Shop::open().await?;
    // Nobody listens there.
    shop.reads.cache = Cache::new(Backend::redis("redis://127.0.0.1:9")?);
    let mut listener = Listener::new(shop.pg.clone(), shop.reads.cache.clone());
    let order = shop.place(UserId::new(), &["A"], 1000).await?;
    assert!(listener.hear().await.is_err());
    for _ in 0..3 {
        let (read, source) = shop.reads.get(&shop.staff(), order.id.parse()?).await?;
        assert_eq!((read.order_number, source), (1, Source::Miss));
    }
    Ok(())
}

#[tokio::test]
async fn ord_39_the_lag_of_the_projection_is_measured() -> Result<()> {
    #[derive(QueryableByName)]
    struct Lag {
        #[diesel(sql_type = Double)]
        lag: f64,
    }
    let shop = Shop::open().await?;
    let order = shop.place(UserId::new(), &["A"], 1000).await?;
    shop.lead(&order.id, &[OrderState::PaymentProcessing]).await?;
    let lag = || async {
        let row: Lag = diesel::sql_query("SELECT order_lag() AS lag")
            .get_result(&mut shop.db.connect("om_order_worker").await?)
            .await?;
        Ok::<_, anyhow::Error>(row.lag)
    };
    assert!(lag().await?.abs() < f64::EPSILON);
    let mut admin = shop.db.admin().await?;
    admin.batch_execute("UPDATE om_order.orders SET version = version - 1; SELECT pg_sleep(0.01)").await?;
    assert!(lag().await? >= 0.01);
    gauge(&shop.pg).await;
    Ok(())
}

#[tokio::test]
async fn ord_40_a_job_makes_the_parts_of_the_next_three_months_and_only_their_owner_can() -> Result<()> {
    #[derive(QueryableByName)]
    struct Part {
        #[diesel(sql_type = Text)]
        part: String,
    }
    let shop = Shop::open().await?;
    let parts = || async {
        let rows: Vec<Part> = diesel::sql_query(
            "SELECT inhrelid::regclass::text AS part FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid \
             WHERE inhparent IN ('om_order.orders'::regclass, 'om_order.events'::regclass) AND c.relrowsecurity \
             AND c.relforcerowsecurity ORDER BY 1",
        )
        .load(&mut shop.db.admin().await?)
        .await?;
        Ok::<_, anyhow::Error>(rows.into_iter().map(|row| row.part).collect::<Vec<_>>())
    };
    let all = parts().await?;
    assert_eq!(all.len(), 8, "two tables, this month and three ahead: {all:?}");
    // Two months pass without anybody looking.
    let mut admin = shop.db.admin().await?;
    for lost in [&all[2], &all[3], &all[6], &all[7]] {
        admin.batch_execute(&format!("DROP TABLE {lost}")).await?;
    }
    for role in ["om_order", "om_order_worker"] {
        let refused = shop.db.connect(role).await?.batch_execute("SELECT om_make_parts(3)").await;
        assert!(refused.is_err(), "{role} may make parts");
    }
    let job = Parts::new(shop.db.target().clone(), "ordermesh".to_owned());
    job.make().await?;
    assert_eq!(parts().await?, all);
    job.make().await?;
    assert_eq!(parts().await?, all, "what is there is left");
    // Ids and numbers stay unique over all parts.
    let order = shop.place(UserId::new(), &["A"], 1000).await?;
    let id = order.id.parse::<OrderId>()?.uuid();
    assert_eq!(number(&shop, &format!("SELECT count(*) AS n FROM om_order.orders WHERE order_id = '{id}'")).await?, 1);
    let later = "overlay(o.order_id::text placing '01a2e000' from 1 for 8)::uuid";
    let again = format!(
        "SET search_path = om_order; INSERT INTO om_order.orders SELECT o.tenant_id, {later}, o.order_number, o.version, o.customer_id, o.state, o.base_state, \
           o.status_retail, o.status_lifecycle, o.currency, o.total_minor, o.skus, o.doc FROM om_order.orders o"
    );
    let taken = admin.batch_execute(&again).await.err().context("the number is taken")?;
    assert!(taken.to_string().contains("order_numbers_pkey"), "{taken}");
    Ok(())
}
