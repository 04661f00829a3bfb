use bytes::Bytes;
use contract::RateTier;
use ctx::{IdempotencyKey, Principal};
use fault::{Fault, Kind};
use http::HeaderMap;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use sha2::{Digest, Sha256};
use tower::BoxError;

use super::Request;
use crate::card;
use crate::header;
use crate::passage::{Passage, single};

/// Bytes that gRPC puts before a message: compressed or not, and its length.
const FRAME: usize = 5;
/// Longest key (IETF idempotency-key draft 07 leaves it to us; Stripe has the same).
const LONGEST: usize = 255;

/// Reads the request, at most as much as its policy allows, refuses card numbers (PAY-05), and recognises a repeat by
/// key and content.
///
/// # Errors
/// Invalid REQUEST_TOO_LARGE, CARD_NUMBER_REFUSED, IDEMPOTENCY_KEY_MISSING or IDEMPOTENCY_KEY_INVALID.
pub(crate) async fn recognise(request: Request) -> Result<Request, BoxError> {
    let (mut parts, body) = request.into_parts();
    let mut passage = Passage::take(&mut parts)?;
    let policy = passage.policy;
    let key = if policy.idempotency.required || policy.idempotency.ttl_s > 0 { key(&parts.headers)? } else { None };
    if key.is_none() && policy.idempotency.required && !matches!(passage.principal, Principal::Service { .. }) {
        return Err(Fault::invalid("idempotency_key", "IDEMPOTENCY_KEY_MISSING", "the call needs a key").into());
    }
    let body = collect(body, policy.max_request_bytes).await?;
    // What providers push is signed by them, and full of long numbers; who takes it in looks himself.
    if policy.rate_tier != RateTier::Webhook && card::in_message(body.get(FRAME..).unwrap_or_default()) {
        return Err(card::refusal("request").into());
    }
    passage.idempotency = key.map(|key| {
        let (kind, id) = passage.principal.actor();
        IdempotencyKey {
            key,
            scope: format!("{kind}:{id}:{}", policy.path),
            fingerprint: Sha256::new().chain_update(policy.path).chain_update(&body).finalize().into(),
        }
    });
    parts.extensions.insert(passage);
    Ok(Request::from_parts(parts, tonic::body::Body::new(Full::new(body))))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let refused =
        || Fault::invalid("idempotency_key", "IDEMPOTENCY_KEY_INVALID", "must be 1 to 255 visible ASCII characters");
    let Some(value) = single(headers, header::IDEMPOTENCY_KEY).map_err(|_| refused())? else { return Ok(None) };
    if card::in_text(value) {
        return Err(card::refusal("idempotency_key"));
    }
    let good = (1..=LONGEST).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(Some(value.to_owned())) } else { Err(refused()) }
}

async fn collect(body: tonic::body::Body, limit: u32) -> Result<Bytes, Fault> {
    let limited = Limited::new(body, FRAME + limit as usize);
    match limited.collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Fault::invalid("request", "REQUEST_TOO_LARGE", format!("must not be larger than {limit} bytes"))
                .with("max_bytes", limit))
        }
        Err(error) => {
            Err(Fault::new(Kind::Cancelled, "REQUEST_INCOMPLETE", "the request did not arrive").caused_by(error))
        }
    }
}

/// Hands the handler what the layers found out.
///
/// # Errors
/// Internal when a layer above is missing.
pub(crate) fn admit(request: Request) -> Result<Request, BoxError> {
    let (mut parts, body) = request.into_parts();
    let passage = Passage::take(&mut parts)?;
    parts.extensions.insert(passage.open());
    Ok(Request::from_parts(parts, body))
}
