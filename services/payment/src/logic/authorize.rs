use ctx::Ctx;
use fault::Fault;
use ids::OrderId;
use money::Money;

use super::App;
use super::state::Payment;
use crate::data::{Authorization, Trouble, Turn};

/// Money is to be held for an order.
#[derive(Debug, Clone)]
pub struct Authorize {
    /// The order.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// Provider's token of the payment method.
    pub method: String,
}

impl App {
    /// Holds money for an order once (PAY-03): intent, call and result, each found again after a crash.
    ///
    /// Of many callers one asks the provider; the others get the payment as it stands.
    ///
    /// # Errors
    /// Precondition `PAYMENT_VOIDED` when the order was voided before, `PAYMENT_AMOUNT_DIFFERS` when its payment has
    /// another amount. A decline is no error, nor is an outcome that nobody knows.
    pub async fn authorize(&self, ctx: &Ctx, cmd: Authorize) -> Result<Payment, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.authorize_to_the_end(&ctx, cmd).await }).await
    }

    async fn authorize_to_the_end(&self, ctx: &Ctx, cmd: Authorize) -> Result<Payment, Fault> {
        let begun = self.store().begin(ctx, cmd.order, cmd.amount, &cmd.method).await?;
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
            Turn::Ours => self.ask(ctx, payment, cmd.amount, &cmd.method).await,
        }
    }

    /// Asks the provider for the hold; safe to repeat, for the key is the payment.
    pub(super) async fn ask(&self, ctx: &Ctx, payment: Payment, amount: Money, method: &str) -> Result<Payment, Fault> {
        let ask = Authorization { tenant: ctx.tenant, payment: payment.id, order: payment.order, amount, method };
        let payment = match self.stripe().authorize(ask).await {
            Ok(seen) => self.learn(ctx, payment, |payment| payment.observe(&seen)).await?,
            Err(Trouble::Unknown) => self.learn(ctx, payment, |payment| Ok(payment.lost_track())).await?,
            Err(Trouble::Refused { code, .. }) => {
                self.learn(ctx, payment, |payment| Ok(payment.refused(&code))).await?
            }
        };
        // The order was voided while the provider was being asked: what it granted is let go at once.
        if payment.must_release() { self.release(ctx, payment).await } else { Ok(payment) }
    }
}
