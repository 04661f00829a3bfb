//! How each provider's webhooks are signed and read.

use jiff::Timestamp;
use secrecy::SecretString;

use super::signature;
use crate::data::{ADYEN, ProviderEvent, STRIPE, genuine_of_adyen, read_adyen_event, read_stripe_event};

/// The webhooks of one provider.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Its name.
    pub provider: &'static str,
    /// Header of the signature, lower case.
    pub header: &'static str,
    /// Which of a tenant's webhook secrets it signs with.
    pub secret: &'static str,
    /// Whether a header signs a body, now.
    pub genuine: fn(&SecretString, &str, &[u8], Timestamp) -> bool,
    /// Reads a body.
    pub read: fn(&[u8]) -> Result<ProviderEvent, serde_json::Error>,
}

const ALL: [Hooks; 2] = [
    Hooks {
        provider: STRIPE,
        header: "stripe-signature",
        secret: "payments",
        genuine: signature::verify,
        read: read_stripe_event,
    },
    Hooks {
        provider: ADYEN,
        header: "hmacsignature",
        secret: "payments.second",
        genuine: genuine_of_adyen,
        read: read_adyen_event,
    },
];

/// Those of a provider, if there is one of that name.
pub fn of(provider: &str) -> Option<Hooks> {
    ALL.into_iter().find(|hooks| hooks.provider == provider)
}
