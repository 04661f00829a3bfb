//! Gives what is set aside back, once (INV-03).

use contract::inventory::v1::StockReservationReleased;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::OrderId;

use super::Inventory;
use crate::reservation::{Release, Reservation, State};
use crate::store;

impl Inventory {
    /// Gives the units of a round of paying back, never those of a later one; an order or round that was never seen
    /// gets a mark that refuses it later.
    ///
    /// # Errors
    /// Of the database only.
    pub async fn release_reservation(&self, ctx: &Ctx, order: OrderId, round: i32) -> Result<Reservation, Fault> {
        let context = ctx.clone();
        Ok(self
            .pg
            .tx("inventory.release", ctx.tenant, move |conn| {
                let ctx = context.clone();
                async move { run(conn, &ctx, order, round).await }.boxed()
            })
            .await?)
    }
}

async fn run(conn: &mut pg::Conn, ctx: &Ctx, order: OrderId, round: i32) -> Result<Reservation, pg::Error> {
    let Some(found) = store::lock(conn, ctx.tenant, &[order], &[]).await?.reservations.pop() else {
        return store::mark(conn, ctx.tenant, order, round).await;
    };
    if found.round > round {
        return Ok(found);
    }
    let ended = match found.release() {
        Release::Nothing => found,
        Release::Mark => return store::mark(conn, ctx.tenant, order, round).await,
        Release::GiveBack => give_back(conn, ctx, found, State::Released).await?,
    };
    if ended.state == State::Released && ended.round < round {
        return store::mark(conn, ctx.tenant, order, round).await;
    }
    Ok(ended)
}

/// Ends a locked reservation as released or expired.
pub(crate) async fn give_back(
    conn: &mut pg::Conn,
    ctx: &Ctx,
    found: Reservation,
    to: State,
) -> Result<Reservation, pg::Error> {
    let event = StockReservationReleased {
        reservation_id: found.id.to_string(),
        order_id: found.order.to_string(),
        expired: to == State::Expired,
    };
    store::end(conn, ctx, &found, to, store::event(&event)).await?;
    Ok(Reservation { state: to, version: found.version + 1, ..found })
}

/// What a command on an ended reservation is told.
pub(crate) fn ended(reservation: &Reservation) -> Fault {
    Fault::precondition("RESERVATION_ENDED", "what was set aside for this order was given back")
        .with("state", reservation.state.as_str())
}
