//! The keys that tokens are signed with: the newest signs, all that have not run out verify (USR-02).

use std::time::Duration;

use fault::Fault;
use futures::FutureExt;
use serve::auth::SigningKey;
use uuid::Uuid;

use super::{ABOVE, Identity, seal};
use crate::store::{self, StoredKey};

/// How much longer than its tokens a former key is published: clocks differ, and a token may be cached.
const GRACE: Duration = Duration::from_secs(5 * 60);

impl Identity {
    /// Public keys, the newest first; makes the first key when there is none.
    ///
    /// # Errors
    /// Of the database.
    pub async fn jwks(&self) -> Result<Vec<SigningKey>, Fault> {
        let stored = self.pg.read("identity.jwks", ABOVE, |conn| store::keys(conn).boxed()).await?;
        if stored.is_empty() {
            return Ok(vec![self.signing_key().await?]);
        }
        let mut keys = Vec::with_capacity(stored.len());
        for key in &stored {
            keys.push(self.open(key).await?);
        }
        Ok(keys)
    }

    /// Makes a new signing key; tokens of the former stay good until they expire.
    ///
    /// # Errors
    /// Aborted KEY_ROTATED when somebody else does it at the same moment.
    pub async fn rotate_signing_key(&self) -> Result<SigningKey, Fault> {
        let former = self.signing_key_row().await?.generation;
        let fresh = self.generate(former + 1).await?;
        let (key, until) = (fresh.clone(), self.token_ttl + GRACE);
        let added = self.pg.tx("identity.rotate_key", ABOVE, move |conn| {
            let key = key.clone();
            async move {
                let added = store::add_key(conn, &key).await?;
                if added {
                    store::retire_keys(conn, key.generation, until).await?;
                }
                Ok(added)
            }
            .boxed()
        });
        if !added.await? {
            return Err(Fault::aborted("KEY_ROTATED", "the key was rotated at the same moment"));
        }
        self.open(&fresh).await
    }

    /// The key that signs; made when there is none.
    ///
    /// # Errors
    /// Of the database.
    pub(super) async fn signing_key(&self) -> Result<SigningKey, Fault> {
        self.open(&self.signing_key_row().await?).await
    }

    async fn signing_key_row(&self) -> Result<StoredKey, Fault> {
        let stored = self.pg.read("identity.signing_key", ABOVE, |conn| store::newest_key(conn).boxed()).await?;
        if let Some(stored) = stored {
            return Ok(stored);
        }
        let first = self.generate(1).await?;
        let stored = self.pg.tx("identity.first_key", ABOVE, move |conn| {
            let first = first.clone();
            async move {
                // Another process may be first: then its key is the one.
                store::add_key(conn, &first).await?;
                store::newest_key(conn).await
            }
            .boxed()
        });
        stored.await?.ok_or_else(|| Fault::internal("no signing key after one was made"))
    }

    async fn generate(&self, generation: i32) -> Result<StoredKey, Fault> {
        let pkcs8 = seal::key(&self.vault, generation, &SigningKey::generate()).await?;
        Ok(StoredKey { generation, kid: Uuid::now_v7().simple().to_string(), pkcs8 })
    }

    async fn open(&self, stored: &StoredKey) -> Result<SigningKey, Fault> {
        let pkcs8 = seal::open_key(&self.vault, stored.generation, &stored.pkcs8).await?;
        SigningKey::from_pkcs8(&stored.kid, &pkcs8).map_err(Fault::internal)
    }
}
