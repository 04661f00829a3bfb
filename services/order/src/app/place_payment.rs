//! The step of a placed order's saga that secures its money, and the time a customer or a provider is given for it
//! (`domain.md` 4.5 Place 3, PAY-06, PAY-08).

use std::time::Duration;

use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{
    AuthorizePaymentRequest, InquirePaymentRequest, Payment, PaymentState, VoidPaymentRequest,
};
use fault::Fault;
use saga::{Outcome, Run};
use serde_json::Value;

use crate::app::place_risk::is_doubted;
use crate::app::place_saga::{Steps, Try, advance, append, is_service, now, order_id, reject, undone};
use crate::app::rounds::round;
use crate::domain::order::Order;
use crate::infra::seal::column;

/// How long a customer has for 3-D Secure (`domain.md` 4.5 step 3b).
const ACTION_TIME: Duration = Duration::from_secs(900);
/// How much longer stock stays set aside than a customer may take, for what is still to do then.
const HOLD_MARGIN: Duration = Duration::from_secs(300);

/// Until when the customer may act, seconds since 1970; in the saga's state.
const DEADLINE: &str = "action_deadline";
/// Since when the payment provider is given a rest, seconds since 1970; in the saga's state.
const RESTS: &str = "provider_rests";

impl Steps {
    pub(super) async fn authorize(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        // From the second look on the question is what became of it, not do it.
        let asked = run.attempt > 1 || [DEADLINE, RESTS].iter().any(|known| run.state.get(known).is_some());
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
                payment if payment.state() == PaymentState::RequiresAction && run.state.get(DEADLINE).is_none() => {
                    self.keep_stock(&run).await?;
                    Ok(judge(&run, &order, &payment))
                }
                payment => Ok(judge(&run, &order, &payment)),
            },
            Err(status) => {
                let fault = Fault::from(status);
                match wait_for_provider(&run, &fault) {
                    Some(wait) => {
                        if run.state.get(RESTS).is_none() {
                            self.keep_stock(&run).await?;
                        }
                        Ok(wait)
                    }
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

    /// Stock stays set aside for as long as somebody may take; what has run out already is asked for anew when it is to
    /// be confirmed.
    async fn keep_stock(&self, run: &Run) -> Result<(), Outcome> {
        let time = ACTION_TIME.saturating_add(HOLD_MARGIN).as_secs();
        match self.hold_stock(run, i32::try_from(time).unwrap_or(i32::MAX)).await {
            Err(Outcome::Rejected { .. }) => Ok(()),
            answer => answer,
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
    let until = state[DEADLINE].as_i64().unwrap_or_else(|| {
        run.ctx.now.as_second().saturating_add(i64::try_from(ACTION_TIME.as_secs()).unwrap_or(i64::MAX))
    });
    let left = until.saturating_sub(run.ctx.now.as_second());
    if left <= 0 {
        let events = order.fail_payment("ACTION_TIMEOUT", now(run));
        return reject(run, order, events, "ACTION_TIMEOUT", state);
    }
    state[DEADLINE] = until.into();
    let events = order.require_action(&payment.id, &payment.action_url).ok();
    let append = events.map(|events| append(&run.ctx, order, &events));
    Outcome::Wait { state, at_most: Duration::from_secs(left.unsigned_abs()), append }
}
