//! What becomes of refunds after they were asked for: banks take days, and some money comes back.

use ctx::Ctx;
use fault::Fault;
use ids::RefundId;

use super::App;
use super::refund::GivenBack;
use super::state::{Payment, RefundSeen, RefundState};
use crate::data::{Ends, EntryState, ProviderEvent, Refund, Status, Stored, Webhook};

/// Writers that lose this often in a row meet something that is not a race.
const RACES: u32 = 50;

impl App {
    /// Asks the provider what became of a refund; one that it knows nothing of is asked for again by its key.
    ///
    /// # Errors
    /// As [`App::send_refund`].
    pub(super) async fn follow_refund(&self, ctx: &Ctx, payment: Payment, refund: Refund) -> Result<GivenBack, Fault> {
        let Some(reference) = payment.reference.as_deref() else {
            return Err(Fault::internal("money was captured under no reference"));
        };
        match self.provider(&payment)?.find_refund(reference, refund.id()).await {
            Ok(Some(seen)) => self.fold_refund(ctx, payment, refund, &seen).await,
            Ok(None) => self.send_refund(ctx, payment, refund).await,
            Err(_) => Ok(GivenBack { payment, refund, under_way: false }),
        }
    }

    /// Whether everything that is left of a payment is on its way back, as far as its provider says.
    ///
    /// # Errors
    /// As [`App::send_refund`].
    pub(super) async fn goes_back(&self, ctx: &Ctx, payment: &Payment) -> Result<bool, Fault> {
        let open = self.store().open_entries(ctx.tenant, payment.id).await?;
        let mut all = open.payment.refundable() == 0 && !open.refunds.is_empty();
        for refund in open.refunds {
            all &= self.follow_refund(ctx, open.payment.clone(), refund).await?.under_way;
        }
        Ok(all)
    }

    /// Asks the provider about all refunds of a payment: one that came back may not have been told.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub(super) async fn recount_refunds(&self, ctx: &Ctx, payment: Payment) -> Result<Payment, Fault> {
        let mut payment = payment;
        for refund in self.list_refunds(ctx, payment.id).await? {
            let Some(reference) = payment.reference.clone() else { break };
            if let Ok(Some(seen)) = self.provider(&payment)?.find_refund(&reference, refund.id()).await {
                // In this order, as below.
                payment = self.reload(ctx, &payment).await?;
                let refund = self.get_refund(ctx, refund.id()).await?;
                payment = self.fold_refund(ctx, payment, refund, &seen).await?.payment;
            }
        }
        Ok(payment)
    }

    /// Folds in what the provider says of a refund of ours.
    pub(super) async fn fold_refund(
        &self,
        ctx: &Ctx,
        payment: Payment,
        refund: Refund,
        seen: &RefundSeen,
    ) -> Result<GivenBack, Fault> {
        let (mut payment, mut refund) = (payment, refund);
        for _ in 0..RACES {
            let Some((next, ends)) = told(&payment, &refund, seen) else {
                let under_way = refund.state == EntryState::Pending;
                return Ok(GivenBack { payment, refund, under_way });
            };
            let well = matches!(ends, Ends::Refunded(..));
            if let Some(payment) = self.store().settle(ctx, &payment, &next, Some(ends)).await? {
                refund.state = if well { EntryState::Succeeded } else { EntryState::Failed };
                return Ok(GivenBack { payment, refund, under_way: false });
            }
            // The payment first: whatever ends the refund after that moves the payment on.
            payment = self.reload(ctx, &payment).await?;
            refund = self.get_refund(ctx, refund.id()).await?;
        }
        Err(Fault::aborted("CONTENTION", "too many changes of the same payment"))
    }

    /// Stores an event about a refund with what it changes; one of nobody's refund, or of a provider that was
    /// not asked for it, changes nothing.
    pub(super) async fn take_refund_in(
        &self,
        ctx: &Ctx,
        webhook: &Webhook,
        event: &ProviderEvent,
        (refund, seen): (RefundId, &RefundSeen),
    ) -> Result<(Status, Stored), Fault> {
        for _ in 0..RACES {
            let payment = match event.payment.filter(|_| event.tenant == Some(ctx.tenant)) {
                Some(payment) => self.store().get(ctx.tenant, payment).await?,
                None => None,
            };
            let refund = self.store().refund(ctx.tenant, refund).await?;
            let fits = |(payment, refund): &(Payment, Refund)| {
                refund.payment() == payment.id && payment.provider == webhook.provider
            };
            let known = payment.zip(refund).filter(fits);
            let next = known.as_ref().and_then(|(payment, refund)| told(payment, refund, seen));
            let status = if known.is_some() { Status::Folded } else { Status::Ignored };
            let changed = known.as_ref().zip(next.as_ref());
            let changed = changed.map(|((before, _), (next, ends))| (before, next, Some(*ends)));
            let stored = self.store().ingest(ctx, webhook, status, changed).await?;
            if stored != Stored::Stale {
                return Ok((status, stored));
            }
        }
        Err(Fault::aborted("CONTENTION", "too many changes of the same payment"))
    }
}

/// What a report makes of a payment and its refund; none when it says nothing new. What failed stays so, and what the
/// bank is still busy with has not ended.
fn told<'a>(payment: &Payment, refund: &'a Refund, seen: &'a RefundSeen) -> Option<(Payment, Ends<'a>)> {
    let minor = refund.amount;
    match (refund.state, &seen.state) {
        (EntryState::Pending, RefundState::Succeeded) => {
            Some((payment.gave_back(minor), Ends::Refunded(refund, &seen.reference)))
        }
        // The provider counted it while it was under way.
        (EntryState::Pending, RefundState::Failed(code)) => {
            Some((payment.gave_back(minor).came_back(minor), Ends::RefundRefused(refund, code)))
        }
        (EntryState::Succeeded, RefundState::Failed(code)) => {
            Some((payment.came_back(minor), Ends::RefundReturned(refund, code)))
        }
        _ => None,
    }
}
