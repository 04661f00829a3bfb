//! The job that leaves nothing undecided: silent authorizations, captures, increments and refunds without an answer,
//! money that a voided order still holds, holds that come to their end, and events whose payment was not known.

use std::time::Duration;

use ctx::{Cause, Ctx};
use fault::Fault;
use futures::StreamExt;
use jiff::Timestamp;
use serve::{Job, Turn};
use uuid::Uuid;

use super::state::{Payment, Phase, Snapshot, State};
use super::{App, hooks};
use crate::data::{Due, Parked, Provider, Trouble, Webhook};

/// Pause between two passes.
const PAUSE: Duration = Duration::from_secs(5);
/// Pause before parked events are tried again.
const PARKED: Duration = Duration::from_secs(30);
/// Payments that are resolved at the same time.
const AT_ONCE: usize = 4;

impl App {
    /// The jobs that do so; any number of processes may run them.
    pub fn jobs(&self) -> Vec<Job> {
        let app = || self.clone();
        vec![
            Job::every(
                "payment.resolver",
                PAUSE,
                app(),
                |app| async move { app.resolve_due().await.map(|_| Turn::Done) },
            ),
            Job::every("payment.probe", PAUSE, app(), |app| async move {
                app.gateway().probe().await;
                Ok(Turn::Done)
            }),
            Job::every("payment.holds", PAUSE, app(), |app| async move { app.sweep_holds().await.map(|_| Turn::Done) }),
            Job::every(
                "payment.parked",
                PARKED,
                app(),
                |app| async move { app.retry_parked().await.map(|()| Turn::Done) },
            ),
        ]
    }

    /// One pass over the payments of all tenants that are due; how many there were.
    ///
    /// # Errors
    /// When the database does not say what is due. What goes wrong with one payment is logged and comes again.
    pub async fn resolve_due(&self) -> Result<usize, Fault> {
        let due = self.store().due().await?;
        let count = due.len();
        let each = |due: Due| async move {
            let ctx = background(due.tenant);
            if let Err(error) = self.resolve(&ctx, due).await {
                tracing::warn!(payment.id = %due.payment, tenant = %due.tenant, %error, "A payment stays undecided");
            }
        };
        futures::stream::iter(due).for_each_concurrent(AT_ONCE, each).await;
        Ok(count)
    }

    async fn resolve(&self, ctx: &Ctx, due: Due) -> Result<(), Fault> {
        let Some(payment) = self.store().claim(due.tenant, due.payment).await? else { return Ok(()) };
        let late = payment.void_requested && payment.undetermined();
        let payment = match payment.state() {
            State::Processing | State::Unknown => self.inquire_now(ctx, payment, true).await?,
            _ if late => self.inquire_now(ctx, payment, false).await?,
            _ => payment,
        };
        let entries = self.store().open_entries(ctx.tenant, payment.id).await?;
        for capture in &entries.captures {
            // A refusal ends the capture and is the caller's to hear, not the job's.
            self.ended(self.send_capture(ctx, entries.payment.clone(), capture).await.map(|_| ()))?;
        }
        for increment in &entries.increments {
            self.ended(self.send_increment(ctx, entries.payment.clone(), increment).await.map(|_| ()))?;
        }
        for refund in entries.refunds {
            self.ended(self.follow_refund(ctx, entries.payment.clone(), refund).await.map(|_| ()))?;
        }
        let payment = self.reload(ctx, &payment).await?;
        let payment = self.catch_stray(ctx, payment).await?;
        let payment = if payment.must_release() { self.release(ctx, payment).await? } else { payment };
        self.rest(ctx, &payment).await
    }

    /// Looks whether a provider that was asked before did it after all, and lets that go.
    async fn catch_stray(&self, ctx: &Ctx, payment: Payment) -> Result<Payment, Fault> {
        let Some(name) = payment.stray.clone() else { return Ok(payment) };
        let provider = self.gateway().of(&name)?;
        let fate = match provider.find_stray(&payment).await {
            Ok(Some(seen)) => let_go(provider, &payment, &seen).await,
            Ok(None) if payment.stray_is_gone() => Stray::Gone,
            Ok(None) | Err(_) => Stray::Lingers,
        };
        match fate {
            Stray::Lingers => Ok(payment),
            Stray::Gone => self.learn(ctx, payment, |payment| Ok(payment.without_stray())).await,
            Stray::LetGo { minor, reference } => {
                tracing::warn!(payment.id = %payment.id, reference, minor, "A hold at the provider that was asked before was let go");
                metrics::counter!("payment_strays_total").increment(1);
                // Two processes may have let it go; it is told once.
                let still = |now: &Payment| now.stray.as_ref().map(|_| now.without_stray());
                self.note(ctx, payment, ("STRAY_VOIDED", minor, &format!("{name} {reference}")), still).await
            }
        }
    }

    fn ended(&self, outcome: Result<(), Fault>) -> Result<(), Fault> {
        match outcome {
            Err(fault) if fault.retryable() || fault.kind() == fault::Kind::Internal => Err(fault),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes a payment off the list when nothing is left to do; the store decides that with every write.
    async fn rest(&self, ctx: &Ctx, payment: &Payment) -> Result<(), Fault> {
        if !payment.unresolved() {
            // A lost race is a write as well.
            self.store().settle(ctx, payment, payment, None).await?;
        }
        Ok(())
    }

    /// Tries the events again whose payment was not known.
    ///
    /// # Errors
    /// When the database does not say which there are.
    pub async fn retry_parked(&self) -> Result<(), Fault> {
        for parked in self.store().parked().await? {
            if let Err(error) = self.retry_one(&parked).await {
                tracing::warn!(event.id = %parked.event_id, tenant = %parked.tenant, %error, "A webhook stays parked");
            }
        }
        Ok(())
    }

    async fn retry_one(&self, parked: &Parked) -> Result<(), Fault> {
        let Some(body) = self.store().parked_body(parked).await? else { return Ok(()) };
        let hooks = hooks::of(&parked.provider).ok_or_else(|| Fault::internal("an event of an unknown provider"))?;
        let event = (hooks.read)(&body).map_err(Fault::internal)?;
        let (event_id, kind, provider) = (event.id.clone(), event.kind.clone(), parked.provider.clone());
        let webhook = Webhook { provider, event_id, kind, body };
        self.take_in(&background(parked.tenant), &webhook, event).await
    }
}

/// What became of a hold at a provider that was asked before.
enum Stray {
    /// It is not known yet.
    Lingers,
    /// There is none, or somebody else ended it.
    Gone,
    /// We let it go.
    LetGo {
        /// Minor units that were held.
        minor: i64,
        /// The provider's id of it.
        reference: String,
    },
}

async fn let_go(provider: &Provider, payment: &Payment, seen: &Snapshot) -> Stray {
    if seen.phase == Phase::Failed {
        return Stray::Gone;
    }
    let key = format!("{}:{}:stray", payment.id, payment.attempt);
    match provider.cancel(&seen.reference, &key).await {
        // Also when it was over before: under our key only we can have ended it, and the answer got lost.
        Ok(_) => {
            let held = matches!(seen.phase, Phase::Held | Phase::Canceled);
            let minor = if held { seen.amount.minor - seen.received } else { 0 };
            Stray::LetGo { minor, reference: seen.reference.clone() }
        }
        Err(Trouble::Refused { .. }) if seen.phase == Phase::Canceled => Stray::Gone,
        Err(_) => Stray::Lingers,
    }
}

pub(super) fn background(tenant: ids::TenantId) -> Ctx {
    let cause = Cause { correlation_id: Uuid::now_v7().to_string(), ..Cause::default() };
    Ctx::service("payment", tenant, cause, Timestamp::now())
}
