//! Signatures of webhooks: HMAC-SHA256 over time and raw body, as Stripe signs (docs.stripe.com/webhooks/signature).

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// How far the sender's clock may be off, seconds (rule I5).
const WINDOW_S: u64 = 300;
/// Longest header that is looked at, bytes.
const LONGEST: usize = 1024;
/// Most signatures of one header; a sender that rotates keys sends two.
const MOST: usize = 5;

/// Whether `header` (`t=<unix>,v1=<hex>[,v1=<hex>…]`) signs this body, now.
pub fn verify(secret: &SecretString, header: &str, body: &[u8], now: Timestamp) -> bool {
    if header.len() > LONGEST {
        return false;
    }
    let field = |name: &'static str| {
        header
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .filter(move |(n, _)| *n == name)
            .map(|(_, v)| v)
    };
    let Some(sent) = field("t").next() else { return false };
    let fresh = sent.parse::<i64>().is_ok_and(|t| now.as_second().abs_diff(t) <= WINDOW_S);
    let expected = sign(secret, sent, body);
    let mut genuine = Choice::from(0);
    for signature in field("v1").take(MOST) {
        if let Ok(signature) = hex::decode(signature) {
            genuine |= signature.as_slice().ct_eq(&expected);
        }
    }
    fresh && bool::from(genuine)
}

fn sign(secret: &SecretString, time: &str, body: &[u8]) -> [u8; 32] {
    let key = secret.expose_secret().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn header(secret: &SecretString, t: i64) -> String {
        format!("t={t},v1={}", hex::encode(sign(secret, &t.to_string(), BODY)))
    }

    #[test]
    fn pay_10_only_a_fresh_signature_of_this_body_with_this_secret_is_genuine() {
        let (ours, now) = (secret("ours"), Timestamp::from_second(1_800_000_000).expect("a time"));
        let t = now.as_second();
        for off in [0, 300, -300] {
            assert!(verify(&ours, &header(&ours, t + off), BODY, now), "{off}");
        }
        for off in [301, -301] {
            assert!(!verify(&ours, &header(&ours, t + off), BODY, now), "{off}");
        }
        assert!(!verify(&ours, &header(&secret("theirs"), t), BODY, now));
        assert!(!verify(&ours, &header(&ours, t), b"{}", now));
        let moved = header(&ours, t).replace(&format!("t={t}"), &format!("t={}", t - 1));
        assert!(!verify(&ours, &moved, BODY, now));
    }

    #[test]
    fn any_of_several_signatures_will_do_and_junk_will_not() {
        let (ours, now) = (secret("ours"), Timestamp::from_second(1_800_000_000).expect("a time"));
        let good = header(&ours, now.as_second());
        assert!(verify(&ours, &good.replace(",v1=", &format!(",v1={},v0=x,v1=", "00".repeat(32))), BODY, now));
        for junk in [
            "",
            "t=,v1=",
            "t=1800000000",
            "v1=00",
            "t=1800000000,v1=zz",
            "t=99999999999999999999,v1=00",
            &"t".repeat(5000),
        ] {
            assert!(!verify(&ours, junk, BODY, now), "{junk}");
        }
    }
}
