use std::time::Duration;

use ctx::Ctx;
use fault::Fault;
use ids::{OrderId, ShipmentId};
use money::Money;

use super::App;
use super::inquire::not_found;
use super::state::Payment;
use crate::data::{Capture, Ends, EntryState, Limit, Place, Trouble};

/// The money of a shipment is to be taken.
#[derive(Debug, Clone, Copy)]
pub struct CaptureShipment {
    /// The order.
    pub order: OrderId,
    /// The shipment; its money is taken once.
    pub shipment: ShipmentId,
    /// How much.
    pub amount: Money,
    /// Nothing more will be captured.
    pub last: bool,
}

impl App {
    /// Takes the money of one shipment once, never more in total than is held (PAY-03, M10).
    ///
    /// # Errors
    /// Precondition `CAPTURE_EXCEEDS_AUTHORIZATION`, `PAYMENT_NOT_AUTHORIZED`, `AUTHORIZATION_EXPIRED`,
    /// `CAPTURE_DIFFERS`, `CAPTURE_REFUSED`; Aborted `CAPTURE_IN_PROGRESS`; Unavailable while the outcome is not known
    /// (the same call again asks with the same key).
    pub async fn capture(&self, ctx: &Ctx, cmd: CaptureShipment) -> Result<Payment, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.capture_to_the_end(&ctx, cmd).await }).await
    }

    async fn capture_to_the_end(&self, ctx: &Ctx, cmd: CaptureShipment) -> Result<Payment, Fault> {
        let place = self.store().begin_capture(ctx, cmd.order, cmd.shipment, cmd.amount, cmd.last).await?;
        let (payment, capture) = match place {
            Place::NoPayment => return Err(not_found()),
            Place::Before { payment } => return Ok(payment),
            Place::Refused { why, payment, remaining } => return Err(no_place(why, &payment, remaining)),
            Place::Taken { same: false, .. } => {
                return Err(Fault::precondition(
                    "CAPTURE_DIFFERS",
                    "the shipment was captured with other values before",
                )
                .with("shipment_id", cmd.shipment));
            }
            Place::Taken { payment, entry, .. } => (payment, entry),
        };
        match capture.state {
            EntryState::Succeeded => Ok(payment),
            EntryState::Failed => Err(refused(capture.code.as_deref().unwrap_or_default())),
            EntryState::Pending => self.send_capture(ctx, payment, &capture).await,
        }
    }

    /// Asks the provider for a capture that has its place; safe to repeat, for the key is shipment and attempt.
    ///
    /// A hold that is over is let go first: nothing is taken from it then, and what the provider says to a key that it
    /// knows is what it did in time (PAY-02).
    pub(super) async fn send_capture(&self, ctx: &Ctx, payment: Payment, capture: &Capture) -> Result<Payment, Fault> {
        let payment = if payment.over(ctx.now) { self.let_go_what_is_over(ctx, payment).await? } else { payment };
        let Some(reference) = payment.reference.clone() else {
            return Err(Fault::internal("money is held under no reference"));
        };
        // Refused under one hold it may be done under the next, which is another question to the provider.
        let key = format!("{}.{}:{}", payment.round, capture.attempt, capture.shipment());
        let amount = in_currency_of(&payment, capture.amount)?;
        let asked = self.provider(&payment)?;
        match asked.capture(&reference, amount, capture.last, &key).await {
            Ok(seen) => {
                let ends = Ends::Captured(capture);
                self.conclude(ctx, payment, ends, |payment| payment.told_by(asked.name(), &seen)).await
            }
            Err(Trouble::Unknown | Trouble::Unreached | Trouble::Resting { .. }) => {
                Err(Fault::unavailable("PAYMENT_OUTCOME_UNKNOWN", "the provider has not said yet whether it captured")
                    .retry_after(Duration::from_secs(1)))
            }
            Err(Trouble::Refused { code, intent }) => {
                let ends = Ends::CaptureRefused(capture, &code);
                let seen = intent.as_deref();
                self.conclude(ctx, payment, ends, |payment| {
                    seen.map_or(Ok(payment.clone()), |seen| payment.told_by(asked.name(), seen))
                })
                .await?;
                Err(refused(&code))
            }
        }
    }

    async fn let_go_what_is_over(&self, ctx: &Ctx, payment: Payment) -> Result<Payment, Fault> {
        let aged = |payment: &Payment| Ok(payment.aged(ctx.now).unwrap_or_else(|| payment.clone()));
        let payment = self.learn(ctx, payment, aged).await?;
        self.release(ctx, payment).await
    }
}

/// Minor units as money of a payment's currency.
pub(super) fn in_currency_of(payment: &Payment, minor: i64) -> Result<Money, Fault> {
    let asked = payment.asked.ok_or_else(|| Fault::internal("a payment of nothing moves money"))?;
    Ok(Money::new(asked.currency, minor))
}

fn refused(code: &str) -> Fault {
    Fault::precondition("CAPTURE_REFUSED", "the provider refused the capture").with("code", code)
}

fn no_place(why: Limit, payment: &Payment, remaining: i64) -> Fault {
    match why {
        Limit::Currency => super::refund::wrong_currency(payment),
        Limit::Closed => Fault::precondition("PAYMENT_NOT_AUTHORIZED", "no money is held for the order")
            .with("state", payment.state().as_str()),
        Limit::Expired => Fault::precondition("AUTHORIZATION_EXPIRED", "the hold is older than 7 days"),
        Limit::Busy => Fault::aborted("CAPTURE_IN_PROGRESS", "another capture of the payment is under way")
            .retry_after(Duration::from_secs(1)),
        Limit::Exceeds => Fault::precondition("CAPTURE_EXCEEDS_AUTHORIZATION", "more than is held")
            .with("remaining_minor", remaining.max(0)),
    }
}
