use ctx::Ctx;
use fault::Fault;
use ids::{PaymentId, RefundId};
use money::Money;
use uuid::Uuid;

use super::App;
use super::capture::in_currency_of;
use super::inquire::not_found;
use super::state::Payment;
use crate::data::{Ends, EntryState, Limit, Place, Refund, Refunding, Trouble};

/// Captured money is to be given back.
#[derive(Debug, Clone)]
pub struct GiveBack {
    /// The payment.
    pub payment: PaymentId,
    /// How much; nothing is refused with what is left.
    pub amount: Money,
    /// Why.
    pub reason: String,
}

/// A refund that the provider was asked for.
#[derive(Debug)]
pub(super) struct GivenBack {
    /// The payment then.
    pub payment: Payment,
    /// The refund then.
    pub refund: Refund,
    /// The provider has it, and the bank is not done with it.
    pub under_way: bool,
}

impl App {
    /// Gives captured money back, never more in total than was captured (PAY-04, M11); and whether it was a repeat.
    ///
    /// The refund's id comes from the idempotency key, so a repeat finds the refund of the first call, also one whose
    /// outcome was not known then. Such a refund is answered as PENDING and resolved by the job; so is one that the
    /// bank is not done with, and until it is, the sum is not given back again.
    ///
    /// # Errors
    /// Precondition `REFUND_EXCEEDS_CAPTURE` (metadata `remaining_minor`), `REFUND_REFUSED`, `PAID_OUTSIDE`; Invalid
    /// `amount.amount_minor` (says what is left) and `IDEMPOTENCY_KEY_REUSED`; NotFound `PAYMENT_NOT_FOUND`.
    pub async fn refund(&self, ctx: &Ctx, cmd: GiveBack) -> Result<(Refund, bool), Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.refund_to_the_end(&ctx, cmd).await }).await
    }

    async fn refund_to_the_end(&self, ctx: &Ctx, cmd: GiveBack) -> Result<(Refund, bool), Fault> {
        if cmd.amount.minor <= 0 {
            return Err(nothing(self.store().get(ctx.tenant, cmd.payment).await?.as_ref()));
        }
        let (id, fingerprint) = name(ctx, "refund")?;
        let id = RefundId::from_uuid(id);
        let amount = Some(cmd.amount);
        let place = self.store().begin_refund(ctx, cmd.payment, id, amount, &cmd.reason, fingerprint).await?;
        let (payment, refund, repeat) = match place {
            Place::NoPayment => return Err(not_found()),
            Place::Before { .. } | Place::Refused { why: Limit::Closed, .. } => {
                return Err(Fault::precondition("PAID_OUTSIDE", "the money came outside, and goes back outside"));
            }
            Place::Refused { why: Limit::Currency, payment, .. } => return Err(wrong_currency(&payment)),
            Place::Refused { remaining, .. } => return Err(exceeds(remaining)),
            Place::Taken { same: false, .. } => {
                return Err(Fault::invalid(
                    "idempotency_key",
                    "IDEMPOTENCY_KEY_REUSED",
                    "the key was used for another request before",
                ));
            }
            Place::Taken { payment, entry, fresh, .. } => (payment, entry, !fresh),
        };
        match refund.state {
            EntryState::Succeeded => Ok((refund, repeat)),
            EntryState::Failed => Err(refused(refund.code.as_deref().unwrap_or_default(), &payment)),
            EntryState::Pending if repeat => match self.follow_refund(ctx, payment, refund).await? {
                given if given.refund.state == EntryState::Failed => Err(refused("refund_failed", &given.payment)),
                given => Ok((given.refund, true)),
            },
            EntryState::Pending => Ok((self.send_refund(ctx, payment, refund).await?.refund, false)),
        }
    }

    /// Asks the provider for a refund that has its place; safe to repeat, for the key is the refund.
    ///
    /// # Errors
    /// Precondition `REFUND_REFUSED` or `REFUND_EXCEEDS_CAPTURE` when the provider refuses it.
    pub(super) async fn send_refund(&self, ctx: &Ctx, payment: Payment, refund: Refund) -> Result<GivenBack, Fault> {
        let Some(reference) = payment.reference.clone() else {
            return Err(Fault::internal("money was captured under no reference"));
        };
        let amount = in_currency_of(&payment, refund.amount)?;
        let key = refund.id().to_string();
        let ours = Some((ctx.tenant, payment.id, refund.id()));
        match self.provider(&payment)?.refund(Refunding { reference: &reference, amount, key: &key, ours }).await {
            Ok(seen) => self.fold_refund(ctx, payment, refund, &seen).await,
            Err(Trouble::Unknown | Trouble::Unreached | Trouble::Resting { .. }) => {
                Ok(GivenBack { payment, refund, under_way: false })
            }
            Err(Trouble::Refused { code, .. }) => {
                let ends = Ends::RefundRefused(&refund, &code);
                let payment = self.conclude(ctx, payment, ends, |payment| Ok(payment.kept(refund.amount))).await?;
                // It may have been given back behind our back: the provider's figure says what is left.
                let known = payment.clone();
                let payment = self.inquire_now(ctx, payment, false).await.unwrap_or(known);
                Err(refused(&code, &payment))
            }
        }
    }
}

/// Identity and fingerprint of a refund or increment, from who asked for it with which key.
pub(super) fn name(ctx: &Ctx, what: &str) -> Result<(Uuid, [u8; 32]), Fault> {
    let Some(key) = &ctx.idempotency else {
        return Err(Fault::invalid("idempotency_key", "IDEMPOTENCY_KEY_MISSING", "the call needs an idempotency key"));
    };
    // The length keeps scope and key apart.
    let text = format!("{what}:{}:{}{}", key.scope.len(), key.scope, key.key);
    Ok((Uuid::new_v5(&ctx.tenant.uuid(), text.as_bytes()), key.fingerprint))
}

fn nothing(payment: Option<&Payment>) -> Fault {
    let refused = |text: String| Fault::invalid("amount.amount_minor", "NOT_POSITIVE", text);
    match payment.map(Payment::refundable) {
        Some(left) => refused(format!("must be above zero; {left} is left")).with("remaining_minor", left),
        None => refused("must be above zero".to_owned()),
    }
}

pub(super) fn wrong_currency(payment: &Payment) -> Fault {
    let currency = payment.asked.map_or("none", |asked| asked.currency.code());
    Fault::invalid("amount.currency_code", "CURRENCY_MISMATCH", format!("the currency of the payment is {currency}"))
}

fn exceeds(remaining: i64) -> Fault {
    let left = remaining.max(0);
    Fault::precondition("REFUND_EXCEEDS_CAPTURE", format!("more than is left of what was captured: {left} is left"))
        .with("remaining_minor", left)
}

fn refused(code: &str, payment: &Payment) -> Fault {
    match code {
        "charge_already_refunded" | "amount_too_large" => exceeds(payment.refundable()),
        _ => Fault::precondition("REFUND_REFUSED", "the provider refused the refund").with("code", code),
    }
}
