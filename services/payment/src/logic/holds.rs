use ctx::Ctx;
use fault::Fault;

use super::App;
use super::resolve::background;
use super::state::{Hold, Payment};
use crate::data::Due;

impl App {
    /// Announces holds that end within a day, and ends those whose 7 days are over (PAY-02): AuthorizationExpiring,
    /// AuthorizationExpired, and the provider is told to let go.
    ///
    /// # Errors
    /// When the database does not say which there are. What goes wrong with one hold is logged and comes again.
    pub async fn sweep_holds(&self) -> Result<usize, Fault> {
        let due = self.store().aging().await?;
        let count = due.len();
        for due in due {
            let ctx = background(due.tenant);
            if let Err(error) = self.age(&ctx, due).await {
                tracing::warn!(payment.id = %due.payment, tenant = %due.tenant, %error, "A hold did not end");
            }
        }
        Ok(count)
    }

    async fn age(&self, ctx: &Ctx, due: Due) -> Result<(), Fault> {
        let Some(payment) = self.store().get(due.tenant, due.payment).await? else { return Ok(()) };
        let aged = |payment: &Payment| Ok(payment.aged(ctx.now).unwrap_or_else(|| payment.clone()));
        let payment = self.learn(ctx, payment, aged).await?;
        match payment.hold {
            Hold::Expired => self.release(ctx, payment).await.map(|_| ()),
            Hold::Expiring => {
                metrics::counter!("payment_holds_expiring_total").increment(1);
                Ok(())
            }
            Hold::Open => Ok(()),
        }
    }
}
