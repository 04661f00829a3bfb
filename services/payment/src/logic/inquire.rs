use ctx::Ctx;
use fault::Fault;
use ids::OrderId;

use super::App;
use super::state::{Payment, State};
use crate::data::Trouble;

impl App {
    /// Asks the provider by our own key what became of a payment, and folds the answer in (rule S1).
    ///
    /// # Errors
    /// NotFound `PAYMENT_NOT_FOUND`.
    pub async fn inquire(&self, ctx: &Ctx, order: OrderId, round: i32) -> Result<Payment, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move {
            let found = app.store().of_order(ctx.tenant, order, round).await?;
            let payment = found.ok_or_else(not_found)?;
            if !payment.undetermined() && payment.reference.is_none() {
                return Ok(payment);
            }
            // Somebody may be asking for the hold right now: only when he has been silent for long we ask as well.
            let stale = match payment.state() {
                State::Processing => app.store().claim(ctx.tenant, payment.id).await?.is_some(),
                _ => true,
            };
            app.inquire_now(&ctx, payment, stale).await
        })
        .await
    }

    /// Inquires; when the provider knows nothing and `ask_again`, asks for the hold with the same key.
    ///
    /// # Errors
    /// Unavailable `PROVIDER_RESTING` when the provider failed too often and somebody else probes it just now.
    pub(super) async fn inquire_now(&self, ctx: &Ctx, payment: Payment, ask_again: bool) -> Result<Payment, Fault> {
        let asked = payment.provider.clone();
        let found = self.provider(&payment)?.find(&payment).await;
        let payment = match found {
            Ok(Some(seen)) => self.learn(ctx, payment, |payment| payment.told_by(&asked, &seen)).await?,
            // The void may have come while we asked: the row decides, not what we read before.
            Ok(None) => self.reload(ctx, &payment).await?,
            // Nobody was asked, so nothing is known that was not known before.
            Err(Trouble::Resting { wait }) => {
                return Err(Fault::unavailable("PROVIDER_RESTING", "the provider is given a rest").retry_after(wait));
            }
            Err(_) => return self.learn(ctx, payment, |payment| Ok(payment.lost_track())).await,
        };
        if !payment.undetermined() {
            return Ok(payment);
        }
        if payment.void_requested {
            return self.learn(ctx, payment, |payment| Ok(payment.not_found())).await;
        }
        let Some(amount) = payment.asked.filter(|_| ask_again) else { return Ok(payment) };
        let instrument = self.store().instrument(ctx.tenant, payment.id).await?;
        let challenge = self.store().challenged(ctx.tenant, &payment).await?;
        self.ask(ctx, payment, amount, &instrument, challenge).await
    }
}

pub(super) fn not_found() -> Fault {
    Fault::not_found("PAYMENT_NOT_FOUND", "there is no such payment")
}
