use ctx::Ctx;
use fault::Fault;
use ids::{OrderId, UserId};
use money::Money;

use super::App;
use super::state::Payment;
use crate::data::{Authorization, Instrument, Trouble, Turn, Wanted};

/// Money is to be held for an order.
#[derive(Debug, Clone)]
pub struct Authorize {
    /// The order.
    pub order: OrderId,
    /// Which round of paying it, from 1.
    pub round: i32,
    /// How much.
    pub amount: Money,
    /// What it is paid with.
    pub instrument: Instrument,
    /// The customer, when the order told us.
    pub customer: Option<UserId>,
    /// Take the money at once (PAY-02).
    pub immediate: bool,
    /// The bank must ask the customer who he is, whatever it thinks itself (FRD-04).
    pub challenge: bool,
}

/// What follows when a provider did not hold the money.
enum Next {
    /// Another provider is asked.
    Ask(Payment),
    /// Nobody is; the payment stands so.
    Is(Payment),
}

impl App {
    /// Holds money for an order once (PAY-03): intent, call and result, each found again after a crash.
    ///
    /// Of many callers one asks the provider; the others get the payment as it stands.
    ///
    /// # Errors
    /// Precondition `PAYMENT_VOIDED` when the order was voided before, `PAYMENT_AMOUNT_DIFFERS` when its payment has
    /// another amount, `PAYMENT_METHOD_REFUSED` when an earlier round ended with this card for good. A decline is no
    /// error, nor is an outcome that nobody knows.
    pub async fn authorize(&self, ctx: &Ctx, cmd: Authorize) -> Result<Payment, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.authorize_to_the_end(&ctx, cmd).await }).await
    }

    async fn authorize_to_the_end(&self, ctx: &Ctx, cmd: Authorize) -> Result<Payment, Fault> {
        let Authorize { order, round, amount, ref instrument, customer, immediate, challenge } = cmd;
        if round > 1 {
            self.check_method(ctx, order, round - 1, &instrument.method).await?;
        }
        let provider = self.gateway().choose().name();
        let wanted = Wanted { order, round, amount, instrument, customer, immediate, provider };
        let begun = self.store().begin(ctx, wanted).await?;
        let payment = begun.payment;
        if payment.void_requested {
            return Err(Fault::precondition("PAYMENT_VOIDED", "the order wants no money held any more")
                .with("payment_id", payment.id));
        }
        if payment.asked != Some(cmd.amount) {
            return Err(Fault::precondition("PAYMENT_AMOUNT_DIFFERS", "the order has a payment of another amount")
                .with("payment_id", payment.id));
        }
        match begun.turn {
            Turn::Theirs => Ok(payment),
            Turn::Stale => self.inquire_now(ctx, payment, true).await,
            Turn::Ours => self.ask(ctx, payment, cmd.amount, &cmd.instrument, challenge).await,
        }
    }

    /// Asks the provider for the hold; safe to repeat, for the key is the payment.
    pub(super) async fn ask(
        &self,
        ctx: &Ctx,
        payment: Payment,
        amount: Money,
        instrument: &Instrument,
        challenge: bool,
    ) -> Result<Payment, Fault> {
        let mut payment = payment;
        // Twice at most: there are two providers, and none is left for the second.
        loop {
            let ask = Authorization {
                tenant: ctx.tenant,
                payment: payment.id,
                order: payment.order,
                amount,
                instrument,
                attempt: payment.attempt,
                immediate: payment.immediate,
                challenge,
            };
            let asked = payment.provider.clone();
            let trouble = match self.provider(&payment)?.authorize(ask).await {
                Ok(seen) => break payment = self.learn(ctx, payment, |payment| payment.told_by(&asked, &seen)).await?,
                Err(trouble) => trouble,
            };
            payment = match self.elsewhere(ctx, payment, &trouble).await? {
                Next::Ask(moved) => moved,
                Next::Is(known) => break payment = known,
            };
        }
        // The order was voided while the provider was being asked: what it granted is let go at once.
        if payment.must_release() { self.release(ctx, payment).await } else { Ok(payment) }
    }

    /// What to do about a provider that did not do it: ask the second where the first surely holds nothing (PAY-09).
    ///
    /// A provider that was not reached did nothing. One whose answer got lost is inquired first, and only when it knows
    /// nothing the second is asked; what turns up at the first later is a stray, and let go by the job.
    async fn elsewhere(&self, ctx: &Ctx, payment: Payment, trouble: &Trouble) -> Result<Next, Fault> {
        let lost = |payment: &Payment| Ok(payment.lost_track());
        let stray = match trouble {
            Trouble::Refused { code, .. } => {
                return Ok(Next::Is(self.learn(ctx, payment, |payment| Ok(payment.refused(code))).await?));
            }
            Trouble::Unreached | Trouble::Resting { .. } => false,
            Trouble::Unknown => true,
        };
        // Taken at once it could be charged twice before the stray is found.
        let second = self.gateway().instead_of(&payment.provider).filter(|_| !(stray && payment.immediate));
        let Some(second) = second else { return Ok(Next::Is(self.learn(ctx, payment, lost).await?)) };
        if stray {
            match self.provider(&payment)?.find(&payment).await {
                Ok(None) => {}
                Ok(Some(seen)) => {
                    let asked = payment.provider.clone();
                    return Ok(Next::Is(self.learn(ctx, payment, |payment| payment.told_by(&asked, &seen)).await?));
                }
                Err(_) => return Ok(Next::Is(self.learn(ctx, payment, lost).await?)),
            }
        }
        let Some(moved) = self.store().switch(ctx, &payment, second.name(), stray).await? else {
            return Ok(Next::Is(self.learn(ctx, payment, lost).await?));
        };
        metrics::counter!("payment_fallbacks_total", "provider" => second.name()).increment(1);
        tracing::warn!(payment.id = %moved.id, provider = second.name(), "Another provider is asked");
        Ok(Next::Ask(moved))
    }
}
