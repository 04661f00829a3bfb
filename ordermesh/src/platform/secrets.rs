use std::fs::{OpenOptions, create_dir_all};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use secrecy::SecretString;
use serve::auth::SigningKey;

/// What processes of one system share and nobody else may know.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Signs the services' tokens.
    pub mesh: SigningKey,
    /// Seals page tokens.
    pub pages: SecretString,
    /// Root of the webhook secrets.
    pub webhooks: SecretString,
    /// API key at the payment provider.
    pub payments: SecretString,
    /// API key at the carrier.
    pub carrier: SecretString,
}

impl Secrets {
    /// New random ones, for a system that nothing outlives.
    pub fn fresh() -> Self {
        let key = SigningKey::from_pkcs8("mesh", &SigningKey::generate()).expect("a fresh key can be read");
        let random = |prefix: &str| format!("{prefix}{}", hex::encode(rand::random::<[u8; 32]>())).into();
        Self { mesh: key, pages: random(""), webhooks: random(""), payments: random("sk_sim_"), carrier: random("") }
    }

    /// Those of a directory, one file each; what is missing is made and kept (mode 0600).
    ///
    /// # Errors
    /// When a file cannot be read or written, or `mesh.key` holds no key.
    pub fn open(dir: &Path) -> Result<Self> {
        create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let random = || hex::encode(rand::random::<[u8; 32]>());
        let text = |name: &str, make: &dyn Fn() -> String| kept(&dir.join(name), make).map(SecretString::from);
        let pkcs8 = kept(&dir.join("mesh.key"), &|| hex::encode(SigningKey::generate()))?;
        let pkcs8 = hex::decode(pkcs8).context("mesh.key is not hexadecimal")?;
        Ok(Self {
            mesh: SigningKey::from_pkcs8("mesh", &pkcs8).context("mesh.key")?,
            pages: text("pages.key", &random)?,
            webhooks: text("webhooks.key", &random)?,
            payments: text("payments.key", &|| format!("sk_sim_{}", random()))?,
            carrier: text("carrier.key", &random)?,
        })
    }
}

fn kept(path: &Path, make: &dyn Fn() -> String) -> Result<String> {
    let tried = |what: &str| format!("{what} {}", path.display());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let secret = make();
            file.write_all(secret.as_bytes()).with_context(|| tried("write"))?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut secret = String::new();
            let mut file = OpenOptions::new().read(true).open(path).with_context(|| tried("read"))?;
            file.read_to_string(&mut secret).with_context(|| tried("read"))?;
            let secret = secret.trim().to_owned();
            anyhow::ensure!(!secret.is_empty(), "{} is empty; fix: remove it or fill it", path.display());
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| tried("create")),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::Secrets;

    #[test]
    fn secrets_of_a_directory_stay_the_same() -> anyhow::Result<()> {
        let dir = std::env::temp_dir().join(format!("ordermesh-secrets-{}", std::process::id()));
        let (first, second) = (Secrets::open(&dir)?, Secrets::open(&dir)?);
        assert_eq!(first.pages.expose_secret(), second.pages.expose_secret());
        assert_eq!(first.mesh.public_x(), second.mesh.public_x());
        std::fs::remove_dir_all(dir)?;
        Ok(())
    }
}
