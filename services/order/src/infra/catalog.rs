//! Copies of what other services own: products and policy, kept a short while and dropped when they say it changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use contract::identity::v1::customer_service_client::CustomerServiceClient;
use contract::identity::v1::policy_service_client::PolicyServiceClient;
use contract::identity::v1::{GetCustomerRequest, GetPolicyRequest, TenantPolicy, User};
use contract::inventory::v1::product_service_client::ProductServiceClient;
use contract::inventory::v1::{BatchGetProductsRequest, Product};
use ctx::Ctx;
use fault::Fault;
use ids::{TenantId, UserId};
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
    customers: Cache<(TenantId, UserId), Arc<User>>,
}

impl Catalog {
    /// Empty copies.
    pub fn new(peers: Peers) -> Self {
        Self {
            peers,
            products: Cache::builder().max_capacity(100_000).time_to_live(LIFE).build(),
            policies: Cache::builder().max_capacity(10_000).time_to_live(LIFE).build(),
            customers: Cache::builder().max_capacity(100_000).time_to_live(LIFE).build(),
        }
    }

    /// Copies that are there before anybody is asked.
    #[cfg(test)]
    pub async fn know_customer(&self, tenant: TenantId, id: UserId, customer: User) {
        self.customers.insert((tenant, id), Arc::new(customer)).await;
    }

    /// Copies that are there before anybody is asked.
    #[cfg(test)]
    pub async fn know(&self, tenant: TenantId, policy: TenantPolicy, products: Vec<Product>) {
        self.policies.insert(tenant, Arc::new(policy)).await;
        for product in products {
            self.products.insert((tenant, product.sku.clone()), Arc::new(product)).await;
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
                None => missing.push(*sku),
            }
        }
        found.extend(self.fetch(ctx, &missing).await?);
        Ok(found)
    }

    /// The products that exist among these SKUs, whatever copies say.
    ///
    /// # Errors
    /// What the inventory service says.
    pub async fn ask_products(
        &self,
        ctx: &Ctx,
        skus: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Arc<Product>>, Fault> {
        self.fetch(ctx, &skus.iter().copied().collect::<Vec<_>>()).await
    }

    async fn fetch(&self, ctx: &Ctx, skus: &[&str]) -> Result<BTreeMap<String, Arc<Product>>, Fault> {
        let mut found = BTreeMap::new();
        for skus in skus.chunks(BATCH) {
            let skus = skus.iter().map(|sku| (*sku).to_owned()).collect();
            let request = self.peers.request(ctx, BatchGetProductsRequest { skus });
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

    /// A user of the tenant.
    ///
    /// # Errors
    /// NotFound `USER_NOT_FOUND`; what the identity service says when it has to be asked.
    pub async fn customer(&self, ctx: &Ctx, id: UserId) -> Result<Arc<User>, Fault> {
        if let Some(known) = self.customers.get(&(ctx.tenant, id)).await {
            return Ok(known);
        }
        let request = self.peers.request(ctx, GetCustomerRequest { user_id: id.to_string() });
        let mut client = CustomerServiceClient::new(self.peers.to("identity"));
        let user = Arc::new(client.get_customer(request).await?.into_inner());
        self.customers.insert((ctx.tenant, id), Arc::clone(&user)).await;
        Ok(user)
    }

    /// Drops the copy of a user.
    pub async fn forget_customer(&self, tenant: TenantId, id: UserId) {
        self.customers.invalidate(&(tenant, id)).await;
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
