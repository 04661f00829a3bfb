//! The saga of a placed order: reserve stock, evaluate risk, authorize payment, confirm the reservation, request
//! fulfillment; and how each is undone (`domain.md` 4.5 Place, SAG-02).

use std::time::Duration;

use contract::common::v1::Money;
use contract::fulfillment::v1::fulfillment_service_client::FulfillmentServiceClient;
use contract::fulfillment::v1::{CancelFulfillmentRequest, CreateFulfillmentRequest};
use contract::inventory::v1::reservation_service_client::ReservationServiceClient;
use contract::inventory::v1::{
    Allocation, ConfirmReservationRequest, DemandLine, GetReservationRequest, ReleaseReservationRequest,
    ReserveStockRequest,
};
use contract::order::v1::{OrderKind, OrderState};
use ctx::Ctx;
use fault::{Fault, Kind};
use ids::OrderId;
use saga::{Append, Definition, Outcome, Run, Step};
use serde_json::{Value, json};
use serve::Peers;

use crate::app::cancel_saga::SUBJECT;
use crate::app::change_saga::{between_changes, is_called_off};
use crate::app::rounds::round;
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::domain::parcels::cut;
use crate::infra::catalog::Catalog;
use crate::infra::seal::Safe;
use crate::infra::store::{Store, doc, encode, wire_time};

/// Names of the steps, in order.
pub const STEPS: [&str; 5] =
    ["reserve_stock", "evaluate_risk", "authorize_payment", "confirm_reservation", "request_fulfillment"];
/// Index of the step that waits for the customer and the bank.
pub const AUTHORIZE: i16 = 2;
/// Index of the last step before the warehouse hears of the order.
pub const CONFIRM: i16 = 3;
/// Index of the step that asks the warehouse.
pub const REQUEST: i16 = 4;
/// Name of the table.
pub const KIND: &str = "place";
/// How long a held order sleeps before its saga looks by itself; a release wakes it at once.
const HOLD_LOOK: Duration = Duration::from_secs(3600);
/// How soon the saga of an order that is being changed looks by itself; the end of the change wakes it at once.
const CHANGE_LOOK: Duration = Duration::from_secs(60);
/// Whether stock was set aside a second time after its hold had run out; in the saga's state.
const AGAIN: &str = "reserved_again";
/// What the steps work with.
#[derive(Clone, Debug)]
pub struct Steps {
    /// Orders in the database.
    pub store: Store,
    /// Copies of products and policy.
    pub catalog: Catalog,
    /// The other services.
    pub peers: Peers,
    /// What opens addresses and tokens for them.
    pub safe: Safe,
}

/// A method of [`Steps`] as the action of a step.
macro_rules! act {
    ($steps:expr, $method:ident) => {{
        let steps: $crate::app::place_saga::Steps = $steps.clone();
        move |run: saga::Run| {
            let steps = steps.clone();
            futures::FutureExt::boxed(async move { steps.$method(run).await.unwrap_or_else(|early| early) })
        }
    }};
}
pub(super) use act;

/// A step's try: an outcome either way, so that `?` can end it early.
pub(super) type Try = Result<Outcome, Outcome>;

/// The table.
pub fn definition(steps: &Steps) -> Definition {
    table(KIND, steps)
}

/// The table under a name.
pub(super) fn table(kind: &'static str, steps: &Steps) -> Definition {
    let table = vec![
        // Tries for most of a minute: a restart of inventory costs no order.
        Step::new(STEPS[0], act!(steps, reserve)).timeout(Duration::from_secs(7)).tries(10).undo(act!(steps, release)),
        Step::new(STEPS[1], act!(steps, evaluate_risk))
            .timeout(Duration::from_secs(10))
            .undo(act!(steps, withdraw_review)),
        Step::new(STEPS[2], act!(steps, authorize)).timeout(Duration::from_secs(17)).tries(8).undo(act!(steps, void)),
        Step::new(STEPS[3], act!(steps, confirm_reservation)).timeout(Duration::from_secs(7)).tries(60),
        Step::new(STEPS[4], act!(steps, request_fulfillment))
            .timeout(Duration::from_secs(30))
            .tries(60)
            .backoff(Duration::from_millis(200), Duration::from_secs(1800))
            .undo(act!(steps, cancel_fulfillment)),
    ];
    Definition::new(kind, 2, table).when_undone(act!(steps, close))
}

impl Steps {
    async fn reserve(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        match self.set_stock_aside(&run, &order, &run.key).await {
            Ok(state) => Ok(advance(&run.ctx, &order, order.start_payment(), state)),
            // What was to be paid again may be sold meanwhile: it may be tried once more (PAY-18).
            Err(fault) if round(&run) > 1 => {
                Err(self.refused(&run, &order, fault, |order, why| order.fail_payment(why, now(&run))))
            }
            Err(fault) => Err(self.refused(&run, &order, fault, |order, why| order.fail(why))),
        }
    }

    /// Has stock set aside; the saga's state then says where it is.
    async fn set_stock_aside(&self, run: &Run, order: &Order, key: &str) -> Result<Value, Fault> {
        let lines = order.doc.lines.iter().map(|line| DemandLine {
            sku: line.sku.clone(),
            quantity: line.quantity,
            slot_id: line.slot_id.clone(),
        });
        let request = ReserveStockRequest {
            order_id: order.doc.id.clone(),
            lines: lines.collect(),
            hold_s: i32::try_from(run.state["hold_s"].as_i64().unwrap_or(900)).unwrap_or(900),
            split: run.state["split"].as_bool().unwrap_or(false),
            round: round(run),
        };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        let reservation = client.reserve_stock(self.peers.request_keyed(&run.ctx, key, request)).await?;
        let allocations = reservation.into_inner().allocations;
        let allocations = allocations.into_iter().map(|at| json!([at.sku, at.warehouse, at.quantity]));
        let mut state = run.state.clone();
        state["allocations"] = Value::Array(allocations.collect());
        Ok(state)
    }

    pub(super) async fn release(self, run: Run) -> Try {
        let request = ReleaseReservationRequest { order_id: order_id(&run).to_string(), round: round(&run) };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        let answer = client.release_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        Ok(undone(answer, run))
    }

    async fn confirm_reservation(self, run: Run) -> Try {
        let request = ConfirmReservationRequest { order_id: order_id(&run).to_string() };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        match client.confirm_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await {
            Ok(_) => Ok(Outcome::done(run.state)),
            Err(status) => {
                let (order, fault) = (self.order(&run).await?, Fault::from(status));
                // The hold ran out while the money was on its way: once more, for there may be stock yet.
                if fault.reason() == "RESERVATION_ENDED" && run.state.get(AGAIN).is_none() {
                    return self.reserve_again(&run, &order).await;
                }
                Err(self.refused(&run, &order, fault, |order, why| order.fail(why)))
            }
        }
    }

    async fn reserve_again(&self, run: &Run, order: &Order) -> Try {
        match self.set_stock_aside(run, order, &format!("{}-again", run.key)).await {
            Ok(mut state) => {
                state[AGAIN] = true.into();
                Ok(Outcome::Wait { state, at_most: Duration::ZERO, append: None })
            }
            Err(fault) => Err(self.refused(run, order, fault, |order, why| order.fail(why))),
        }
    }

    async fn request_fulfillment(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        if order.doc.on_hold || order.state() == OrderState::ChangePending {
            let at_most = if order.doc.on_hold { HOLD_LOOK } else { CHANGE_LOOK };
            return Ok(Outcome::Wait { state: run.state, at_most, append: None });
        }
        if is_service(&order) {
            self.give_back_difference(&run, &order).await?;
            return Ok(advance(&run.ctx, &order, order.confirm(), run.state.clone()));
        }
        let allocations = self.allocations(&run, &order).await?;
        match self.ask_warehouses(&run, &order, &allocations, between_changes(&order)).await? {
            Ok(()) => Ok(advance(&run.ctx, &order, order.confirm(), run.state.clone())),
            // A change called the warehouses off while they were asked: they are asked for what it makes of the order.
            Err(fault) if is_called_off(&fault) && self.order(&run).await?.version != order.version => {
                Err(Outcome::Retry { reason: fault.to_string() })
            }
            Err(fault) => Err(self.refused(&run, &order, fault, |order, why| order.fail(why))),
        }
    }

    /// Asks each warehouse for its part of an order; a higher revision takes the place of what was cancelled.
    pub(super) async fn ask_warehouses(
        &self,
        run: &Run,
        order: &Order,
        allocations: &[Allocation],
        revision: i32,
    ) -> Result<Result<(), Fault>, Outcome> {
        self.give_back_difference(run, order).await?;
        let Some(parcels) = cut(&order.doc, allocations) else {
            return Err(Outcome::Attention { reason: "the stock set aside does not cover the order".to_owned() });
        };
        let (only, ship_to) = (parcels.len() == 1, self.address(run, order).await?);
        let mut client = FulfillmentServiceClient::new(self.peers.to("fulfillment"));
        for parcel in parcels {
            let request = CreateFulfillmentRequest {
                order_id: order.doc.id.clone(),
                warehouse: parcel.warehouse,
                lines: parcel.lines,
                ship_to: ship_to.clone(),
                shipping_service: order.doc.shipping_service.clone(),
                capture_amount: Some(Money {
                    currency_code: order.doc.currency_code.clone(),
                    amount_minor: parcel.capture_minor,
                }),
                final_capture: only,
                weight_grams: parcel.weight_grams,
                revision,
            };
            let answer = client.create_fulfillment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
            if let Err(status) = answer {
                return Ok(Err(status.into()));
            }
        }
        Ok(Ok(()))
    }

    /// Where the stock of the order is: as it was reserved, unless a change set other stock aside.
    async fn allocations(&self, run: &Run, order: &Order) -> Result<Vec<Allocation>, Outcome> {
        if !order.was_changed() {
            return Ok(allocations(&run.state));
        }
        match self.reserved(run, order).await {
            Ok(allocations) => Ok(allocations),
            Err(fault) => Err(self.refused(run, order, fault, |order, why| order.fail(why))),
        }
    }

    /// Where inventory has set stock aside for an order.
    pub(super) async fn reserved(&self, run: &Run, order: &Order) -> Result<Vec<Allocation>, Fault> {
        let request = GetReservationRequest { order_id: order.doc.id.clone() };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        let reservation = client.get_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await?;
        Ok(reservation.into_inner().allocations)
    }

    async fn cancel_fulfillment(self, run: Run) -> Try {
        let request = CancelFulfillmentRequest { order_id: order_id(&run).to_string(), revision: 0 };
        let mut client = FulfillmentServiceClient::new(self.peers.to("fulfillment"));
        let answer = client.cancel_fulfillment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        match answer.map_err(Fault::from) {
            Err(fault) if begun_everywhere(&fault) => self.too_late(run, &fault).await,
            answer => Ok(undone(answer.map_err(tonic::Status::from), run)),
        }
    }

    /// The warehouse has begun: a cancellation is taken back and the order goes on; any other undo is for a person.
    async fn too_late(&self, run: Run, fault: &Fault) -> Try {
        let order = self.order(&run).await?;
        match order.reject_cancellation(fault.reason(), OrderState::PaymentCompleted) {
            Ok(events) => {
                let append = Some(append(&run.ctx, &order, &events));
                Ok(Outcome::Resume { reason: fault.reason().to_owned(), state: run.state, append })
            }
            Err(_) => Ok(Outcome::Attention { reason: fault.to_string() }),
        }
    }

    /// Everything is undone: the order says so.
    async fn close(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        let reason = run.undo_code().unwrap_or("SAGA_UNDONE");
        let events = match order.state() {
            OrderState::CancellationPending => order.cancel(),
            // The change ends first; stock and money are given back already, so it cannot succeed.
            OrderState::ChangePending => return Err(Outcome::Retry { reason: "CHANGE_PENDING".to_owned() }),
            OrderState::PaymentFailed | OrderState::Failed | OrderState::Cancelled => Err(Refusal::Already),
            OrderState::PaymentProcessing | OrderState::PaymentActionRequired | OrderState::PaymentReview
                if round(&run) > 1 =>
            {
                order.fail_payment(reason, now(&run))
            }
            _ => order.fail(reason),
        };
        Ok(advance(&run.ctx, &order, events, run.state.clone()))
    }

    pub(super) async fn order(&self, run: &Run) -> Result<Order, Outcome> {
        let found = self.store.get_together(run.ctx.tenant, order_id(run)).await;
        found.map_err(|fault| Outcome::Retry { reason: fault.to_string() })
    }

    /// What a refused call means: another try, or the end of the order with the reason it was given.
    pub(super) fn refused(
        &self,
        run: &Run,
        order: &Order,
        fault: Fault,
        end: impl Fn(&Order, &str) -> Result<Vec<OrderEvent>, Refusal>,
    ) -> Outcome {
        match Outcome::of_fault(&fault, run.state.clone()) {
            Outcome::Rejected { reason, state, .. } => reject(run, order, end(order, &reason), &reason, state),
            other => other,
        }
    }
}

/// Whether it books time: nothing leaves a warehouse (ORD-46).
pub(super) fn is_service(order: &Order) -> bool {
    order.doc.kind() == OrderKind::ServiceRequest
}

/// The end of the order, said by these events unless they were said before; everything is undone.
pub(super) fn reject(
    run: &Run,
    order: &Order,
    events: Result<Vec<OrderEvent>, Refusal>,
    reason: &str,
    state: Value,
) -> Outcome {
    let append = events.ok().map(|events| append(&run.ctx, order, &events));
    Outcome::Rejected { reason: reason.to_owned(), state, append }
}

/// Done with these events; a decision that stands already is done without, one that the state forbids undoes the saga.
pub(super) fn advance(ctx: &Ctx, order: &Order, events: Result<Vec<OrderEvent>, Refusal>, state: Value) -> Outcome {
    match events {
        Ok(events) => Outcome::Done { state, append: Some(append(ctx, order, &events)) },
        Err(Refusal::Already) => Outcome::done(state),
        Err(why) => Outcome::Rejected { reason: why.to_string(), state, append: None },
    }
}

pub(super) fn append(ctx: &Ctx, order: &Order, events: &[OrderEvent]) -> Append {
    let after = order.after(events, wire_time(ctx.now));
    let stream = order.doc.id.parse::<OrderId>().map(OrderId::uuid).unwrap_or_default();
    Append { stream, expected: order.version, events: encode(events), doc: doc(&after) }
}

/// An undo that the other side carried out, or could not yet.
pub(super) fn undone<R>(answer: Result<R, tonic::Status>, run: Run) -> Outcome {
    match answer {
        Ok(_) => Outcome::done(run.state),
        Err(status) => {
            let fault = Fault::from(status);
            match fault.kind() {
                Kind::Precondition | Kind::Invalid | Kind::Denied => Outcome::Attention { reason: fault.to_string() },
                _ => Outcome::Retry { reason: fault.to_string() },
            }
        }
    }
}

/// Whether warehouses work on an order and none of them was called off.
pub(super) fn begun_everywhere(fault: &Fault) -> bool {
    fault.reason() == "ORDER_IN_PICKING" && fault.metadata().get("cancelled").is_none_or(String::is_empty)
}

pub(super) fn now(run: &Run) -> prost_types::Timestamp {
    wire_time(run.ctx.now)
}

/// The order of a saga: the one it says, or else the one it shares its id with.
pub(super) fn order_id(run: &Run) -> OrderId {
    let said = run.state[SUBJECT].as_str().and_then(|text| text.parse().ok());
    said.unwrap_or_else(|| OrderId::from_uuid(run.saga_id))
}

fn allocations(state: &Value) -> Vec<Allocation> {
    let entries = state["allocations"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .map(|entry| Allocation {
            sku: entry[0].as_str().unwrap_or_default().to_owned(),
            warehouse: entry[1].as_str().unwrap_or_default().to_owned(),
            quantity: entry[2].as_i64().and_then(|units| i32::try_from(units).ok()).unwrap_or(0),
            ..Allocation::default()
        })
        .collect()
}
