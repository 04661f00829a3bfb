//! The saga of a placed order: reserve stock, authorize payment, confirm the reservation, request fulfillment; and how
//! each is undone (`domain.md` 4.5 Place, SAG-02).

use std::time::Duration;

use contract::common::v1::Money;
use contract::fulfillment::v1::fulfillment_service_client::FulfillmentServiceClient;
use contract::fulfillment::v1::{CancelFulfillmentRequest, CreateFulfillmentRequest};
use contract::inventory::v1::reservation_service_client::ReservationServiceClient;
use contract::inventory::v1::{
    Allocation, ConfirmReservationRequest, DemandLine, ReleaseReservationRequest, ReserveStockRequest,
};
use contract::order::v1::OrderState;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, InquirePaymentRequest, Payment, PaymentState, VoidPaymentRequest,
};
use ctx::Ctx;
use fault::{Fault, Kind};
use futures::FutureExt;
use ids::OrderId;
use saga::{Append, Definition, Outcome, Run, Step};
use serde_json::{Value, json};
use serve::Peers;

use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::domain::parcels::cut;
use crate::infra::store::{Store, doc, encode, wire_time};

/// Names of the steps, in order.
pub const STEPS: [&str; 4] = ["reserve_stock", "authorize_payment", "confirm_reservation", "request_fulfillment"];
/// Index of the step that waits for the customer and the bank.
pub const AUTHORIZE: i16 = 1;
const KIND: &str = "place";
/// How long a customer has for 3-D Secure (`domain.md` 4.5 step 3b).
const ACTION_TIME: Duration = Duration::from_secs(900);

/// What the steps work with.
#[derive(Clone, Debug)]
pub struct Steps {
    store: Store,
    peers: Peers,
}

/// A step's try: an outcome either way, so that `?` can end it early.
type Try = Result<Outcome, Outcome>;

/// The table.
pub fn definition(store: Store, peers: Peers) -> Definition {
    let steps = Steps { store, peers };
    macro_rules! step {
        ($method:ident) => {{
            let steps = steps.clone();
            move |run: Run| {
                let steps = steps.clone();
                async move { steps.$method(run).await.unwrap_or_else(|early| early) }.boxed()
            }
        }};
    }
    let table = vec![
        Step::new(STEPS[0], step!(reserve)).timeout(Duration::from_secs(7)).undo(step!(release)),
        Step::new(STEPS[1], step!(authorize)).timeout(Duration::from_secs(17)).tries(8).undo(step!(void)),
        Step::new(STEPS[2], step!(confirm_reservation)).timeout(Duration::from_secs(7)).tries(60),
        Step::new(STEPS[3], step!(request_fulfillment))
            .timeout(Duration::from_secs(30))
            .tries(60)
            .backoff(Duration::from_millis(200), Duration::from_secs(1800))
            .undo(step!(cancel_fulfillment)),
    ];
    Definition::new(KIND, 1, table).when_undone(step!(close))
}

impl Steps {
    async fn reserve(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        let lines = order.doc.lines.iter().map(|line| DemandLine { sku: line.sku.clone(), quantity: line.quantity });
        let request = ReserveStockRequest {
            order_id: order.doc.id.clone(),
            lines: lines.collect(),
            hold_s: i32::try_from(run.state["hold_s"].as_i64().unwrap_or(900)).unwrap_or(900),
            split: run.state["split"].as_bool().unwrap_or(false),
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
            Err(status) => Err(self.refused(&run, &order, status.into(), |order, why| order.fail(why))),
        }
    }

    async fn release(self, run: Run) -> Try {
        let request = ReleaseReservationRequest { order_id: order_id(&run).to_string() };
        let mut client = ReservationServiceClient::new(self.peers.to("inventory"));
        let answer = client.release_reservation(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        Ok(undone(answer, run))
    }

    async fn authorize(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        // From the second look on the question is what became of it, not do it.
        let asked = run.attempt > 1 || run.state.get("action_deadline").is_some();
        let answer = if asked {
            let request = InquirePaymentRequest { order_id: order.doc.id.clone() };
            match client.inquire_payment(self.peers.request_keyed(&run.ctx, &run.key, request)).await {
                Err(status) if status.code() == tonic::Code::NotFound => self.ask(&mut client, &run, &order).await,
                answer => answer,
            }
        } else {
            self.ask(&mut client, &run, &order).await
        };
        match answer {
            Ok(payment) => Ok(judge(&run, &order, &payment.into_inner())),
            Err(status) => Err(self.refused(&run, &order, status.into(), |order, why| order.fail_payment(why))),
        }
    }

    async fn ask(
        &self,
        client: &mut PaymentServiceClient<serve::PeerClient>,
        run: &Run,
        order: &Order,
    ) -> Result<tonic::Response<Payment>, tonic::Status> {
        let request = AuthorizePaymentRequest {
            order_id: order.doc.id.clone(),
            amount: order.doc.totals.as_ref().and_then(|totals| totals.total.clone()),
            payment_method: run.state["payment_method"].as_str().unwrap_or_default().to_owned(),
        };
        client.authorize_payment(self.peers.request_keyed(&run.ctx, &run.key, request)).await
    }

    async fn void(self, run: Run) -> Try {
        let request = VoidPaymentRequest { order_id: order_id(&run).to_string() };
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
        let allocations: Vec<Allocation> = allocations(&run.state);
        let Some(parcels) = cut(&order.doc, &allocations) else {
            return Err(Outcome::Attention { reason: "the stock set aside does not cover the order".to_owned() });
        };
        let only = parcels.len() == 1;
        let mut client = FulfillmentServiceClient::new(self.peers.to("fulfillment"));
        for parcel in parcels {
            let request = CreateFulfillmentRequest {
                order_id: order.doc.id.clone(),
                warehouse: parcel.warehouse,
                lines: parcel.lines,
                ship_to: order.doc.shipping_address.clone(),
                shipping_service: order.doc.shipping_service.clone(),
                capture_amount: Some(Money {
                    currency_code: order.doc.currency_code.clone(),
                    amount_minor: parcel.capture_minor,
                }),
                final_capture: only,
                weight_grams: parcel.weight_grams,
            };
            let answer = client.create_fulfillment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
            if let Err(status) = answer {
                return Err(self.refused(&run, &order, status.into(), |order, why| order.fail(why)));
            }
        }
        Ok(advance(&run.ctx, &order, order.confirm(), run.state.clone()))
    }

    async fn cancel_fulfillment(self, run: Run) -> Try {
        let request = CancelFulfillmentRequest { order_id: order_id(&run).to_string() };
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
        match order.reject_cancellation(fault.reason()) {
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
        let reason = run.undo_reason.as_deref().unwrap_or("SAGA_UNDONE");
        let events = match order.state() {
            OrderState::CancellationPending => order.cancel(),
            OrderState::PaymentFailed | OrderState::Failed | OrderState::Cancelled => Err(Refusal::Already),
            _ => order.fail(reason),
        };
        Ok(advance(&run.ctx, &order, events, run.state.clone()))
    }

    async fn order(&self, run: &Run) -> Result<Order, Outcome> {
        let found = self.store.get(run.ctx.tenant, order_id(run)).await;
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

/// What a payment's state means for the order.
fn judge(run: &Run, order: &Order, payment: &Payment) -> Outcome {
    let mut state = run.state.clone();
    state["payment_id"] = payment.id.clone().into();
    match payment.state() {
        PaymentState::Authorized | PaymentState::PartiallyCaptured | PaymentState::Captured => {
            let events = order.complete_payment(&payment.id, payment.authorized.clone());
            advance(&run.ctx, order, events, state)
        }
        PaymentState::Declined => {
            let events = order.fail_payment(&payment.decline_reason);
            reject(run, order, events, &payment.decline_reason, state)
        }
        PaymentState::RequiresAction => wait_for_action(run, order, payment, state),
        PaymentState::Processing | PaymentState::Unknown | PaymentState::Unspecified => {
            Outcome::Retry { reason: format!("payment {}", payment.state().as_str_name()) }
        }
        PaymentState::Voided | PaymentState::PartiallyRefunded | PaymentState::Refunded => {
            reject(run, order, order.fail_payment("VOIDED"), "VOIDED", state)
        }
    }
}

fn wait_for_action(run: &Run, order: &Order, payment: &Payment, mut state: Value) -> Outcome {
    let until = state["action_deadline"].as_i64().unwrap_or_else(|| {
        run.ctx.now.as_second().saturating_add(i64::try_from(ACTION_TIME.as_secs()).unwrap_or(i64::MAX))
    });
    let left = until.saturating_sub(run.ctx.now.as_second());
    if left <= 0 {
        return reject(run, order, order.fail_payment("ACTION_TIMEOUT"), "ACTION_TIMEOUT", state);
    }
    state["action_deadline"] = until.into();
    let events = order.require_action(&payment.id, &payment.action_url).ok();
    let append = events.map(|events| append(&run.ctx, order, &events));
    Outcome::Wait { state, at_most: Duration::from_secs(left.unsigned_abs()), append }
}

/// The end of the order, said by these events unless they were said before; everything is undone.
fn reject(run: &Run, order: &Order, events: Result<Vec<OrderEvent>, Refusal>, reason: &str, state: Value) -> Outcome {
    let append = events.ok().map(|events| append(&run.ctx, order, &events));
    Outcome::Rejected { reason: reason.to_owned(), state, append }
}

/// Done with these events; a decision that stands already is done without, one that the state forbids undoes the saga.
fn advance(ctx: &Ctx, order: &Order, events: Result<Vec<OrderEvent>, Refusal>, state: Value) -> Outcome {
    match events {
        Ok(events) => Outcome::Done { state, append: Some(append(ctx, order, &events)) },
        Err(Refusal::Already) => Outcome::done(state),
        Err(why) => Outcome::Rejected { reason: why.to_string(), state, append: None },
    }
}

fn append(ctx: &Ctx, order: &Order, events: &[OrderEvent]) -> Append {
    let after = order.after(events, wire_time(ctx.now));
    let stream = order.doc.id.parse::<OrderId>().map(OrderId::uuid).unwrap_or_default();
    Append { stream, expected: order.version, events: encode(events), doc: doc(&after) }
}

/// An undo that the other side carried out, or could not yet.
fn undone<R>(answer: Result<R, tonic::Status>, run: Run) -> Outcome {
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
fn begun_everywhere(fault: &Fault) -> bool {
    fault.reason() == "ORDER_IN_PICKING" && fault.metadata().get("cancelled").is_none_or(String::is_empty)
}

fn order_id(run: &Run) -> OrderId {
    OrderId::from_uuid(run.saga_id)
}

fn allocations(state: &Value) -> Vec<Allocation> {
    let entries = state["allocations"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .map(|entry| Allocation {
            sku: entry[0].as_str().unwrap_or_default().to_owned(),
            warehouse: entry[1].as_str().unwrap_or_default().to_owned(),
            quantity: entry[2].as_i64().and_then(|units| i32::try_from(units).ok()).unwrap_or(0),
            consumed: 0,
        })
        .collect()
}
