use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::{OrderId, RefundId};
use uuid::Uuid;

use super::App;
use super::state::{Payment, State};
use crate::data::{EntryState, Place, Trouble};

/// Steps of one release; each step brings the payment nearer to its end, so more would mean that one does not.
const STEPS: u32 = 8;

impl App {
    /// Lets the money of a round of paying an order go, wherever it is; for one never seen leaves the mark that refuses
    /// a late authorization (rule S2).
    ///
    /// # Errors
    /// Unavailable while the provider does not say what became of the money; the job goes on by itself.
    pub async fn void(&self, ctx: &Ctx, order: OrderId, round: i32) -> Result<Payment, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move {
            let payment = app.store().void(&ctx, order, round).await?;
            app.release(&ctx, payment).await
        })
        .await
    }

    /// Inquires, cancels and refunds until nothing is left to let go.
    ///
    /// Boxed: releasing may have to inquire, and an inquiry may find something to release.
    pub(super) fn release<'a>(&'a self, ctx: &'a Ctx, payment: Payment) -> BoxFuture<'a, Result<Payment, Fault>> {
        let mut payment = payment;
        async move {
            for _ in 0..STEPS {
                payment = if matches!(payment.state(), State::Processing | State::Unknown) {
                    self.inquire_now(ctx, payment, false).await?
                } else if !payment.must_release() {
                    return Ok(payment);
                } else if payment.holds() || payment.state() == State::RequiresAction {
                    self.cancel(ctx, payment).await?
                } else {
                    match self.give_all_back(ctx, payment).await? {
                        // Banks take days: that it is on its way is all that can be waited for.
                        (payment, true) => return Ok(payment),
                        (payment, false) => payment,
                    }
                };
                if payment.state() == State::Unknown {
                    return Err(outcome_unknown());
                }
            }
            Err(outcome_unknown())
        }
        .boxed()
    }

    async fn cancel(&self, ctx: &Ctx, payment: Payment) -> Result<Payment, Fault> {
        let Some(reference) = payment.reference.clone() else {
            return Err(Fault::internal("money is held under no reference"));
        };
        match self.provider(&payment)?.cancel(&reference, &format!("{}:{}:void", payment.id, payment.attempt)).await {
            Ok(seen) => self.learn(ctx, payment, |payment| payment.observe(&seen)).await,
            Err(Trouble::Unknown | Trouble::Unreached | Trouble::Resting { .. }) => Err(outcome_unknown()),
            // It ended otherwise in the meantime; where it stands decides what is left to do.
            Err(Trouble::Refused { intent: Some(seen), .. }) => {
                self.learn(ctx, payment, |payment| payment.observe(&seen)).await
            }
            Err(Trouble::Refused { code, intent: None }) => {
                Err(Fault::precondition("VOID_REFUSED", "the provider does not let the hold go").with("code", code))
            }
        }
    }

    /// Gives back what is left; and whether the bank is not done with that.
    async fn give_all_back(&self, ctx: &Ctx, payment: Payment) -> Result<(Payment, bool), Fault> {
        // Named by what is known: a repeat finds the same refund, money captured later gets another.
        let name = format!("void:{}:{}", payment.captured, payment.refunded);
        let refund = RefundId::from_uuid(Uuid::new_v5(&payment.id.uuid(), name.as_bytes()));
        let place = self.store().begin_refund(ctx, payment.id, refund, None, "the order was voided", [0; 32]).await?;
        match place {
            Place::Taken { entry, .. } if entry.state == EntryState::Failed => {
                Err(Fault::precondition("REFUND_REFUSED", "the provider does not give the money back")
                    .with("code", entry.code.unwrap_or_default()))
            }
            Place::Taken { payment, entry, fresh, .. } => {
                let before = payment.clone();
                let given = match fresh {
                    true => self.send_refund(ctx, payment, entry).await,
                    false => self.follow_refund(ctx, payment, entry).await,
                };
                match given {
                    Ok(given) if given.refund.state == EntryState::Pending && !given.under_way => {
                        Err(outcome_unknown())
                    }
                    Ok(given) => Ok((given.payment, given.under_way)),
                    // Refused because it was given back otherwise: then nothing is left to do.
                    Err(fault) => {
                        let now = self.reload(ctx, &before).await?;
                        if now.must_release() { Err(fault) } else { Ok((now, false)) }
                    }
                }
            }
            // Other refunds hold what is left; they end first, or are on their way.
            Place::Refused { payment, .. } | Place::Before { payment } => match self.goes_back(ctx, &payment).await? {
                true => Ok((payment, true)),
                false => Err(outcome_unknown()),
            },
            Place::NoPayment => Err(Fault::internal("a payment vanished")),
        }
    }
}

fn outcome_unknown() -> Fault {
    Fault::unavailable("PAYMENT_OUTCOME_UNKNOWN", "the provider has not said yet what became of the money")
        .retry_after(std::time::Duration::from_secs(1))
}
