use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contract::identity::v1::ListTenantsRequest;
use contract::identity::v1::tenant_service_client::TenantServiceClient;
use ctx::Cause;
use ids::TenantId;
use secrecy::ExposeSecret as _;
use serve::{Peers, Settings};
use simulators::WebhookEndpoint;

use super::{Platform, Secrets};

/// How soon the providers know a tenant that another process made; one of this process they know at once, before its first
/// parcel is on its way.
const PAUSE: Duration = Duration::from_millis(500);
/// Commits come in bursts; one look serves them all.
const CALM: Duration = Duration::from_millis(20);
/// Whom the contract lets list tenants on its own account.
const CALLER: &str = "fulfillment";

impl Platform {
    /// Does what a shop does by hand at its real providers: tells the simulated ones where a tenant takes events.
    pub(super) fn follow_webhooks(&self, secrets: &Secrets) {
        let (Some(simulators), Some(rest)) = (&self.simulators, self.rest) else { return };
        let settings = Settings { webhook_secret_root: secrets.webhooks.clone(), ..Settings::isolated() };
        let simulators = Arc::clone(simulators);
        let peers = self.mesh.peers(CALLER);
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            let mut known = BTreeSet::new();
            let mut commits = pg::commits_of("identity");
            let follow = async {
                loop {
                    commits.mark_unchanged();
                    for tenant in tenants(&peers).await {
                        if known.insert(tenant) {
                            simulators.add_webhook(endpoint(
                                tenant,
                                &format!("http://{rest}/api/v1/webhooks"),
                                &settings,
                            ));
                        }
                    }
                    if tokio::time::timeout(PAUSE, commits.changed()).await.is_ok() {
                        tokio::time::sleep(CALM).await;
                    }
                }
            };
            stopping.run_until_cancelled(follow).await
        });
    }
}

async fn tenants(peers: &Peers) -> Vec<TenantId> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let cause = Cause { correlation_id: "webhooks".to_owned(), ..Cause::default() };
        let request = peers.request_above_tenants(&cause, ListTenantsRequest { page_size: 200, page_token });
        // Identity is not ready yet, or leaves: the next round asks again.
        let Ok(page) = TenantServiceClient::new(peers.to("identity")).list_tenants(request).await else { return found };
        let page = page.into_inner();
        found.extend(page.tenants.iter().filter_map(|tenant| tenant.id.parse::<TenantId>().ok()));
        if page.next_page_token.is_empty() {
            return found;
        }
        page_token = page.next_page_token;
    }
}

fn endpoint(tenant: TenantId, base: &str, settings: &Settings) -> WebhookEndpoint {
    let secret = |provider| settings.webhook_secret(provider, tenant).expose_secret().to_owned();
    WebhookEndpoint {
        tenant: tenant.to_string(),
        payments_url: format!("{base}/payments/stripe/{tenant}"),
        payments_secret: secret("payments"),
        second_url: format!("{base}/payments/adyen/{tenant}"),
        second_secret: secret("payments.second"),
        carrier_url: format!("{base}/carriers/fedex/{tenant}"),
        carrier_secret: secret("carriers"),
    }
}
