//! Proof that a webhook comes from a carrier: HMAC over time and raw body, with the tenant's own secret (rule I5).

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

/// How far the sender's clock may be off, seconds.
const TOLERANCE: i64 = 300;
/// Signatures of one header that are looked at: a sender that changes its secret signs with two.
const MOST_SIGNATURES: usize = 4;

/// The signature is missing, malformed, wrong, or too old; which of these is nobody's business.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit")]
pub(crate) struct BadSignature;

/// Checks `t=<unix seconds>,v1=<hex>` against `HMAC-SHA256(secret, "<t>.<body>")`, in constant time.
pub(crate) fn verify(secret: &SecretString, header: &str, body: &[u8], now: Timestamp) -> Result<(), BadSignature> {
    let mut time = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) => time = Some(value),
            Some(("v1", value)) if signatures.len() < MOST_SIGNATURES => signatures.push(value),
            _ => {}
        }
    }
    let time = time.ok_or(BadSignature)?;
    let sent: i64 = time.parse().map_err(|_| BadSignature)?;
    if now.as_second().checked_sub(sent).is_none_or(|age| age.checked_abs().is_none_or(|age| age > TOLERANCE)) {
        return Err(BadSignature);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).map_err(|_| BadSignature)?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let fits =
        |signature: &&str| hex::decode(signature).is_ok_and(|signature| mac.clone().verify_slice(&signature).is_ok());
    if signatures.iter().any(fits) { Ok(()) } else { Err(BadSignature) }
}

/// What a carrier pushes.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Push {
    /// Unique at the carrier.
    pub id: String,
    /// Our shipment: "shp_…".
    pub reference: String,
    pub code: String,
    pub at: Timestamp,
    #[serde(default)]
    pub location: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn sign(secret: &str, time: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(format!("{time}.").as_bytes());
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    fn check(header: &str, body: &[u8]) -> bool {
        let now = Timestamp::from_second(NOW).expect("in range");
        verify(&"right".into(), header, body, now).is_ok()
    }

    #[test]
    fn the_tenants_own_fresh_signature_is_taken() {
        for time in [NOW, NOW - 300, NOW + 300] {
            assert!(check(&format!("t={time},v1={}", sign("right", time, b"{}")), b"{}"));
        }
        let two = format!("t={NOW},v1={},v1={}", sign("old", NOW, b"{}"), sign("right", NOW, b"{}"));
        assert!(check(&two, b"{}"), "a sender may sign with an old and a new secret");
    }

    #[test]
    fn wrong_stale_changed_and_malformed_signatures_are_refused() {
        let good = sign("right", NOW, b"{}");
        for (header, body) in [
            (format!("t={NOW},v1={}", sign("wrong", NOW, b"{}")), &b"{}"[..]),
            (format!("t={NOW},v1={good}"), b"{ }"),
            (format!("t={},v1={good}", NOW + 1), b"{}"),
            (format!("t={},v1={}", NOW - 301, sign("right", NOW - 301, b"{}")), b"{}"),
            (format!("t={},v1={}", NOW + 301, sign("right", NOW + 301, b"{}")), b"{}"),
            (format!("t={},v1={}", i64::MIN, sign("right", i64::MIN, b"{}")), b"{}"),
            (format!("t={NOW},v1={}", &good[..62]), b"{}"),
            (format!("t={NOW},v0={good}"), b"{}"),
            (format!("v1={good}"), b"{}"),
            (format!("t={NOW}"), b"{}"),
            (String::new(), b"{}"),
            ("t=,v1=".into(), b"{}"),
            (format!("t={NOW},v1=zz"), b"{}"),
        ] {
            assert!(!check(&header, body), "{header} was taken");
        }
    }
}
