//! A fulfillment that was asked for works on what is set aside in its warehouse (INV-04).

use std::sync::Arc;

use contract::Event as _;
use contract::fulfillment::v1::{FulfillmentCancelled, FulfillmentRequested};
use contract::order::v1::OrderDelivered;
use fault::Fault;
use futures::FutureExt;
use outbox::{Delivery, Subscription};

use super::{call_off, use_up};
use crate::commands::AllocateReservation;
use crate::commands::allocate_reservation::run;

/// What inventory listens to.
pub fn subscription() -> Subscription {
    Subscription::new("inventory")
        .on_all(FulfillmentRequested::TYPE, |conn, deliveries| {
            async move { requested(conn, &deliveries).await }.boxed()
        })
        .on_all(FulfillmentCancelled::TYPE, |conn, deliveries| {
            async move { call_off::cancelled(conn, &deliveries).await }.boxed()
        })
        .on(OrderDelivered::TYPE, |conn, delivery| async move { use_up::delivered(conn, &delivery).await }.boxed())
}

async fn requested(conn: &mut pg::Conn, deliveries: &[Arc<Delivery>]) -> Result<(), pg::Error> {
    let Some(tenant) = deliveries.first().map(|delivery| delivery.ctx.tenant) else { return Ok(()) };
    let asked = deliveries.iter().map(|delivery| Ok((delivery.ctx.clone(), wanted(delivery)?)));
    let asked = asked.collect::<Result<Vec<_>, Fault>>()?;
    for (answer, (_, allocate)) in run(conn, tenant, &asked).await?.into_iter().zip(&asked) {
        match answer {
            // What works on them may have been called off, and the news of it is on its way: this comes again.
            Err(fault) if fault.reason() == "ALLOCATED_ELSEWHERE" => return Err(fault.into()),
            // Given back meanwhile, or never set aside here: nothing is left to bind, now or later.
            Err(fault) if matches!(fault.kind(), fault::Kind::Precondition | fault::Kind::NotFound) => {
                tracing::debug!(order = %allocate.order, reason = fault.reason(), "a fulfillment without its units");
            }
            done => drop(done?),
        }
    }
    Ok(())
}

fn wanted(delivery: &Delivery) -> Result<AllocateReservation, Fault> {
    let event: FulfillmentRequested = delivery.decode()?;
    Ok(AllocateReservation {
        order: event.order_id.parse().map_err(Fault::internal)?,
        warehouse: event.warehouse,
        fulfillment: event.fulfillment_id.parse().map_err(Fault::internal)?,
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use contract::Event;
    use ctx::{Cause, Ctx};
    use ids::{FulfillmentId, OrderId, TenantId};
    use jiff::Timestamp;
    use serve::page::Pages;
    use testkit::Db;
    use uuid::Uuid;

    use super::*;
    use crate::commands::{Inventory, ReserveStock};
    use crate::product::{Address, NewProduct, Warehouse};
    use crate::reservation::State;
    use crate::seed;
    use crate::stock::sum;

    struct World {
        inventory: Inventory,
        ctx: Ctx,
        order: OrderId,
    }

    /// An order with units in each of two warehouses.
    async fn world() -> Result<(Db, World)> {
        let db = Db::fresh("inventory", crate::MIGRATIONS).await?;
        let inventory = Inventory::new(db.pg("inventory"), Pages::new(&"k".repeat(32).into()));
        let ctx = Ctx::service("test", TenantId::new(), Cause::default(), Timestamp::now());
        let text = str::to_owned;
        let product = NewProduct {
            restrictions: Default::default(),
            sku: text("A"),
            display_name: text("A"),
            prices: vec![money::Money::new("USD".parse()?, 1)],
            tax_class: text("standard"),
            weight_grams: 1,
            kind: None,
        };
        seed::product(&inventory, &ctx, product).await?;
        for (code, priority) in [("W1", 0), ("W2", 1)] {
            let address = Address {
                recipient: text("Dock"),
                line1: text("1 Main St"),
                line2: text(""),
                city: text("Reno"),
                region: text("NV"),
                postal_code: text("89501"),
                country_code: text("US"),
            };
            let place = Warehouse { code: text(code), display_name: text(code), address, priority };
            seed::warehouse(&inventory, &ctx, place).await?;
            seed::stock(&inventory, &ctx, "A", code, 1).await?;
        }
        let (order, demand) = (OrderId::new(), sum([(text("A"), 2)])?);
        let wish = ReserveStock { order, demand, round: 1, hold_s: 900, split: true };
        inventory.reserve_stock(&ctx, wish).await?;
        inventory.confirm_reservation(&ctx, order).await?;
        Ok((db, World { inventory, ctx, order }))
    }

    impl World {
        async fn hear<E: Event + 'static>(&self, event: &E) -> Result<(), Fault> {
            let delivery = Arc::new(Delivery {
                ctx: self.ctx.clone(),
                event_id: Uuid::now_v7(),
                type_name: E::TYPE.to_owned(),
                stream: Uuid::now_v7(),
                version: 1,
                payload: event.encode_to_vec(),
            });
            let heard = self.inventory.pg.tx("test.hear", self.ctx.tenant, move |conn| {
                let deliveries = vec![Arc::clone(&delivery)];
                async move {
                    if E::TYPE == FulfillmentRequested::TYPE {
                        requested(conn, &deliveries).await
                    } else {
                        call_off::cancelled(conn, &deliveries).await
                    }
                }
                .boxed()
            });
            Ok(heard.await?)
        }

        async fn ask(&self, fulfillment: FulfillmentId, warehouse: &str) -> Result<(), Fault> {
            let (order_id, warehouse) = (self.order.to_string(), warehouse.to_owned());
            self.hear(&FulfillmentRequested { order_id, fulfillment_id: fulfillment.to_string(), warehouse }).await
        }

        async fn cancel(&self, fulfillment: FulfillmentId) -> Result<(), Fault> {
            let (order_id, fulfillment_id) = (self.order.to_string(), fulfillment.to_string());
            self.hear(&FulfillmentCancelled { order_id, fulfillment_id, ..Default::default() }).await
        }

        async fn bound(&self) -> Result<(State, Vec<Option<FulfillmentId>>)> {
            let it = self.inventory.get_reservation(&self.ctx, self.order).await?;
            Ok((it.state, it.allocations.iter().map(|a| a.fulfillment).collect()))
        }
    }

    #[tokio::test]
    async fn inv_04_units_of_a_fulfillment_that_was_called_off_are_bound_to_the_next() -> Result<()> {
        let (_db, world) = world().await?;
        let (first, other, next) = (FulfillmentId::new(), FulfillmentId::new(), FulfillmentId::new());
        world.ask(first, "W1").await?;
        world.ask(other, "W2").await?;
        assert_eq!(world.bound().await?, (State::Allocated, vec![Some(first), Some(other)]));
        // The next wish is heard before the end of the first: it is not forgotten, it comes again.
        let early = world.ask(next, "W1").await.expect_err("not yet");
        assert_eq!(early.reason(), "ALLOCATED_ELSEWHERE");
        for _ in 0..2 {
            world.cancel(first).await?;
            assert_eq!(world.bound().await?, (State::Confirmed, vec![None, Some(other)]));
        }
        world.ask(next, "W1").await?;
        world.ask(first, "W1").await?;
        world.cancel(first).await?;
        assert_eq!(world.bound().await?, (State::Allocated, vec![Some(next), Some(other)]));
        Ok(())
    }

    #[tokio::test]
    async fn inv_04_a_fulfillment_whose_wish_is_heard_after_its_end_binds_nothing() -> Result<()> {
        let (_db, world) = world().await?;
        let (first, next) = (FulfillmentId::new(), FulfillmentId::new());
        world.cancel(first).await?;
        world.ask(first, "W1").await?;
        assert_eq!(world.bound().await?, (State::Confirmed, vec![None, None]));
        world.ask(next, "W1").await?;
        assert_eq!(world.bound().await?, (State::Confirmed, vec![Some(next), None]));
        Ok(())
    }
}
