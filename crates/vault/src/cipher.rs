//! Sealing with one key: layout, nonce and place.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
const NONCE: usize = 12;
/// First byte of a sealed value; another algorithm would take another.
const FORMAT: u8 = 1;
/// Format and version of the key.
const PREFIX: usize = 5;

/// One key, ready to use.
#[derive(Clone)]
pub(crate) struct Key(Aes256Gcm);

impl Key {
    pub(crate) fn new(bytes: &[u8; KEY]) -> Self {
        Self(Aes256Gcm::new(bytes.into()))
    }

    /// Nonce and ciphertext; opens only for the same place.
    ///
    /// The nonce is drawn by chance: a key that lives for 90 days stays far below the 2^32 values for which that is safe
    /// (NIST SP 800-38D, 8.3).
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let sealed = self.0.encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: place });
        let sealed = sealed.expect("values are far shorter than 64 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// None when the key, the place or a bit is another.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        self.0.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: place }).ok()
    }
}

/// What every value begins with that a version of a tenant's key sealed; a lower version sorts before a higher one.
pub fn prefix(version: i32) -> Vec<u8> {
    [&[FORMAT][..], &version.to_be_bytes()].concat()
}

/// Version and rest of a sealed value.
pub(crate) fn parts(sealed: &[u8]) -> Option<(i32, &[u8])> {
    let (head, rest) = sealed.split_first_chunk::<PREFIX>()?;
    let [FORMAT, version @ ..] = *head else { return None };
    Some((i32::from_be_bytes(version), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pay_12_a_value_opens_with_its_key_in_its_place_and_nowhere_else(
            plain in prop::collection::vec(any::<u8>(), 0..200), place: [u8; 8], other: [u8; 8], bit in 0..64_usize
        ) {
            let (key, stranger) = (Key::new(&[7; KEY]), Key::new(&[8; KEY]));
            let sealed = key.seal(&place, &plain);
            prop_assert_eq!(key.open(&place, &sealed), Some(plain.clone()));
            prop_assert_eq!(stranger.open(&place, &sealed), None);
            prop_assert!(place == other || key.open(&other, &sealed).is_none());
            prop_assert_ne!(&key.seal(&place, &plain), &sealed, "no two values look alike");
            let mut broken = sealed.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(key.open(&place, &broken), None);
            prop_assert_eq!(key.open(&place, &sealed[..bit.min(sealed.len() - 1)]), None);
        }

        #[test]
        fn the_version_is_readable_and_sorts(version in 1..i32::MAX, more in 1..1_000) {
            let later = version.saturating_add(more);
            let sealed = [prefix(version), vec![9]].concat();
            prop_assert_eq!(parts(&sealed), Some((version, &[9_u8][..])));
            prop_assert!(later == version || prefix(version) < prefix(later));
        }
    }

    #[test]
    fn what_was_never_sealed_has_no_parts() {
        assert_eq!((parts(b""), parts(b"\x01\0\0"), parts(b"pm_sim_visa")), (None, None, None));
    }
}
