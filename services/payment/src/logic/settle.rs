//! Writing what was learnt, however many others learn at the same time.

use ctx::Ctx;
use fault::Fault;

use super::App;
use super::state::{Mismatch, Payment};
use crate::data::Ends;

/// Writers that lose this often in a row meet something that is not a race.
const RACES: u32 = 50;

impl App {
    /// Folds a report in and writes the outcome; when the row moved on meanwhile, folds into what it is now.
    ///
    /// A report that does not fit the payment is logged and changes nothing.
    pub(super) async fn learn(
        &self,
        ctx: &Ctx,
        payment: Payment,
        report: impl Fn(&Payment) -> Result<Payment, Mismatch> + Send + Sync,
    ) -> Result<Payment, Fault> {
        let mut before = payment;
        for _ in 0..RACES {
            let Some(next) = fitting(&before, report(&before)) else { return Ok(before) };
            if next == before {
                return Ok(before);
            }
            if let Some(written) = self.store().settle(ctx, &before, &next, None).await? {
                return Ok(written);
            }
            before = self.reload(ctx, &before).await?;
        }
        Err(contention())
    }

    /// Like [`App::learn`], and ends a capture or refund in the same commit unless somebody else did.
    pub(super) async fn conclude(
        &self,
        ctx: &Ctx,
        payment: Payment,
        ends: Ends<'_>,
        report: impl Fn(&Payment) -> Result<Payment, Mismatch> + Send + Sync,
    ) -> Result<Payment, Fault> {
        let mut before = payment;
        for _ in 0..RACES {
            // The entry has ended at the provider whatever the report says of the payment.
            let next = fitting(&before, report(&before)).unwrap_or_else(|| before.clone());
            if let Some(written) = self.store().settle(ctx, &before, &next, Some(ends)).await? {
                return Ok(written);
            }
            let now = self.store().open_entries(ctx.tenant, before.id).await?;
            if !now.has(ends) {
                return Ok(now.payment);
            }
            before = now.payment;
        }
        Err(contention())
    }

    /// Writes a change with what was done beside the row: the audit's name of that, minor units, and where. Of a payment
    /// that `change` has nothing to do with any more nothing is told.
    pub(super) async fn note(
        &self,
        ctx: &Ctx,
        payment: Payment,
        done: (&'static str, i64, &str),
        change: impl Fn(&Payment) -> Option<Payment> + Send + Sync,
    ) -> Result<Payment, Fault> {
        let mut before = payment;
        for _ in 0..RACES {
            let Some(next) = change(&before) else { return Ok(before) };
            if let Some(written) = self.store().note(ctx, &before, &next, done).await? {
                return Ok(written);
            }
            before = self.reload(ctx, &before).await?;
        }
        Err(contention())
    }

    /// The payment as it is now.
    pub(super) async fn reload(&self, ctx: &Ctx, payment: &Payment) -> Result<Payment, Fault> {
        let now = self.store().get(ctx.tenant, payment.id).await?;
        now.ok_or_else(|| Fault::internal("a payment vanished"))
    }
}

fn fitting(payment: &Payment, report: Result<Payment, Mismatch>) -> Option<Payment> {
    match report {
        Ok(next) => Some(next),
        Err(mismatch) => {
            metrics::counter!("payment_mismatches_total").increment(1);
            tracing::error!(payment.id = %payment.id, %mismatch, "a report of the provider was not taken in");
            None
        }
    }
}

fn contention() -> Fault {
    Fault::aborted("CONTENTION", "too many changes of the same payment")
}
