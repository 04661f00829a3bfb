use anyhow::Result;
use diesel_async::SimpleAsyncConnection;
use fault::Fault;
use futures::future::join_all;
use ids::OrderId;
use inventory::{Reservation, State};

use crate::shop::Shop;

fn reasons(answers: Vec<Result<Reservation, Fault>>) -> Vec<String> {
    let reason = |answer: Result<Reservation, Fault>| answer.err().map(|fault| fault.reason().to_owned());
    answers.into_iter().filter_map(reason).collect()
}

/// A unit for each order, all in one batch.
async fn at_once(shop: &Shop, wishes: &[(OrderId, String)]) -> Vec<Result<Reservation, Fault>> {
    let each = wishes.iter().map(|(order, sku)| async move { shop.reserve(*order, &[(sku, 1)], true).await });
    join_all(each).await
}

#[tokio::test]
async fn inv_02_an_order_that_breaks_its_batch_is_the_only_one_that_fails() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[100]).await?;
    let wishes: Vec<(OrderId, String)> =
        (0..30).map(|at| (OrderId::new(), if at == 17 { "no\0text" } else { "A" }.to_owned())).collect();
    let answers = at_once(&shop, &wishes).await;
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), at != 17, "{at}: {answer:?}");
    }
    assert_eq!(reasons(answers), ["NUL_CHARACTER"]);
    assert_eq!((shop.levels("A").await?, shop.drift().await?), (vec![(100, 29)], 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_while_a_hot_product_is_locked_the_shop_sells_all_others() -> Result<()> {
    let mut shop = Shop::open().await?.stocked("HOT", &[100]).await?;
    for at in 0..5 {
        shop = shop.stocked(&format!("COLD-{at}"), &[100]).await?;
    }
    let mut holder = shop.db.admin().await?;
    holder.batch_execute("BEGIN; SELECT FROM om_inventory.stock WHERE sku = 'HOT' FOR UPDATE").await?;
    let wishes =
        (0..45).map(|at| (OrderId::new(), if at % 9 == 4 { "HOT".to_owned() } else { format!("COLD-{}", at % 5) }));
    let wishes: Vec<(OrderId, String)> = wishes.collect();
    let answers = at_once(&shop, &wishes).await;
    for ((_, sku), answer) in wishes.iter().zip(&answers) {
        assert_eq!(answer.is_ok(), sku != "HOT", "{sku}: {answer:?}");
    }
    assert_eq!(reasons(answers), ["IN_FLIGHT"; 5]);
    holder.batch_execute("ROLLBACK").await?;
    for (order, sku) in &wishes {
        shop.reserve(*order, &[(sku, 1)], true).await?;
    }
    assert_eq!((shop.levels("HOT").await?, shop.drift().await?), (vec![(100, 5)], 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_reservation_that_is_locked_keeps_no_other_from_being_confirmed() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[100]).await?;
    let orders: Vec<OrderId> = (0..20).map(|_| OrderId::new()).collect();
    for reserved in join_all(orders.iter().map(|order| shop.reserve(*order, &[("A", 1)], true))).await {
        reserved?;
    }
    let mut holder = shop.db.admin().await?;
    let locked = orders[7].uuid();
    let lock = format!("BEGIN; SELECT FROM om_inventory.reservations WHERE order_id = '{locked}' FOR UPDATE");
    holder.batch_execute(&lock).await?;
    let answers = join_all(orders.iter().map(|order| shop.inventory.confirm_reservation(&shop.ctx, *order))).await;
    holder.batch_execute("ROLLBACK").await?;
    for (order, answer) in orders.iter().zip(&answers) {
        assert_eq!(answer.as_ref().ok().map(|it| it.state), (order.uuid() != locked).then_some(State::Confirmed));
    }
    assert_eq!(reasons(answers), ["IN_FLIGHT"]);
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, orders[7]).await?.state, State::Confirmed);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}
