use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use ids::TenantId;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::job::Job;
use crate::mesh::Peers;
use crate::page::Pages;

/// What a service gets to start with.
#[derive(Debug, Clone)]
pub struct Boot {
    /// Base URL of the database; the service adds its role and schema.
    pub database: String,
    /// Most connections of the service's pool.
    pub pool_size: usize,
    /// The way to other services, in this service's name.
    pub peers: Peers,
    /// Addresses, secrets and intervals.
    pub settings: Settings,
    /// Tracks work that must end before the process does.
    pub tasks: TaskTracker,
    /// Cancelled when the process drains.
    pub shutdown: CancellationToken,
}

impl Boot {
    /// Seals and opens page tokens with the system's key.
    pub fn pages(&self) -> Pages {
        Pages::new(&self.settings.page_token_key)
    }
}

/// Addresses of the outside world, secrets and intervals; secrets are never shown.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URL of the payment provider.
    pub payments_url: String,
    /// Base URL of the payment provider that is asked while the first is away; empty without one.
    pub payments_fallback_url: String,
    /// Secret API key at the payment provider.
    pub payments_key: SecretString,
    /// Secret API key at the one that is asked while the first is away; neither sees the other's.
    pub payments_fallback_key: SecretString,
    /// URL of the warehouse system's SOAP endpoint.
    pub wms_url: String,
    /// Base URL of the carrier.
    pub carrier_url: String,
    /// Secret API key at the carrier.
    pub carrier_key: SecretString,
    /// The mail server: `smtp://host:port`, with `user:password@` and `?tls=required` where it wants them.
    pub mail_url: SecretString,
    /// Who writes mails: `Name <address>`.
    pub mail_from: String,
    /// Root of the webhook secrets; see [`Settings::webhook_secret`].
    pub webhook_secret_root: SecretString,
    /// Pause between two questions to the warehouse system.
    pub wms_poll: Duration,
    /// How long a carrier may be silent about a parcel before it is asked.
    pub carrier_poll: Duration,
    /// Key of the page tokens, any length from 32 bytes.
    pub page_token_key: SecretString,
    /// Life of a person's access token.
    pub user_token_ttl: Duration,
    /// Master keys of sealed columns: 64 hexadecimal digits each, one a line, the one to wrap with first (PAY-12).
    pub master_keys: SecretString,
    /// Where copies of answers are kept, such as `redis://host:6379`; None = in the process (ORD-41).
    pub cache_url: Option<SecretString>,
}

impl Settings {
    /// Fresh random secrets, and an outside world that answers nowhere (port 9 is "discard").
    pub fn isolated() -> Self {
        let nowhere = "http://127.0.0.1:9".to_owned();
        Self {
            payments_url: nowhere.clone(),
            payments_fallback_url: String::new(),
            payments_key: random_secret(),
            payments_fallback_key: random_secret(),
            wms_url: nowhere.clone(),
            carrier_url: nowhere,
            carrier_key: random_secret(),
            mail_url: "smtp://127.0.0.1:9".to_owned().into(),
            mail_from: "Ordermesh <orders@ordermesh.example>".to_owned(),
            webhook_secret_root: random_secret(),
            wms_poll: Duration::from_millis(500),
            carrier_poll: Duration::from_secs(600),
            page_token_key: random_secret(),
            user_token_ttl: Duration::from_secs(15 * 60),
            master_keys: random_secret(),
            cache_url: None,
        }
    }

    /// Secret that a provider ("payments", "carriers") signs a tenant's webhooks with: hex of
    /// HMAC-SHA256(root, "payments:tnt_…").
    pub fn webhook_secret(&self, provider: &str, tenant: TenantId) -> SecretString {
        let root = self.webhook_secret_root.expose_secret().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(root).expect("HMAC takes keys of any length");
        mac.update(format!("{provider}:{tenant}").as_bytes());
        hex::encode(mac.finalize().into_bytes()).into()
    }
}

fn random_secret() -> SecretString {
    hex::encode(rand::random::<[u8; 32]>()).into()
}

/// All that a service offers and does: the whole agreement with the executable.
pub struct Mount {
    /// Name of the context, such as "order".
    pub name: &'static str,
    /// Its gRPC services, without any layer.
    pub routes: tonic::service::Routes,
    /// What runs beside the requests.
    pub jobs: Vec<Job>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("name", &self.name).field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_secrets_differ_by_tenant_and_provider() {
        let (settings, tenant) = (Settings::isolated(), TenantId::new());
        let secret = |provider, tenant| settings.webhook_secret(provider, tenant).expose_secret().to_owned();
        assert_eq!(secret("payments", tenant), secret("payments", tenant));
        assert_ne!(secret("payments", tenant), secret("carriers", tenant));
        assert_ne!(secret("payments", tenant), secret("payments", TenantId::new()));
        assert!(!format!("{settings:?}").contains(settings.payments_key.expose_secret()));
    }
}
