//! Copies of what other services own: products and policy, kept a short while and dropped when they say it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use contract::identity::v1::policy_service_client::PolicyServiceClient;
use contract::identity::v1::{GetPolicyRequest, TenantPolicy};
use contract::inventory::v1::product_service_client::ProductServiceClient;
use contract::inventory::v1::{BatchGetProductsRequest, Product};
use ctx::Ctx;
use fault::Fault;
use ids::TenantId;
use moka::future::Cache;
use serve::Peers;

/// Another process may miss the event that drops its copy; after this it is asked again all the same.
const LIFE: Duration = Duration::from_secs(30);
/// Most SKUs of one question to the catalog.
const BATCH: usize = 100;

/// Products and policies as they were a moment ago.
#[derive(Clone, Debug)]
pub struct Catalog {
    peers: Peers,
    products: Cache<(TenantId, String), Arc<Product>>,
    policies: Cache<TenantId, Arc<TenantPolicy>>,
}

impl Catalog {
    /// Empty copies.
    pub fn new(peers: Peers) -> Self {
        Self {
            peers,
            products: Cache::builder().max_capacity(100_000).time_to_live(LIFE).build(),
            policies: Cache::builder().max_capacity(10_000).time_to_live(LIFE).build(),
        }
    }

    /// The products that exist among these SKUs.
    ///
    /// # Errors
    /// What the inventory service says when it has to be asked.
    pub async fn products(&self, ctx: &Ctx, skus: &BTreeSet<&str>) -> Result<BTreeMap<String, Arc<Product>>, Fault> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for sku in skus {
            match self.products.get(&(ctx.tenant, (*sku).to_owned())).await {
                Some(product) => {
                    found.insert((*sku).to_owned(), product);
                }
                None => missing.push((*sku).to_owned()),
            }
        }
        for skus in missing.chunks(BATCH) {
            let request = self.peers.request(ctx, BatchGetProductsRequest { skus: skus.to_vec() });
            let mut client = ProductServiceClient::new(self.peers.to("inventory"));
            for product in client.batch_get_products(request).await?.into_inner().products {
                let product = Arc::new(product);
                self.products.insert((ctx.tenant, product.sku.clone()), Arc::clone(&product)).await;
                found.insert(product.sku.clone(), product);
            }
        }
        Ok(found)
    }

    /// The tenant's policy.
    ///
    /// # Errors
    /// What the identity service says when it has to be asked.
    pub async fn policy(&self, ctx: &Ctx) -> Result<Arc<TenantPolicy>, Fault> {
        let ask = async {
            let request = self.peers.request(ctx, GetPolicyRequest {});
            let mut client = PolicyServiceClient::new(self.peers.to("identity"));
            Ok::<_, Fault>(Arc::new(client.get_policy(request).await?.into_inner()))
        };
        // Many orders of one tenant ask once: the first fetches, the others wait for it.
        self.policies.try_get_with(ctx.tenant, ask).await.map_err(|fault| {
            Fault::new(fault.kind(), fault.reason().to_owned(), fault.message()).caused_by(fault.to_string())
        })
    }

    /// Drops the copy of a product.
    pub async fn forget_product(&self, tenant: TenantId, sku: String) {
        self.products.invalidate(&(tenant, sku)).await;
    }

    /// Drops the copy of a policy.
    pub async fn forget_policy(&self, tenant: TenantId) {
        self.policies.invalidate(&tenant).await;
    }
}
