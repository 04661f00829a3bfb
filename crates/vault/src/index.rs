//! Digests by which a sealed value is found again: keyed, so that who reads them cannot try what they are of.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::cipher::KEY;

/// What tells this use of a data key from sealing with it.
const USE: &[u8] = b"ordermesh vault index";

/// The key of a tenant's digests.
#[derive(Clone)]
pub(crate) struct Index(Hmac<Sha256>);

impl Index {
    /// Derived from a data key by HKDF-Expand (RFC 5869, section 2.3): from a digest no way leads back to the key.
    pub(crate) fn new(bytes: &[u8; KEY]) -> Self {
        let expand = keyed(bytes).chain_update(USE).chain_update([1]);
        Self(keyed(&expand.finalize().into_bytes()))
    }

    /// The length keeps place and value apart.
    pub(crate) fn digest(&self, place: &str, value: &[u8]) -> Vec<u8> {
        let length = u64::try_from(place.len()).expect("a place is short");
        let mac = self.0.clone().chain_update(length.to_be_bytes()).chain_update(place).chain_update(value);
        mac.finalize().into_bytes().to_vec()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pay_12_a_digest_depends_on_key_place_and_value_and_on_nothing_else() {
        let (mine, theirs) = (Index::new(&[7; KEY]), Index::new(&[8; KEY]));
        let digest = mine.digest("users.email", b"ann@shop.example");
        assert_eq!(digest.len(), 32);
        assert_eq!(mine.digest("users.email", b"ann@shop.example"), digest);
        for other in [
            theirs.digest("users.email", b"ann@shop.example"),
            mine.digest("users.name", b"ann@shop.example"),
            mine.digest("users.email", b"ann@shop.examplf"),
            mine.digest("users.emaila", b"nn@shop.example"),
        ] {
            assert_ne!(other, digest);
        }
    }

    /// Stored digests are compared with new ones for ever: this one must never change.
    #[test]
    fn pay_12_a_digest_is_what_it_was_when_it_was_stored() {
        let digest = hex::encode(Index::new(&[7; KEY]).digest("users.email", b"ann@shop.example"));
        assert_eq!(digest, "78ac90543bb7d6c50b8009e9981f267de3c62693b014befec882315c3a8698fd");
    }
}
