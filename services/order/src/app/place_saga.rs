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
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, InquirePaymentRequest, Payment, PaymentState, VoidPaymentRequest,
};
use ctx::Ctx;
use fault::{Fault, Kind};
use ids::OrderId;
use saga::{Append, Definition, Outcome, Run, Step};
use serde_json::{Value, json};
use serve::Peers;

use crate::app::cancel_saga::SUBJECT;
use crate::app::change_saga::{between_changes, is_called_off};
use crate::app::place_risk::is_doubted;
use crate::app::rounds::round;
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::domain::parcels::cut;
use crate::infra::catalog::Catalog;
use crate::infra::seal::{Safe, column};
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
/// How long a customer has for 3-D Secure (`domain.md` 4.5 step 3b).
const ACTION_TIME: Duration = Duration::from_secs(900);

/// Since when the payment provider is given a rest, seconds since 1970; in the saga's state.
const RESTS: &str = "provider_rests";

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
            round: round(&run),
        };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        match client.reserve_stock(self.peers.request_keyed(&run.ctx, &run.key, request)).await {
            Ok(reservation) => {
                let allocations = reservation.into_inner().allocations;
                let allocations = allocations.into_iter().map(|at| json!([at.sku, at.warehouse, at.quantity]));
                let mut state = run.state.clone();
                state["allocations"] = Value::Array(allocations.collect());
                Ok(advance(&run.ctx, &order, order.start_payment(), state))
            }
            // What was to be paid again may be sold meanwhile: it may be tried once more (PAY-18).
            Err(status) if round(&run) > 1 => {
                Err(self.refused(&run, &order, status.into(), |order, why| order.fail_payment(why, now(&run))))
            }
            Err(status) => Err(self.refused(&run, &order, status.into(), |order, why| order.fail(why))),
        }
    }

    pub(super) async fn release(self, run: Run) -> Try {
        let request = ReleaseReservationRequest { order_id: order_id(&run).to_string(), round: round(&run) };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        let answer = client.release_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        Ok(undone(answer, run))
    }

    async fn authorize(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        // From the second look on the question is what became of it, not do it.
        let asked = run.attempt > 1 || ["action_deadline", RESTS].iter().any(|known| run.state.get(known).is_some());
        let answer = if asked {
            let request = InquirePaymentRequest { order_id: order.doc.id.clone(), round: round(&run) };
            match client.inquire_payment(self.peers.request_keyed(&run.ctx, &run.key, request)).await {
                Err(status) if status.code() == tonic::Code::NotFound => self.ask(&mut client, &run, &order).await?,
                answer => answer,
            }
        } else {
            self.ask(&mut client, &run, &order).await?
        };
        match answer {
            Ok(payment) => match payment.into_inner() {
                payment if is_secured(&payment) && is_doubted(&payment) => self.doubted(&run, &order, &payment).await,
                payment => Ok(judge(&run, &order, &payment)),
            },
            Err(status) => {
                let fault = Fault::from(status);
                match wait_for_provider(&run, &fault) {
                    Some(wait) => Ok(wait),
                    None => Err(self.refused(&run, &order, fault, |order, why| order.fail_payment(why, now(&run)))),
                }
            }
        }
    }

    async fn ask(
        &self,
        client: &mut PaymentServiceClient<serve::PeerClient>,
        run: &Run,
        order: &Order,
    ) -> Result<Result<tonic::Response<Payment>, tonic::Status>, Outcome> {
        let request = AuthorizePaymentRequest {
            order_id: order.doc.id.clone(),
            amount: order.doc.totals.as_ref().and_then(|totals| totals.total.clone()),
            payment_method: self.secret(run, column::SAGA_TOKEN).await?,
            challenge: run.state["challenge"].as_bool().unwrap_or(false),
            customer_id: order.doc.customer_id.clone(),
            // As the tenant wanted when it was placed; of a service nothing is shipped that money could be taken for.
            capture_now: is_service(order) || run.state["capture_now"].as_bool().unwrap_or(false),
            mandate: self.secret(run, column::SAGA_MANDATE).await?,
            round: round(run),
        };
        Ok(client.authorize_payment(self.peers.request_keyed(&run.ctx, &run.key, request)).await)
    }

    pub(super) async fn void(self, run: Run) -> Try {
        let request = VoidPaymentRequest { order_id: order_id(&run).to_string(), round: round(&run) };
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        let answer = client.void_payment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        Ok(undone(answer, run))
    }

    async fn confirm_reservation(self, run: Run) -> Try {
        let request = ConfirmReservationRequest { order_id: order_id(&run).to_string() };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        match client.confirm_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await {
            Ok(_) => Ok(Outcome::done(run.state)),
            Err(status) => {
                let order = self.order(&run).await?;
                Err(self.refused(&run, &order, status.into(), |order, why| order.fail(why)))
            }
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
    fn refused(
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

/// A provider that is given a rest was not asked, so that this was no try; for as long as a customer may take (PAY-08).
fn wait_for_provider(run: &Run, fault: &Fault) -> Option<Outcome> {
    if !["PROVIDER_RESTING", "CIRCUIT_OPEN"].contains(&fault.reason()) {
        return None;
    }
    let now = run.ctx.now.as_second();
    let since = run.state.get(RESTS).and_then(Value::as_i64).unwrap_or(now);
    let waited = Duration::from_secs(now.saturating_sub(since).unsigned_abs());
    let mut state = run.state.clone();
    state[RESTS] = since.into();
    // The longer it lasts, the less often we look.
    let pause = fault.wait().unwrap_or(Duration::from_secs(1)).max(waited / 4).min(Duration::from_secs(60));
    (waited < ACTION_TIME).then_some(Outcome::Wait { state, at_most: pause, append: None })
}

/// Whether it books time: nothing leaves a warehouse (ORD-46).
pub(super) fn is_service(order: &Order) -> bool {
    order.doc.kind() == OrderKind::ServiceRequest
}

fn is_secured(payment: &Payment) -> bool {
    use PaymentState as S;
    matches!(payment.state(), S::Authorized | S::PartiallyCaptured | S::Captured)
}

/// What a payment's state means for the order.
pub(super) fn judge(run: &Run, order: &Order, payment: &Payment) -> Outcome {
    let mut state = run.state.clone();
    state["payment_id"] = payment.id.clone().into();
    match payment.state() {
        PaymentState::Authorized | PaymentState::PartiallyCaptured | PaymentState::Captured => {
            let events = order.complete_payment(&payment.id, payment.authorized.clone());
            advance(&run.ctx, order, events, state)
        }
        PaymentState::Declined => {
            let events = order.fail_payment(&payment.decline_reason, now(run));
            reject(run, order, events, &payment.decline_reason, state)
        }
        PaymentState::RequiresAction => wait_for_action(run, order, payment, state),
        PaymentState::Processing | PaymentState::Unknown | PaymentState::Unspecified => {
            Outcome::Retry { reason: format!("payment {}", payment.state().as_str_name()) }
        }
        PaymentState::Voided
        | PaymentState::PartiallyRefunded
        | PaymentState::Refunded
        | PaymentState::Expired
        | PaymentState::Disputed => reject(run, order, order.fail_payment("VOIDED", now(run)), "VOIDED", state),
    }
}

fn wait_for_action(run: &Run, order: &Order, payment: &Payment, mut state: Value) -> Outcome {
    let until = state["action_deadline"].as_i64().unwrap_or_else(|| {
        run.ctx.now.as_second().saturating_add(i64::try_from(ACTION_TIME.as_secs()).unwrap_or(i64::MAX))
    });
    let left = until.saturating_sub(run.ctx.now.as_second());
    if left <= 0 {
        let events = order.fail_payment("ACTION_TIMEOUT", now(run));
        return reject(run, order, events, "ACTION_TIMEOUT", state);
    }
    state["action_deadline"] = until.into();
    let events = order.require_action(&payment.id, &payment.action_url).ok();
    let append = events.map(|events| append(&run.ctx, order, &events));
    Outcome::Wait { state, at_most: Duration::from_secs(left.unsigned_abs()), append }
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
