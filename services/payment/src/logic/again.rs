use std::time::Duration;

use ctx::Ctx;
use fault::Fault;
use ids::PaymentId;

use super::App;
use super::state::{MOST_ATTEMPTS, Payment};
use crate::data::Instrument;

/// Another hold is wanted for a payment.
#[derive(Debug, Clone)]
pub struct BeginAgain {
    /// The payment.
    pub payment: PaymentId,
    /// The attempt this is to be.
    pub attempt: i16,
    /// Another token of a payment method.
    pub method: Option<String>,
}

impl App {
    /// Begins the next attempt of a payment: after a decline, or when its hold ended or is about to.
    ///
    /// A hold that is about to end is let go first: the customer's money is never held twice. The attempt's number
    /// makes a repeat harmless.
    ///
    /// # Errors
    /// Precondition `REAUTHORIZE_REFUSED`, `PAYMENT_METHOD_REFUSED`; Aborted `ATTEMPT_IN_PROGRESS`; Invalid `attempt`;
    /// NotFound; Unavailable while an outcome is not known.
    pub async fn begin_again(&self, ctx: &Ctx, cmd: BeginAgain) -> Result<Payment, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.begin_again_to_the_end(&ctx, &cmd).await }).await
    }

    async fn begin_again_to_the_end(&self, ctx: &Ctx, cmd: &BeginAgain) -> Result<Payment, Fault> {
        let payment = self.get(ctx, cmd.payment).await?;
        if cmd.attempt <= payment.attempt {
            return Ok(payment);
        }
        if cmd.attempt != payment.attempt + 1 {
            let text = format!("the next attempt of the payment is {}", payment.attempt + 1);
            return Err(Fault::invalid("attempt", "ATTEMPT_SKIPPED", text));
        }
        if !payment.may_begin_again() {
            return Err(refused(&payment));
        }
        let method = match &cmd.method {
            Some(method) => method.clone(),
            None => self.store().instrument(ctx.tenant, payment.id).await?.method,
        };
        self.check_method(ctx, payment.order, payment.round, &method).await?;
        let payment = if payment.holds() {
            // Of many callers one may have begun it meanwhile: its hold is not ours to let go. Nor is one from which a
            // capture is being taken, and after this no other begins.
            let may = |payment: &Payment| payment.attempt < cmd.attempt && payment.may_begin_again();
            let given_up = |payment: &Payment| Ok(if may(payment) { payment.given_up() } else { payment.clone() });
            let payment = self.learn(ctx, payment, given_up).await?;
            let payment = if may(&payment) { self.release(ctx, payment).await? } else { payment };
            if payment.attempt >= cmd.attempt {
                return Ok(payment);
            }
            if !may(&payment) {
                return Err(refused(&payment));
            }
            payment
        } else {
            payment
        };
        let instrument = match &cmd.method {
            // The mandate belongs to the customer's consent, not to one card of his.
            Some(method) => {
                let before = self.store().instrument(ctx.tenant, payment.id).await?;
                Some(Instrument { method: method.clone(), ..before })
            }
            None => None,
        };
        let provider = self.gateway().choose().name();
        let begun = self.store().begin_again(ctx, &payment, provider, instrument.as_ref()).await?;
        let Some(payment) = begun else {
            let now = self.reload(ctx, &payment).await?;
            return if now.attempt >= cmd.attempt { Ok(now) } else { Err(refused(&now)) };
        };
        let Some(amount) = payment.asked else { return Err(Fault::internal("a payment of nothing began again")) };
        let instrument = self.store().instrument(ctx.tenant, payment.id).await?;
        let challenge = self.store().challenged(ctx.tenant, &payment).await?;
        self.ask(ctx, payment, amount, &instrument, challenge).await
    }
}

fn refused(payment: &Payment) -> Fault {
    if payment.lingers() {
        return Fault::aborted("ATTEMPT_IN_PROGRESS", "something of the present attempt has not ended yet")
            .retry_after(Duration::from_secs(1));
    }
    let text = format!("only what was declined or expired, with nothing captured, and at most {MOST_ATTEMPTS} times");
    Fault::precondition("REAUTHORIZE_REFUSED", text)
        .with("state", payment.state().as_str())
        .with("attempt", payment.attempt)
}
