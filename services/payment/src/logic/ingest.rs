use ctx::{Ctx, Open, Principal};
use fault::Fault;
use ids::TenantId;

use super::state::Payment;
use super::{App, hooks};
use crate::data::{ProviderEvent, Report, Status, Stored, Webhook};

/// Writers that lose this often in a row meet something that is not a race.
const RACES: u32 = 50;

/// What a provider pushed.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// Provider's name.
    pub provider: String,
    /// Whose endpoint it was pushed to.
    pub tenant: TenantId,
    /// Signature header.
    pub signature: String,
    /// As it was sent.
    pub body: Vec<u8>,
}

impl App {
    /// Stores a signed event once and folds it in, in one commit (PAY-10, rule I5).
    ///
    /// # Errors
    /// Unauthenticated `WEBHOOK_SIGNATURE`; Invalid `provider` or `payload`.
    pub async fn ingest(&self, open: Open, cmd: Ingest) -> Result<(), Fault> {
        let known = hooks::of(&cmd.provider).filter(|hooks| self.gateway().of(hooks.provider).is_ok());
        let hooks = known.ok_or_else(|| Fault::invalid("provider", "UNKNOWN_PROVIDER", "no such payment provider"))?;
        let secret = self.inner.settings.webhook_secret(hooks.secret, cmd.tenant);
        if !(hooks.genuine)(&secret, &cmd.signature, &cmd.body, open.now) {
            return Err(Fault::unauthenticated("WEBHOOK_SIGNATURE", "the signature is missing, wrong or too old"));
        }
        let mut ctx = open.in_tenant(cmd.tenant);
        ctx.principal = Principal::Provider { name: hooks.provider.to_owned() };
        // Without the parser's words: they may repeat what the body holds.
        let event = (hooks.read)(&cmd.body)
            .map_err(|_| Fault::invalid("payload", "EVENT_MALFORMED", "not an event of the provider"))?;
        if event.id.is_empty() || event.id.len() > 255 || event.kind.len() > 255 {
            return Err(Fault::invalid("payload", "EVENT_MALFORMED", "id or type of the event is empty or too long"));
        }
        let (event_id, kind, provider) = (event.id.clone(), event.kind.clone(), cmd.provider);
        let (app, webhook) = (self.clone(), Webhook { provider, event_id, kind, body: cmd.body });
        self.finish(async move { app.take_in(&ctx, &webhook, event).await }).await
    }

    /// Folds an event into its payment as the row is now; an unknown payment parks it.
    pub(super) async fn take_in(&self, ctx: &Ctx, webhook: &Webhook, event: ProviderEvent) -> Result<(), Fault> {
        if let Report::Refund { refund, seen } = &event.report {
            count(self.take_refund_in(ctx, webhook, &event, (*refund, seen)).await?);
            return Ok(());
        }
        for _ in 0..RACES {
            let payment = match (&event.report, event.payment) {
                (Report::Nothing | Report::Refund { .. }, _) => None,
                (_, Some(payment)) => self.store().get(ctx.tenant, payment).await?,
                // Disputes name the payment by the provider's id only.
                (Report::Dispute { reference, .. }, None) => self.store().of_reference(ctx.tenant, reference).await?,
                (Report::Payment(_), None) => None,
            };
            let (status, next) = judge(ctx, (&webhook.provider, &event), payment.as_ref());
            let changed = payment.as_ref().zip(next.as_ref()).filter(|(before, next)| before != next);
            let changed = changed.map(|(before, next)| (before, next, None));
            let stored = self.store().ingest(ctx, webhook, status, changed).await?;
            if stored != Stored::Stale {
                count((status, stored));
                return Ok(());
            }
        }
        Err(Fault::aborted("CONTENTION", "too many changes of the same payment"))
    }
}

fn count((status, stored): (Status, Stored)) {
    let outcome = if stored == Stored::Duplicate { "DUPLICATE" } else { status.as_str() };
    metrics::counter!("payment_webhooks_total", "outcome" => outcome).increment(1);
}

/// What becomes of an event, given its payment.
fn judge(ctx: &Ctx, (provider, event): (&str, &ProviderEvent), payment: Option<&Payment>) -> (Status, Option<Payment>) {
    let nameless = matches!(event.report, Report::Payment(_)) && event.payment.is_none();
    if nameless || event.tenant.is_some_and(|tenant| tenant != ctx.tenant) {
        tracing::warn!(event.id, event.kind, "a signed event belongs to no payment of its tenant");
        return (Status::Ignored, None);
    }
    let next = match &event.report {
        Report::Nothing | Report::Refund { .. } => return (Status::Ignored, None),
        Report::Payment(seen) => payment.map(|payment| payment.told_by(provider, seen)),
        Report::Dispute { id, dispute, .. } => payment.map(|payment| Ok(payment.observe_dispute(id, *dispute))),
    };
    match next {
        None => (Status::Parked, None),
        Some(Ok(next)) => (Status::Folded, Some(next)),
        Some(Err(mismatch)) => {
            metrics::counter!("payment_mismatches_total").increment(1);
            tracing::error!(event.id, event.kind, %mismatch, "an event of the provider was not taken in");
            (Status::Ignored, None)
        }
    }
}
