//! An order that is paid again has its stock set aside again (PAY-18).

use anyhow::Result;
use futures::future::{join, join_all};
use ids::OrderId;
use inventory::{ReserveStock, State};

use crate::shop::{HOLD_S, Shop, wish};

fn of_round(order: OrderId, round: i32, units: i32) -> ReserveStock {
    ReserveStock { round, ..wish(order, &[("A", units)], HOLD_S, true) }
}

#[tokio::test]
async fn pay_18_a_later_round_reserves_anew_and_nothing_of_an_earlier_one_touches_it() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5]).await?;
    let (order, it) = (OrderId::new(), &shop.inventory);
    let first = it.reserve_stock(&shop.ctx, of_round(order, 1, 3)).await?;
    let early = it.reserve_stock(&shop.ctx, of_round(order, 2, 3)).await.expect_err("the first round still holds");
    assert_eq!((early.reason(), early.retryable()), ("EARLIER_ROUND_HOLDS", true));
    it.release_reservation(&shop.ctx, order, 1).await?;

    let second = it.reserve_stock(&shop.ctx, of_round(order, 2, 3)).await?;
    assert_ne!(second.id, first.id, "a reservation of its own, with events of its own");
    assert_eq!((second.state, second.round, shop.levels("A").await?), (State::Held, 2, vec![(5, 3)]));
    // What the first round still had on its way comes late.
    assert_eq!(it.release_reservation(&shop.ctx, order, 1).await?.state, State::Held);
    let late = it.reserve_stock(&shop.ctx, of_round(order, 1, 3)).await.expect_err("its time is over");
    assert_eq!(late.reason(), "RESERVATION_RELEASED");
    assert_eq!(it.reserve_stock(&shop.ctx, of_round(order, 2, 3)).await?.id, second.id, "the same again");
    assert_eq!(shop.levels("A").await?, [(5, 3)]);

    it.release_reservation(&shop.ctx, order, 2).await?;
    let over = it.reserve_stock(&shop.ctx, of_round(order, 2, 3)).await.expect_err("given back");
    assert_eq!(over.reason(), "RESERVATION_RELEASED");
    // A release that comes before its reservation refuses it.
    assert_eq!(it.release_reservation(&shop.ctx, order, 3).await?.state, State::Released);
    let marked = it.reserve_stock(&shop.ctx, of_round(order, 3, 1)).await.expect_err("marked");
    assert_eq!(marked.reason(), "RESERVATION_RELEASED");
    let short = it.reserve_stock(&shop.ctx, of_round(order, 4, 6)).await.expect_err("five are there");
    assert_eq!(short.reason(), "OUT_OF_STOCK");
    assert_eq!((shop.levels("A").await?, shop.drift().await?), (vec![(5, 0)], 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pay_18_a_late_release_of_the_former_round_races_the_new_one_and_takes_nothing() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[100]).await?;
    for _ in 0..30 {
        let (order, it) = (OrderId::new(), &shop.inventory);
        it.reserve_stock(&shop.ctx, of_round(order, 1, 1)).await?;
        it.release_reservation(&shop.ctx, order, 1).await?;
        let late = join_all((0..4).map(|_| it.release_reservation(&shop.ctx, order, 1)));
        let (reserved, late) = join(it.reserve_stock(&shop.ctx, of_round(order, 2, 1)), late).await;
        late.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(reserved?.state, State::Held);
        assert_eq!(it.confirm_reservation(&shop.ctx, order).await?.round, 2);
    }
    assert_eq!((shop.levels("A").await?, shop.drift().await?), (vec![(100, 30)], 0));
    Ok(())
}
