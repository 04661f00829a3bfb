use std::time::Duration;

use ctx::Ctx;
use fault::Fault;
use ids::OrderId;
use money::Money;

use super::App;
use super::capture::in_currency_of;
use super::inquire::not_found;
use super::refund::{name, wrong_currency};
use super::state::Payment;
use crate::data::{Ends, EntryState, Increment, Limit, Place, Trouble};

/// More money is to be held.
#[derive(Debug, Clone, Copy)]
pub struct HoldMore {
    /// The order.
    pub order: OrderId,
    /// How much more.
    pub amount: Money,
}

impl App {
    /// Holds more money for an order, once per idempotency key.
    ///
    /// # Errors
    /// Precondition `PAYMENT_NOT_AUTHORIZED`, `INCREMENT_REFUSED`; Aborted `INCREMENT_IN_PROGRESS`; Invalid
    /// `IDEMPOTENCY_KEY_REUSED`, currency or amount; Unavailable while the outcome is not known.
    pub async fn increment(&self, ctx: &Ctx, cmd: HoldMore) -> Result<(Payment, bool), Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.increment_to_the_end(&ctx, cmd).await }).await
    }

    async fn increment_to_the_end(&self, ctx: &Ctx, cmd: HoldMore) -> Result<(Payment, bool), Fault> {
        let (id, fingerprint) = name(ctx, "increment")?;
        let place = self.store().begin_increment(ctx, cmd.order, id, cmd.amount, fingerprint).await?;
        let (payment, increment, repeat) = match place {
            Place::NoPayment => return Err(not_found()),
            Place::Refused { why: Limit::Currency, payment, .. } => return Err(wrong_currency(&payment)),
            Place::Refused { why: Limit::Exceeds, .. } => {
                return Err(Fault::invalid("amount.amount_minor", "TOO_LARGE", "the sum is too large to be money"));
            }
            Place::Refused { why: Limit::Busy, .. } => {
                return Err(Fault::aborted("INCREMENT_IN_PROGRESS", "another increment is under way")
                    .retry_after(Duration::from_secs(1)));
            }
            Place::Refused { payment, .. } | Place::Before { payment } => {
                return Err(Fault::precondition("PAYMENT_NOT_AUTHORIZED", "no open hold can be raised")
                    .with("state", payment.state().as_str()));
            }
            Place::Taken { same: false, .. } => {
                let text = "the key was used for another request before";
                return Err(Fault::invalid("idempotency_key", "IDEMPOTENCY_KEY_REUSED", text));
            }
            Place::Taken { payment, entry, fresh, .. } => (payment, entry, !fresh),
        };
        match increment.state {
            EntryState::Succeeded => Ok((payment, repeat)),
            EntryState::Failed => Err(refused(increment.code.as_deref().unwrap_or_default())),
            EntryState::Pending => Ok((self.send_increment(ctx, payment, &increment).await?, repeat)),
        }
    }

    /// Asks the provider for an increment that has its place; safe to repeat, for the key is the increment.
    pub(super) async fn send_increment(
        &self,
        ctx: &Ctx,
        payment: Payment,
        increment: &Increment,
    ) -> Result<Payment, Fault> {
        let Some(reference) = payment.reference.clone() else {
            return Err(Fault::internal("money is held under no reference"));
        };
        let key = format!("inc_{}", increment.id().simple());
        let target = in_currency_of(&payment, increment.target)?;
        match self.provider(&payment)?.increment(&reference, target, &key).await {
            Ok(seen) => {
                self.conclude(ctx, payment, Ends::Incremented(increment), |payment| payment.observe(&seen)).await
            }
            Err(Trouble::Unknown | Trouble::Unreached | Trouble::Resting { .. }) => Err(Fault::unavailable(
                "PAYMENT_OUTCOME_UNKNOWN",
                "the provider has not said yet whether it holds more",
            )
            .retry_after(Duration::from_secs(1))),
            Err(Trouble::Refused { code, .. }) => {
                let ends = Ends::IncrementRefused(increment, &code);
                self.conclude(ctx, payment, ends, |payment| Ok(payment.clone())).await?;
                Err(refused(&code))
            }
        }
    }
}

fn refused(code: &str) -> Fault {
    Fault::precondition("INCREMENT_REFUSED", "the provider does not hold more").with("code", code)
}
