use std::fs::{OpenOptions, create_dir_all};
use std::io::{ErrorKind, Write as _};
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
    /// API key at the payment provider that is asked while the first is away.
    pub payments_fallback: SecretString,
    /// API key at the carrier.
    pub carrier: SecretString,
    /// Master keys of sealed columns, the one to wrap with first.
    pub masters: SecretString,
}

impl Secrets {
    /// New random ones, for a system that nothing outlives.
    pub fn fresh() -> Self {
        let key = SigningKey::from_pkcs8("mesh", &SigningKey::generate()).expect("a fresh key can be read");
        let random = |prefix: &str| format!("{prefix}{}", hex::encode(rand::random::<[u8; 32]>())).into();
        Self {
            mesh: key,
            pages: random(""),
            webhooks: random(""),
            payments: random("sk_sim_"),
            payments_fallback: random("AQE_sim_"),
            carrier: random(""),
            masters: random(""),
        }
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
            payments_fallback: text("payments_fallback.key", &|| format!("AQE_sim_{}", random()))?,
            carrier: text("carrier.key", &random)?,
            masters: text("masters.key", &random)?,
        })
    }
}

fn kept(path: &Path, make: &dyn Fn() -> String) -> Result<String> {
    let tried = |what: &str| format!("{what} {}", path.display());
    if !path.exists() {
        // Processes that start together must agree: the file appears whole, and the first one's wins.
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
        file.and_then(|mut file| file.write_all(make().as_bytes())).with_context(|| tried("write"))?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft).with_context(|| tried("write"))?;
        if let Err(error) = linked
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| tried("create"));
        }
    }
    let secret = std::fs::read_to_string(path).with_context(|| tried("read"))?.trim().to_owned();
    anyhow::ensure!(!secret.is_empty(), "{} is empty; fix: remove it or fill it", path.display());
    Ok(secret)
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
