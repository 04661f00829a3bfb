//! The saga of a change: waits for somebody to agree, calls the warehouses off, sets aside what is new, has the bank
//! hold more, lets go of what is not wanted any more, makes it true and asks the warehouses again (`domain.md` 4.5
//! Change). What is refused or not agreed to leaves the order as it was: until the bank has agreed, nothing is given to
//! others that might have to be taken back.
//!
//! The warehouse decides the race against a parcel that is being packed: where it has begun, nothing changes. Of an
//! order that was held before all of its warehouses had accepted, those that had are called off as well, and the saga
//! that placed it asks them all.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::common::v1::Money;
use contract::fulfillment::v1::CancelFulfillmentRequest;
use contract::fulfillment::v1::fulfillment_service_client::FulfillmentServiceClient;
use contract::inventory::v1::reservation_desk_service_client::ReservationDeskServiceClient;
use contract::inventory::v1::{DemandLine, ResizeReservationRequest};
use contract::order::v1 as wire;
use contract::order::v1::{OrderChangeState as C, OrderState};
use contract::payment::v1::IncrementAuthorizationRequest;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use fault::Fault;
use ids::{ChangeId, OrderId};
use saga::{Definition, Outcome, Run, Step};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::place_saga::{Steps, Try, act, advance, is_service, undone};
use crate::domain::order::{Order, Refusal};

/// Name of the table.
pub const KIND: &str = "change";
/// Index of the step that waits for somebody to agree.
pub const AWAIT: i16 = 0;

/// Why a change ends when a warehouse has begun.
pub const STARTED: &str = "FULFILLMENT_STARTED";
/// Tries with a warehouse, about a day, before a person has to look.
const TRIES: i32 = 60;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1800));

/// What a change may ask of stock, one after the other: both, the new lines, the old ones again.
const STOCK_WISHES: i32 = 3;

/// In the saga's state: the revision below which warehouses were called off.
const CALLED_OFF: &str = "called_off";
/// In the saga's state: why it ends.
const WHY: &str = "why";

/// What the saga of a change starts with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeState {
    /// The order; where every saga says of which order it is.
    pub subject: OrderId,
    /// Lines may be split over warehouses.
    pub split: bool,
    /// Version of the order that the change is based on: later changes have higher ones.
    pub revision: i32,
}

/// The table.
pub fn definition(steps: &Steps) -> Definition {
    let table = vec![
        Step::new("await_agreement", act!(steps, await_agreement)),
        // What nobody knows the end of is for a person, so that one try more never comes.
        Step::new("recall_warehouses", act!(steps, recall_warehouses))
            .timeout(Duration::from_secs(30))
            .tries(TRIES + 1)
            .backoff(BACKOFF.0, BACKOFF.1)
            .undo(act!(steps, send_back)),
        Step::new("resize_stock", act!(steps, resize_stock))
            .timeout(Duration::from_secs(7))
            .tries(8)
            .undo(act!(steps, restore_stock)),
        // What the bank holds too much is never taken: there is nothing to undo.
        Step::new("raise_authorization", act!(steps, raise_hold)).timeout(Duration::from_secs(17)).tries(8),
        // Before the change is true, for then the saga that placed the order may cut what is set aside into parcels.
        Step::new("shrink_stock", act!(steps, shrink_stock)).timeout(Duration::from_secs(7)).tries(TRIES),
        Step::new("apply_change", act!(steps, apply_change)).tries(60),
        Step::new("request_again", act!(steps, request_again))
            .timeout(Duration::from_secs(30))
            .tries(TRIES)
            .backoff(BACKOFF.0, BACKOFF.1)
            .forward_only(),
    ];
    Definition::new(KIND, 3, table).when_undone(act!(steps, close_change))
}

impl Steps {
    async fn await_agreement(self, run: Run) -> Try {
        let (_, change) = self.changed_order(&run).await?;
        match change.state() {
            C::Confirmed | C::Applied => Ok(Outcome::done(run.state)),
            C::Requested => {
                let until = change.expire_time.map_or(0, |until| until.seconds);
                let left = until.saturating_sub(run.ctx.now.as_second());
                if left <= 0 {
                    return Err(refusal("EXPIRED", run.state));
                }
                let at_most = Duration::from_secs(left.unsigned_abs());
                Ok(Outcome::Wait { state: run.state, at_most, append: None })
            }
            C::Declined | C::Expired | C::Failed | C::Unspecified => Err(refusal("DECLINED", run.state)),
        }
    }

    async fn recall_warehouses(self, run: Run) -> Try {
        let (order, _) = self.changed_order(&run).await?;
        if is_service(&order) {
            return Ok(Outcome::done(run.state));
        }
        let revision = revision(&run).map_err(attention)?;
        let request = CancelFulfillmentRequest { order_id: order.doc.id, revision };
        let mut client = FulfillmentServiceClient::new(self.peers.to("fulfillment"));
        let answer = client.cancel_fulfillment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        match answer.map_err(Fault::from) {
            // Those that were called off before are asked again by the undo.
            Err(fault) if fault.reason() == "ORDER_IN_PICKING" => Err(refusal(STARTED, run.state)),
            // Nobody knows what the warehouse did: the lock stays until somebody does.
            Err(fault) if run.attempt >= TRIES => Ok(Outcome::Attention { reason: fault.to_string() }),
            Ok(_) => {
                let mut state = run.state;
                state[CALLED_OFF] = revision.into();
                Ok(Outcome::done(state))
            }
            Err(fault) => Ok(undone(Err::<(), _>(tonic::Status::from(fault)), run)),
        }
    }

    /// The warehouses are asked for what the order was before the change.
    async fn send_back(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        if !was_asked_for(&change) {
            return Ok(Outcome::done(run.state));
        }
        let revision = revision(&run).map_err(attention)?.saturating_add(1);
        let asked = self.ask_again(&run, &order, revision).await?;
        Ok(undone(asked.map_err(tonic::Status::from), run))
    }

    async fn request_again(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        if !was_asked_for(&change) {
            return Ok(Outcome::done(run.state));
        }
        let revision = revision(&run).map_err(attention)?;
        match self.ask_again(&run, &order, revision).await? {
            Ok(()) => Ok(Outcome::done(run.state)),
            // The order was cancelled meanwhile, or is being changed again: whoever called off sees to the rest.
            Err(fault) if is_called_off(&fault) => Ok(Outcome::done(run.state)),
            Err(fault) => Err(Outcome::of_fault(&fault, run.state)),
        }
    }

    async fn ask_again(&self, run: &Run, order: &Order, revision: i32) -> Result<Result<(), Fault>, Outcome> {
        match self.reserved(run, order).await {
            Ok(allocations) => self.ask_warehouses(run, order, &allocations, revision).await,
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// Both what the order has and what it is to have, until the bank has agreed. Who only moves keeps what he has.
    async fn resize_stock(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        if change.edits.is_empty() {
            return Ok(Outcome::done(run.state));
        }
        self.resize(run, larger(demand(&order.doc.lines), demand(&change.lines)), 0).await
    }

    async fn shrink_stock(self, run: Run) -> Try {
        let (_, change) = self.changed_order(&run).await?;
        if change.edits.is_empty() {
            return Ok(Outcome::done(run.state));
        }
        self.resize(run, demand(&change.lines), 1).await
    }

    async fn resize(self, run: Run, demand: Demand, wish: i32) -> Try {
        match self.set_aside(&run, demand, wish).await {
            Ok(()) => Ok(Outcome::done(run.state)),
            Err(fault) => Err(refused(&fault, run.state)),
        }
    }

    async fn restore_stock(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        if change.edits.is_empty() {
            return Ok(Outcome::done(run.state));
        }
        match self.set_aside(&run, demand(&order.doc.lines), 2).await {
            // Nothing is set aside any more that could be too much.
            Err(fault) if fault.reason() == "RESERVATION_ENDED" => Ok(Outcome::done(run.state)),
            answer => Ok(undone(answer.map_err(tonic::Status::from), run)),
        }
    }

    /// Has exactly this set aside; the wishes of one change are numbered from 0.
    async fn set_aside(&self, run: &Run, demand: Demand, wish: i32) -> Result<(), Fault> {
        let state = state(run)?;
        let revision = state.revision.saturating_mul(STOCK_WISHES).saturating_add(wish);
        let line = |((sku, slot_id), quantity)| DemandLine { sku, quantity, slot_id };
        let (order_id, lines) = (state.subject.to_string(), demand.into_iter().map(line).collect());
        let request = ResizeReservationRequest { order_id, lines, split: state.split, revision };
        let mut client = ReservationDeskServiceClient::new(self.peers.to("inventory"));
        client.resize_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await?;
        Ok(())
    }

    async fn raise_hold(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        let amount = change.to_authorize.clone().filter(|amount| amount.amount_minor > 0);
        let Some(amount) = amount else { return Ok(Outcome::done(run.state)) };
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        let request = IncrementAuthorizationRequest { order_id: order.doc.id.clone(), amount: Some(amount) };
        match client.increment_authorization(self.peers.request_keyed(&run.ctx, &run.key, request)).await {
            Ok(_) => Ok(Outcome::done(run.state)),
            Err(status) => Err(refused(&Fault::from(status), run.state)),
        }
    }

    async fn apply_change(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        let more = change.to_authorize.as_ref().map_or(0, |amount| amount.amount_minor);
        let authorized = (more > 0).then(|| Money {
            currency_code: order.doc.currency_code.clone(),
            amount_minor: order.authorized().saturating_add(more),
        });
        match order.apply_change(&change.id, authorized, called_off(&run)) {
            // Stock and money are held for it, so it must not be undone by itself.
            Err(why) if why != Refusal::Already => Err(Outcome::Attention { reason: why.to_string() }),
            events => Ok(advance(&run.ctx, &order, events, run.state.clone())),
        }
    }

    /// Everything is undone: the order goes on as it was.
    async fn close_change(self, run: Run) -> Try {
        let (order, change) = self.changed_order(&run).await?;
        let said = run.state[WHY].as_str().or(run.undo_code());
        let reason = said.unwrap_or("SAGA_UNDONE");
        let events = match change.state() {
            C::Requested => order.decline_change(&change.id, C::Expired, reason, 0),
            C::Confirmed => order.decline_change(&change.id, C::Failed, reason, called_off(&run)),
            _ => Err(Refusal::Already),
        };
        Ok(advance(&run.ctx, &order, events, run.state.clone()))
    }

    async fn changed_order(&self, run: &Run) -> Result<(Order, wire::OrderChange), Outcome> {
        let order = self.order(run).await?;
        let id = ChangeId::from_uuid(run.saga_id).to_string();
        let change = order.change(&id).cloned();
        let change = change.map_err(|why| Outcome::Attention { reason: why.to_string() })?;
        Ok((order, change))
    }
}

/// The end of the change, for a reason that its order is told.
fn refusal(reason: &str, mut state: Value) -> Outcome {
    state[WHY] = reason.into();
    Outcome::Rejected { reason: reason.to_owned(), state, append: None }
}

/// What a refused call means: another try, or the end of the change.
fn refused(fault: &Fault, state: Value) -> Outcome {
    match Outcome::of_fault(fault, state) {
        Outcome::Rejected { reason, state, .. } => refusal(&reason, state),
        other => other,
    }
}

fn state(run: &Run) -> Result<ChangeState, Fault> {
    serde_json::from_value(run.state.clone()).map_err(Fault::internal)
}

/// Units by product and slot.
type Demand = BTreeMap<(String, String), i32>;

fn demand(lines: &[wire::OrderLine]) -> Demand {
    let mut demand = Demand::new();
    for line in lines {
        let units = demand.entry((line.sku.clone(), line.slot_id.clone())).or_default();
        *units = units.saturating_add(line.quantity);
    }
    demand
}

/// Of each product as much as either wants.
fn larger(mut one: Demand, other: Demand) -> Demand {
    for (what, quantity) in other {
        let units = one.entry(what).or_default();
        *units = quantity.max(*units);
    }
    one
}

/// Under which work is asked for; the next one is of the undo, and later changes have higher ones.
fn revision(run: &Run) -> Result<i32, Fault> {
    Ok(state(run)?.revision.saturating_mul(2))
}

/// The revision below which the change called warehouses off; 0 when it did not.
fn called_off(run: &Run) -> i32 {
    run.state[CALLED_OFF].as_i64().and_then(|revision| i32::try_from(revision).ok()).unwrap_or(0)
}

/// Under which the saga that placed an order asks: above what changes called back so far, below what a later one will.
pub(super) fn between_changes(order: &Order) -> i32 {
    if order.doc.changes.is_empty() { 0 } else { order.version.saturating_mul(2).saturating_sub(1) }
}

/// Whether warehouses are not asked any more under this revision.
pub(super) fn is_called_off(fault: &Fault) -> bool {
    fault.reason() == "FULFILLMENT_CANCELLED"
}

fn attention(fault: Fault) -> Outcome {
    Outcome::Attention { reason: fault.to_string() }
}

/// Whether all warehouses had accepted the order when the change was asked for; else the saga that placed it asks them,
/// once nothing holds it up any more.
fn was_asked_for(change: &wire::OrderChange) -> bool {
    change.order_state() == OrderState::FulfillmentPending
}
