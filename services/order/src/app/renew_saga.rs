//! The saga of a hold that ends before the goods have left: ask for the money again, or call a person, as the tenant's
//! policy says (`domain.md` 4.5 Auth expiry, PAY-02).

use std::time::Duration;

use contract::identity::v1::HoldExpiry;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use contract::payment::v1::{GetPaymentRequest, Payment, PaymentState, ReauthorizePaymentRequest};
use fault::Fault;
use saga::{Definition, Outcome, Run, Step};

use crate::app::place_saga::{Steps, Try, act};

/// Name of the table.
pub const KIND: &str = "renew_hold";
/// In the saga's state: the payment.
pub const PAYMENT: &str = "payment";
/// In the saga's state: the attempt that is to hold the money from now on.
const ATTEMPT: &str = "attempt";
const TRIES: i32 = 60;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1800));

/// The table.
pub fn definition(steps: &Steps) -> Definition {
    let forward = |step: Step| step.tries(TRIES).backoff(BACKOFF.0, BACKOFF.1).forward_only();
    let table = vec![
        forward(Step::new("decide", act!(steps, decide))),
        forward(Step::new("reauthorize", act!(steps, reauthorize)).timeout(Duration::from_secs(17))),
    ];
    Definition::new(KIND, 1, table)
}

impl Steps {
    /// Whether the money is still needed, and which attempt is to hold it.
    async fn decide(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        if !order.awaits_parcels() {
            return Ok(Outcome::done(run.state));
        }
        let policy = self.catalog.policy(&run.ctx).await.map_err(|fault| again(&fault))?;
        let payment = self.payment(&run).await.map_err(|fault| again(&fault))?;
        if is_over(&payment) {
            return Ok(Outcome::done(run.state));
        }
        if policy.hold_expiry() == HoldExpiry::Attention {
            return Ok(Outcome::Attention {
                reason: "the hold on the money ends before the goods have left".to_owned(),
            });
        }
        let mut state = run.state;
        state[ATTEMPT] = (payment.attempt + 1).into();
        Ok(Outcome::done(state))
    }

    async fn reauthorize(self, run: Run) -> Try {
        let Some(attempt) = run.state[ATTEMPT].as_i64().and_then(|attempt| i32::try_from(attempt).ok()) else {
            return Ok(Outcome::done(run.state));
        };
        let payment_id = run.state[PAYMENT].as_str().unwrap_or_default().to_owned();
        let request = ReauthorizePaymentRequest { payment_id, attempt, payment_method: String::new() };
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        let answer = client.reauthorize_payment(self.peers.request_keyed(&run.ctx, &run.key, request)).await;
        let payment = match answer.map_err(Fault::from) {
            Ok(payment) => payment.into_inner(),
            // Somebody was faster, or the parcel left meanwhile.
            Err(fault) if fault.reason() == "REAUTHORIZE_REFUSED" => {
                self.payment(&run).await.map_err(|fault| again(&fault))?
            }
            Err(fault) => return Err(again(&fault)),
        };
        Ok(match payment.state() {
            PaymentState::Authorized | PaymentState::Captured => Outcome::done(run.state),
            PaymentState::Processing | PaymentState::Unknown | PaymentState::Unspecified => {
                Outcome::Retry { reason: format!("payment {}", payment.state().as_str_name()) }
            }
            _ if is_over(&payment) => Outcome::done(run.state),
            state => {
                let why = if payment.decline_reason.is_empty() { state.as_str_name() } else { &payment.decline_reason };
                Outcome::Attention { reason: format!("no new hold on the money: {why}") }
            }
        })
    }

    async fn payment(&self, run: &Run) -> Result<Payment, Fault> {
        let payment_id = run.state[PAYMENT].as_str().unwrap_or_default().to_owned();
        let mut client = PaymentServiceClient::new(self.peers.to("payment"));
        Ok(client.get_payment(self.peers.request(&run.ctx, GetPaymentRequest { payment_id })).await?.into_inner())
    }
}

/// Whether no hold is needed any more: the money was taken, or goes back.
fn is_over(payment: &Payment) -> bool {
    use PaymentState as S;
    matches!(payment.state(), S::Captured | S::Voided | S::PartiallyRefunded | S::Refunded | S::Disputed)
}

fn again(fault: &Fault) -> Outcome {
    if fault.retryable() || fault.kind() == fault::Kind::Internal {
        Outcome::Retry { reason: fault.to_string() }
    } else {
        Outcome::Attention { reason: fault.to_string() }
    }
}
