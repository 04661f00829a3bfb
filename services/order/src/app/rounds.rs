//! Rounds of paying an order: each is a run of the saga that places it, under an id of its own (PAY-18).
//!
//! The first run shares the order's id. Participants are told the round with every call, so that what an earlier run
//! still has on its way changes nothing for a later one.

use ctx::Ctx;
use fault::{Fault, Kind};
use ids::{OrderId, TenantId};
use pg::Conn;
use saga::{Definition, Run};
use uuid::Uuid;

use crate::app::App;
use crate::app::place_saga::{Steps, table};
use crate::domain::order::Order;
use crate::infra::store::Store;

/// Name of the table of later rounds: the steps are those of a placed order.
pub const KIND: &str = "pay_again";
/// In a saga's state: the round.
pub const ROUND: &str = "round";

/// The table.
pub fn definition(steps: &Steps) -> Definition {
    table(KIND, steps)
}

/// The saga of a round of paying an order.
pub fn run_of(order: OrderId, round: i32) -> Uuid {
    if round <= 1 {
        return order.uuid();
    }
    // Of the same time as the order, for streams are kept by it.
    let mut bytes = *Uuid::new_v5(&order.uuid(), format!("round {round}").as_bytes()).as_bytes();
    bytes[..6].copy_from_slice(&order.uuid().as_bytes()[..6]);
    Uuid::from_bytes(bytes)
}

/// The saga of the round that an order is in.
pub fn run(order: &Order) -> Uuid {
    order.doc.id.parse().map_or_else(|_| Uuid::nil(), |id| run_of(id, order.round()))
}

/// The round that a saga is of.
pub fn round(run: &Run) -> i32 {
    run.state[ROUND].as_i64().and_then(|round| i32::try_from(round).ok()).unwrap_or(1)
}

/// The saga of the round that an order is in, for who locks that before the order; see [`same_run`].
///
/// # Errors
/// NotFound `ORDER_NOT_FOUND`.
pub async fn run_in(conn: &mut Conn, tenant: TenantId, id: OrderId) -> Result<Uuid, pg::Error> {
    Ok(run(&Store::get_in(conn, tenant, id).await?))
}

/// Makes sure that no other round began between the two looks.
///
/// # Errors
/// Aborted `VERSION_CONFLICT`.
pub fn same_run(order: &Order, locked: Uuid) -> Result<(), Fault> {
    if run(order) == locked {
        return Ok(());
    }
    Err(Fault::aborted("VERSION_CONFLICT", "the order was changed at the same moment"))
}

impl App {
    /// The saga of the round that an order is in; that of the first for an order that is not there.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn latest_run(&self, ctx: &Ctx, id: OrderId) -> Result<Uuid, Fault> {
        match self.store.get(ctx.tenant, id).await {
            Ok(order) => Ok(run(&order)),
            Err(fault) if fault.kind() == Kind::NotFound => Ok(id.uuid()),
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pay_18_each_round_has_a_saga_of_its_own_and_of_the_orders_time() {
        let (order, other) = (OrderId::new(), OrderId::new());
        assert_eq!(run_of(order, 1), order.uuid());
        let mut runs: Vec<Uuid> = (1..=4).flat_map(|round| [run_of(order, round), run_of(other, round)]).collect();
        assert!((1..=4).all(|round| run_of(order, round).as_bytes()[..6] == order.uuid().as_bytes()[..6]));
        runs.sort_unstable();
        runs.dedup();
        assert_eq!((runs.len(), run_of(order, 3)), (8, run_of(order, 3)));
    }
}
