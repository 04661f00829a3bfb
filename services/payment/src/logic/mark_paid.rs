use ctx::Ctx;
use fault::Fault;
use ids::PaymentId;

use super::App;
use super::state::Payment;

/// Writers that lose this often in a row meet something that is not a race.
const RACES: u32 = 50;
/// More rounds than an order may be paid in.
const ROUNDS: i64 = 50;

/// Staff saw the money elsewhere.
#[derive(Debug, Clone)]
pub struct MarkPaid {
    /// The payment.
    pub payment: PaymentId,
    /// Why.
    pub reason: String,
}

impl App {
    /// Records that the money of a payment came outside of the providers, with who says so and why (PAY-18).
    ///
    /// # Errors
    /// Precondition `MARK_PAID_REFUSED` where money is or may be held, the order wants none, or a later round of paying
    /// it has begun; NotFound.
    pub async fn mark_paid(&self, ctx: &Ctx, cmd: MarkPaid) -> Result<(Payment, bool), Fault> {
        let mut payment = self.get(ctx, cmd.payment).await?;
        for _ in 0..RACES {
            if payment.manual {
                return Ok((payment, true));
            }
            let Some(next) = payment.marked_paid() else { return Err(refused(&payment)) };
            let rounds = self.store().page(ctx.tenant, Some(payment.order), None, ROUNDS).await?;
            if rounds.iter().any(|other| other.round > payment.round && other.asked.is_some()) {
                return Err(refused(&payment).with("round", payment.round));
            }
            if let Some(written) = self.store().settle_because(ctx, &payment, &next, &cmd.reason).await? {
                return Ok((written, false));
            }
            payment = self.reload(ctx, &payment).await?;
        }
        Err(Fault::aborted("CONTENTION", "too many changes of the same payment"))
    }
}

fn refused(payment: &Payment) -> Fault {
    Fault::precondition("MARK_PAID_REFUSED", "money is or may be held for it, or its order wants none")
        .with("state", payment.state().as_str())
}
