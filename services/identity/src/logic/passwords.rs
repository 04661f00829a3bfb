//! Passwords: argon2id with a salt of its own each, off the async threads, as many at a time as there are cores.

use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use fault::Fault;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

/// A hash takes 19 MiB; without a limit a burst of logins would take the machine's memory.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// Verified when there is no such user, so that the answer takes as long; no password is known to have this hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5cy1zYWx0LTAwMQ$bm9ib2R5IGhhcyBhIHBhc3N3b3JkIHdpdGggdGhpcyE";

/// Hashes a new password into a PHC string.
///
/// # Errors
/// Internal when the hash cannot be made.
pub async fn hash(password: SecretString) -> Result<String, Fault> {
    aside(move || {
        let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
        hash.map(|hash| hash.to_string()).map_err(|error| Fault::internal(error.to_string()))
    })
    .await?
}

/// Whether a password is the one that was hashed; without a hash it takes as long and is not.
///
/// # Errors
/// Internal when the stored hash is none.
pub async fn verify(password: SecretString, stored: Option<String>) -> Result<bool, Fault> {
    aside(move || {
        let known = stored.is_some();
        let stored = stored.as_deref().unwrap_or(NOBODY);
        let hash = PasswordHash::new(stored).map_err(|error| Fault::internal(error.to_string()))?;
        let same = Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok();
        Ok(same && known)
    })
    .await?
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let _turn = TURNS.acquire().await.map_err(Fault::internal)?;
    tokio::task::spawn_blocking(work).await.map_err(Fault::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[tokio::test]
    async fn usr_01_only_the_right_password_fits_its_hash() {
        let stored = hash(secret("correct horse battery")).await.expect("hashes");
        assert!(stored.starts_with("$argon2id$v=19$"));
        assert!(verify(secret("correct horse battery"), Some(stored.clone())).await.expect("verifies"));
        assert!(!verify(secret("correct horse batterz"), Some(stored)).await.expect("verifies"));
        assert!(!verify(secret("anything"), None).await.expect("verifies"));
        assert!(verify(secret("x"), Some("not a hash".to_owned())).await.is_err());
    }

    #[tokio::test]
    async fn nobodys_hash_costs_what_a_users_costs() {
        let fresh = hash(secret("any password")).await.expect("hashes");
        let params = |phc: &str| phc.split('$').take(4).collect::<Vec<_>>().join("$");
        assert_eq!(params(NOBODY), params(&fresh));
        assert_eq!(NOBODY.len(), fresh.len());
        PasswordHash::new(NOBODY).expect("a PHC string");
    }
}
