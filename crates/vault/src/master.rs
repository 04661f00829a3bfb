use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::cipher::{KEY, Key};

/// The text is no list of master keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMaster {
    /// There is no key in it.
    #[error("there is no master key; fix: 64 hexadecimal digits")]
    Empty,
    /// A line is not a key; which, from 1.
    #[error("line {0} of the master keys is not 64 hexadecimal digits")]
    Malformed(usize),
}

/// Master keys: the first wraps, all of them open.
#[derive(Clone)]
pub struct Master {
    keys: Vec<(String, Key)>,
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(name, _)| name)).finish()
    }
}

impl Master {
    /// Reads keys of 64 hexadecimal digits, one a line, the one to wrap with first.
    ///
    /// # Errors
    /// [`BadMaster`].
    pub fn read(text: &SecretString) -> Result<Self, BadMaster> {
        let mut keys = Vec::new();
        for (at, line) in text.expose_secret().split_whitespace().enumerate() {
            let mut bytes = [0; KEY];
            hex::decode_to_slice(line, &mut bytes).map_err(|_| BadMaster::Malformed(at + 1))?;
            // A name that tells nothing of the key.
            let name = hex::encode(&Sha256::digest(bytes)[..8]);
            keys.push((name, Key::new(&bytes)));
        }
        if keys.is_empty() { Err(BadMaster::Empty) } else { Ok(Self { keys }) }
    }

    /// Name of the key that wraps.
    pub(crate) fn name(&self) -> &str {
        self.keys.first().map_or("", |(name, _)| name)
    }

    pub(crate) fn wrap(&self, place: &[u8], key: &[u8; KEY]) -> Vec<u8> {
        let (_, first) = self.keys.first().expect("a master has a key");
        first.seal(place, key)
    }

    /// None when the master key of that name is not here, or the place is another.
    pub(crate) fn unwrap(&self, name: &str, place: &[u8], wrapped: &[u8]) -> Option<[u8; KEY]> {
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        key.open(place, wrapped)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(text: &str) -> Result<Master, BadMaster> {
        Master::read(&text.to_owned().into())
    }

    #[test]
    fn pay_12_a_master_key_behind_the_first_still_opens_and_one_that_is_gone_does_not() -> Result<(), BadMaster> {
        let (old, new) = ("11".repeat(KEY), "22".repeat(KEY));
        let first = master(&old)?;
        let wrapped = first.wrap(b"here", &[5; KEY]);
        let both = master(&format!("{new}\n{old}\n"))?;
        assert_eq!(both.unwrap(first.name(), b"here", &wrapped), Some([5; KEY]));
        assert_eq!(both.unwrap(first.name(), b"there", &wrapped), None);
        assert_ne!(both.name(), first.name());
        assert_eq!(master(&new)?.unwrap(first.name(), b"here", &wrapped), None);
        assert!(!format!("{both:?}").contains(&old));
        Ok(())
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line() {
        assert_eq!(master("").err(), Some(BadMaster::Empty));
        assert_eq!(master(&format!("{}\nabc", "33".repeat(KEY))).err(), Some(BadMaster::Malformed(2)));
    }
}
