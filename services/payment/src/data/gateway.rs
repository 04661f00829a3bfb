//! The providers behind one gateway (PAY-09): the first is asked as long as it answers, the second when it does not.

use std::time::Duration;

use fault::Fault;
use ids::{OrderId, PaymentId, RefundId, TenantId};
use money::Money;
use resilience::HttpError;
use serve::Settings;

use super::adyen::Adyen;
use super::store::Instrument;
use super::stripe::Stripe;
use crate::logic::state::{Dispute, Payment, RefundSeen, Snapshot};

/// The provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody knows whether it was done.
    #[error("the provider's answer is not known")]
    Unknown,
    /// It was not asked, so nothing was done.
    #[error("the provider cannot be reached")]
    Unreached,
    /// It failed too often and is given a rest (PAY-08); it was not asked.
    #[error("the provider is given a rest")]
    Resting {
        /// When to ask again.
        wait: Duration,
    },
    /// It was not done and will not be, as asked.
    #[error("the provider refused: {code}")]
    Refused {
        /// Provider's most telling code, such as "charge_already_refunded".
        code: String,
        /// The intent as it stands, when the provider showed it.
        intent: Option<Box<Snapshot>>,
    },
}

/// A hold that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Authorization<'a> {
    /// Whose shop.
    pub tenant: TenantId,
    /// Our id; also the idempotency key.
    pub payment: PaymentId,
    /// The order.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// What it is paid with.
    pub instrument: &'a Instrument,
    /// Which attempt this is; each has a key of its own.
    pub attempt: i16,
    /// Take the money at once.
    pub immediate: bool,
    /// The bank must ask the customer who he is, whatever it thinks itself.
    pub challenge: bool,
}

/// Captured money that is to be given back.
#[derive(Debug, Clone, Copy)]
pub struct Refunding<'a> {
    /// Provider's id of the payment.
    pub reference: &'a str,
    /// How much.
    pub amount: Money,
    /// Idempotency key.
    pub key: &'a str,
    /// By what it is found again; none for money of no payment of ours.
    pub ours: Option<(TenantId, PaymentId, RefundId)>,
}

/// What a webhook says.
#[derive(Debug)]
pub struct ProviderEvent {
    /// Provider's id of the event.
    pub id: String,
    /// Provider's type, such as "payment_intent.succeeded".
    pub kind: String,
    /// The tenant it belongs to by its metadata.
    pub tenant: Option<TenantId>,
    /// The payment it belongs to by its metadata.
    pub payment: Option<PaymentId>,
    /// What it reports.
    pub report: Report,
}

/// What an event reports.
#[derive(Debug)]
pub enum Report {
    /// Nothing about our payments.
    Nothing,
    /// A payment as it stands.
    Payment(Snapshot),
    /// A refund of ours as it stands.
    Refund {
        /// Which.
        refund: RefundId,
        /// What became of it.
        seen: RefundSeen,
    },
    /// A dispute.
    Dispute {
        /// Provider's id of it.
        id: String,
        /// Provider's id of the payment.
        reference: String,
        /// What became of it.
        dispute: Dispute,
    },
}

/// A payment in the provider's books.
#[derive(Debug)]
pub struct Listed {
    /// The tenant by its metadata.
    pub tenant: Option<TenantId>,
    /// Our payment by its metadata.
    pub payment: Option<PaymentId>,
    /// The payment as it stands.
    pub snapshot: Snapshot,
}

/// One provider.
#[derive(Debug, Clone)]
pub enum Provider {
    /// Stripe's API.
    Stripe(Stripe),
    /// Adyen's API.
    Adyen(Adyen),
}

/// Does the same with whichever provider it is.
macro_rules! each {
    ($provider:expr, $one:ident => $call:expr) => {
        match $provider {
            Provider::Stripe($one) => $call,
            Provider::Adyen($one) => $call,
        }
    };
}

impl Provider {
    /// Name in payments and webhook paths.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stripe(_) => super::stripe::PROVIDER,
            Self::Adyen(_) => super::adyen::PROVIDER,
        }
    }

    fn is_open(&self) -> bool {
        each!(self, one => one.is_open())
    }

    /// Asks for a hold. A decline is a snapshot of what failed.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same payment and attempt has one effect.
    pub async fn authorize(&self, ask: Authorization<'_>) -> Result<Snapshot, Trouble> {
        each!(self, one => one.authorize(ask).await)
    }

    /// Looks a payment up by the provider's id, or else by ours; none when the provider knows nothing of it, or only
    /// attempts that are over.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn find(&self, payment: &Payment) -> Result<Option<Snapshot>, Trouble> {
        let reference = payment.reference.as_deref();
        each!(self, one => one.find(payment.id, reference, &payment.old_references).await)
    }

    /// Looks a payment up by our id alone.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn find_stray(&self, payment: &Payment) -> Result<Option<Snapshot>, Trouble> {
        each!(self, one => one.find(payment.id, None, &payment.old_references).await)
    }

    /// All payments that were made in a period, seconds since 1970.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn list(&self, from: i64, to: i64) -> Result<Vec<Listed>, Trouble> {
        each!(self, one => one.list(from, to).await)
    }

    /// Holds more: `target` in total.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn increment(&self, reference: &str, target: Money, key: &str) -> Result<Snapshot, Trouble> {
        self.wake(reference).await?;
        each!(self, one => one.increment(reference, target, key).await)
    }

    /// Takes part of a hold; `last` lets the rest go.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn capture(&self, reference: &str, amount: Money, last: bool, key: &str) -> Result<Snapshot, Trouble> {
        self.wake(reference).await?;
        each!(self, one => one.capture(reference, amount, last, key).await)
    }

    /// Lets a hold or a challenge go.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn cancel(&self, reference: &str, key: &str) -> Result<Snapshot, Trouble> {
        self.wake(reference).await?;
        each!(self, one => one.cancel(reference, key).await)
    }

    /// Before a change, a provider that is given a rest is asked something harmless: no customer's money is the probe.
    async fn wake(&self, reference: &str) -> Result<(), Trouble> {
        if !self.is_open() {
            return Ok(());
        }
        let nobody = PaymentId::from_uuid(uuid::Uuid::nil());
        match each!(self, one => one.find(nobody, Some(reference), &[]).await) {
            Ok(_) | Err(Trouble::Refused { .. }) => Ok(()),
            Err(Trouble::Unknown) => Err(Trouble::Unreached),
            Err(trouble) => Err(trouble),
        }
    }

    /// Gives captured money back: done, or under way for as long as the bank takes.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn refund(&self, ask: Refunding<'_>) -> Result<RefundSeen, Trouble> {
        self.wake(ask.reference).await?;
        each!(self, one => one.refund(ask).await)
    }

    /// Looks a refund of ours up; none when the provider knows nothing of it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<RefundSeen>, Trouble> {
        each!(self, one => one.find_refund(reference, refund).await)
    }
}

/// All providers; clones share connections and breakers.
#[derive(Debug, Clone)]
pub struct Gateway {
    first: Provider,
    second: Option<Provider>,
}

impl Gateway {
    /// The providers that the settings name; `timeout` bounds one try.
    ///
    /// # Errors
    /// When a base URL is malformed.
    pub fn new(settings: &Settings, timeout: Duration) -> Result<Self, HttpError> {
        let first = Provider::Stripe(Stripe::new(&settings.payments_url, settings.payments_key.clone(), timeout)?);
        let second = match settings.payments_fallback_url.as_str() {
            "" => None,
            url => Some(Provider::Adyen(Adyen::new(url, settings.payments_fallback_key.clone(), timeout)?)),
        };
        Ok(Self { first, second })
    }

    /// Who is asked for the next hold: the second only while the first is given a rest.
    pub fn choose(&self) -> &Provider {
        match &self.second {
            Some(second) if self.first.is_open() && !second.is_open() => second,
            _ => &self.first,
        }
    }

    /// Who may be asked instead of a provider that did not do it.
    pub fn instead_of(&self, name: &str) -> Option<&Provider> {
        self.second.as_ref().filter(|second| name == self.first.name() && !second.is_open())
    }

    /// Asks a provider that is given a rest something harmless: no customer's payment shall be the probe.
    pub async fn probe(&self) {
        for provider in [Some(&self.first), self.second.as_ref()].into_iter().flatten().filter(|one| one.is_open()) {
            let nobody = PaymentId::from_uuid(uuid::Uuid::nil());
            let answer = each!(provider, one => one.find(nobody, None, &[]).await);
            tracing::debug!(provider = provider.name(), answers = answer.is_ok(), "A provider was probed");
        }
    }

    /// A provider by its name.
    ///
    /// # Errors
    /// Internal when a payment names one that is not set up any more.
    pub fn of(&self, name: &str) -> Result<&Provider, Fault> {
        let all = [Some(&self.first), self.second.as_ref()];
        let found = all.into_iter().flatten().find(|provider| provider.name() == name);
        found.ok_or_else(|| Fault::internal("the provider of a payment is not set up"))
    }
}
