//! What a provider says of an intent.

use money::Money;

use super::Check;

/// Where the provider says an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not decided.
    Processing,
    /// The customer must act.
    RequiresAction,
    /// Refused.
    Failed,
    /// Held; may be captured.
    Held,
    /// Captured; the rest of the hold is gone.
    Done,
    /// Let go.
    Canceled,
}

impl Phase {
    /// Name in messages for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::RequiresAction => "REQUIRES_ACTION",
            Self::Failed => "FAILED",
            Self::Held => "HELD",
            Self::Done => "DONE",
            Self::Canceled => "CANCELED",
        }
    }
}

/// The provider's whole view of one intent at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Provider's id.
    pub reference: String,
    /// Amount of the intent.
    pub amount: Money,
    /// Where it stands.
    pub phase: Phase,
    /// Captured so far, minor units.
    pub received: i64,
    /// Given back so far, minor units.
    pub refunded: i64,
    /// Why it failed.
    pub decline_reason: Option<String>,
    /// Where the customer must go.
    pub action_url: Option<String>,
    /// What the bank said of the address.
    pub avs: Option<Check>,
    /// What the bank said of the security code.
    pub cvv: Option<Check>,
}

/// Where the provider says a refund stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundState {
    /// The bank is not done with it.
    Pending,
    /// Done; yet the bank may still send it back.
    Succeeded,
    /// It did not reach the customer, and why.
    Failed(String),
}

/// The provider's view of one refund of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundSeen {
    /// Provider's id of it.
    pub reference: String,
    /// Where it stands.
    pub state: RefundState,
}

/// A report does not belong to the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Amount or currency differ from what was asked for, or amounts contradict each other.
    #[error("the provider's amounts do not fit the payment")]
    Amount,
    /// The provider knows the payment under another id already.
    #[error("the provider reports a second intent for the payment")]
    Reference,
    /// The payment was moved to another provider.
    #[error("a provider reports that does not have the payment any more")]
    Provider,
    /// The money came outside of any provider.
    #[error("the provider reports on a payment whose money came outside of it")]
    Outside,
}
