//! Everything the payment API refuses, in Stripe's error shape.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::reply::Reply;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("No valid API key provided.")]
    Unauthorized,
    #[error("Your card was declined.")]
    Declined { decline_code: &'static str, intent: Value },
    #[error("This PaymentIntent could not be {verb} because it has a status of {status}.")]
    UnexpectedState { verb: &'static str, status: &'static str, intent: Value },
    #[error("This PaymentIntent was not made with {0}.")]
    NotAskedFor(&'static str),
    #[error("The amount is larger than what is left.")]
    AmountTooLarge,
    #[error("The charge has already been refunded.")]
    AlreadyRefunded,
    #[error("No such payment_intent: '{0}'")]
    NoSuchIntent(String),
    #[error("No such PaymentMethod: '{0}'")]
    NoSuchPaymentMethod(String),
    #[error("Missing required param: {0}.")]
    Missing(&'static str),
    #[error("Invalid value for {0}.")]
    Invalid(&'static str),
    #[error("Keys for idempotent requests can only be used with the same parameters.")]
    KeyReused,
    #[error("An unknown error occurred.")]
    Flaky,
}

impl Refusal {
    /// Whether the answer is kept for the key: only outcomes of an executed request are.
    pub(super) fn is_outcome(&self) -> bool {
        matches!(
            self,
            Refusal::Declined { .. }
                | Refusal::UnexpectedState { .. }
                | Refusal::AmountTooLarge
                | Refusal::AlreadyRefunded
        )
    }

    pub(super) fn reply(&self) -> Reply {
        let (status, kind, code) = self.shape();
        let mut error = json!({"type": kind, "message": self.to_string()});
        if let Some(code) = code {
            error["code"] = json!(code);
        }
        match self {
            Refusal::Declined { decline_code, intent } => {
                error["decline_code"] = json!(decline_code);
                error["payment_intent"] = intent.clone();
            }
            Refusal::UnexpectedState { intent, .. } => error["payment_intent"] = intent.clone(),
            Refusal::Missing(param) | Refusal::Invalid(param) => error["param"] = json!(param),
            _ => {}
        }
        Reply::new(status, &json!({ "error": error }))
    }

    fn shape(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        const REQUEST: &str = "invalid_request_error";
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, REQUEST, None),
            Refusal::Declined { .. } => (StatusCode::PAYMENT_REQUIRED, "card_error", Some("card_declined")),
            Refusal::UnexpectedState { .. } => (BAD, REQUEST, Some("payment_intent_unexpected_state")),
            Refusal::NotAskedFor(_) => (BAD, REQUEST, None),
            Refusal::AmountTooLarge => (BAD, REQUEST, Some("amount_too_large")),
            Refusal::AlreadyRefunded => (BAD, REQUEST, Some("charge_already_refunded")),
            Refusal::NoSuchIntent(_) => (StatusCode::NOT_FOUND, REQUEST, Some("resource_missing")),
            Refusal::NoSuchPaymentMethod(_) => (BAD, REQUEST, Some("resource_missing")),
            Refusal::Missing(_) => (BAD, REQUEST, Some("parameter_missing")),
            Refusal::Invalid(_) => (BAD, REQUEST, Some("parameter_invalid")),
            Refusal::KeyReused => (BAD, "idempotency_error", None),
            Refusal::Flaky => (StatusCode::INTERNAL_SERVER_ERROR, "api_error", None),
        }
    }
}
