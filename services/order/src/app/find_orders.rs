//! Finds orders, newest first: lists, searches, a user's orders, counts. A customer finds only his own (ORD-06, ORD-08,
//! ORD-10, AIP-158).

use contract::identity::v1::GetUserRequest;
use contract::identity::v1::identity_service_client::IdentityServiceClient;
use contract::order::v1 as wire;
use ctx::{Ctx, Principal};
use fault::{Fault, Kind};
use ids::{OrderId, TenantId, UserId};
use pg::Pg;
use secrecy::ExposeSecret;
use serve::page::Pages;
use serve::{Boot, Peers};
use uuid::Uuid;

use crate::app::get_order::visible;
use crate::domain::order::Order;
use crate::infra::cache::{Backend, COUNTS, Cache, Copy, DETAILS, LISTS, Scope, Source};
use crate::infra::finder::{Filter, Finder};
use crate::infra::store::{Store, not_found};

/// Most orders that a count counts; further ones only make the answer late.
pub const MOST: i64 = 100_000;

/// A page that somebody asks for.
#[derive(Debug, Clone)]
pub struct Find {
    /// Orders of the page, 1 to 200.
    pub size: i64,
    /// Token of the page.
    pub token: String,
    /// Which orders.
    pub filter: Filter,
}

/// Orders of a page and the token of the next one; empty at the end.
pub type Page = (Vec<wire::Order>, String);

/// What questions are answered with: projections, never the events (ORD-39).
#[derive(Clone, Debug)]
pub struct Reads {
    /// The projections.
    pub finder: Finder,
    /// One order.
    pub store: Store,
    /// Copies of answers.
    pub cache: Cache,
    /// Page tokens.
    pub pages: Pages,
    /// The way to who knows the users.
    pub peers: Peers,
}

impl Reads {
    /// What questions of this process are answered with.
    ///
    /// # Errors
    /// Internal for a cache URL that is none.
    pub fn new(boot: &Boot, pg: &Pg) -> Result<Self, Fault> {
        let backend = match &boot.settings.cache_url {
            Some(url) => Backend::redis(url.expose_secret()).map_err(Fault::internal)?,
            None => Backend::memory(),
        };
        Ok(Self {
            finder: Finder { pg: pg.clone() },
            store: Store::new(pg.clone()),
            cache: Cache::new(backend),
            pages: boot.pages(),
            peers: boot.peers.clone(),
        })
    }

    /// Reads a page.
    ///
    /// # Errors
    /// Invalid `PAGE_TOKEN_INVALID`.
    pub async fn find(&self, ctx: &Ctx, mut query: Find) -> Result<(Page, Option<Source>), Fault> {
        if !allow(ctx, &mut query.filter) {
            return Ok((Page::default(), None));
        }
        self.page(ctx, &query).await
    }

    /// Reads an order that the caller may see.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn get(&self, ctx: &Ctx, id: OrderId) -> Result<(wire::Order, Source), Fault> {
        let (doc, source) = self.details(ctx.tenant, id).await?;
        let order = Order::of_doc(doc);
        if visible(ctx, &order) { Ok((order.doc, source)) } else { Err(not_found(id)) }
    }

    pub(crate) async fn details(&self, tenant: TenantId, id: OrderId) -> Result<(wire::Order, Source), Fault> {
        let copy = Copy { kind: "order", tenant, scope: Scope::Order(id), question: String::new(), life: DETAILS };
        self.cache.answer(&copy, async { Ok(self.store.get(tenant, id).await?.doc) }).await
    }

    pub(crate) async fn tally(
        &self,
        tenant: TenantId,
        filter: &Filter,
    ) -> Result<(wire::CountOrdersResponse, Source), Fault> {
        let scope = filter.only_customer().map_or(Scope::Tenant, Scope::User);
        let copy = Copy { kind: "count", tenant, scope, question: filter.mark(), life: COUNTS };
        let count = async {
            let counted = self.finder.count(tenant, filter, MOST + 1).await?;
            Ok(wire::CountOrdersResponse { count: counted.min(MOST), more: counted > MOST })
        };
        self.cache.answer(&copy, count).await
    }

    /// Counts orders, at most [`MOST`].
    ///
    /// # Errors
    /// As the database.
    pub async fn count(
        &self,
        ctx: &Ctx,
        mut filter: Filter,
    ) -> Result<(wire::CountOrdersResponse, Option<Source>), Fault> {
        if !allow(ctx, &mut filter) {
            return Ok((wire::CountOrdersResponse::default(), None));
        }
        let (counted, source) = self.tally(ctx.tenant, &filter).await?;
        Ok((counted, Some(source)))
    }

    /// Reads a page of a user's orders.
    ///
    /// # Errors
    /// NotFound `USER_NOT_FOUND` for somebody else's, and for who is not in the tenant.
    pub async fn of_user(
        &self,
        ctx: &Ctx,
        user: UserId,
        size: i64,
        token: String,
    ) -> Result<(Page, Option<Source>), Fault> {
        if ctx.principal.is_customer_only() && ctx.principal.user_id() != Some(user) {
            return Err(unknown(user));
        }
        let filter = Filter { customers: Some(vec![user.uuid()]), ..Filter::default() };
        let page = self.page(ctx, &Find { size, token, filter }).await?;
        if page.0.0.is_empty() && ctx.principal.user_id() != Some(user) {
            self.check_member(ctx, user).await?;
        }
        Ok(page)
    }

    async fn check_member(&self, ctx: &Ctx, user: UserId) -> Result<(), Fault> {
        let peers = &self.peers;
        let request = peers.request(ctx, GetUserRequest { user_id: user.to_string() });
        match IdentityServiceClient::new(peers.to("identity")).get_user(request).await.map_err(Fault::from) {
            Ok(_) => Ok(()),
            Err(fault) if fault.kind() == Kind::NotFound => Err(unknown(user)),
            Err(fault) => Err(fault),
        }
    }

    /// Only lists of one user are asked for often enough to keep copies of.
    async fn page(&self, ctx: &Ctx, query: &Find) -> Result<(Page, Option<Source>), Fault> {
        let Some(user) = query.filter.only_customer() else {
            return Ok((self.load(ctx, query).await?, None));
        };
        let question = format!("{} {} {}", query.size, query.token, query.filter.mark());
        let copy = Copy { kind: "list", tenant: ctx.tenant, scope: Scope::User(user), question, life: LISTS };
        let load = async {
            let (orders, next_page_token) = self.load(ctx, query).await?;
            Ok(wire::ListUserOrdersResponse { orders, next_page_token })
        };
        let (page, source) = self.cache.answer(&copy, load).await?;
        Ok(((page.orders, page.next_page_token), Some(source)))
    }

    async fn load(&self, ctx: &Ctx, query: &Find) -> Result<Page, Fault> {
        let mark = query.filter.mark();
        let before = match self.pages.open(ctx.tenant, mark.as_bytes(), &query.token)? {
            None => None,
            Some(cursor) => Some(Uuid::from_slice(&cursor).map_err(Fault::internal)?),
        };
        // One more than the page tells whether there is another.
        let mut orders = self.finder.page(ctx.tenant, &query.filter, before, query.size + 1).await?;
        let size = usize::try_from(query.size).unwrap_or(usize::MAX);
        let more = orders.len() > size;
        orders.truncate(size);
        let next = match orders.last() {
            Some(last) if more => {
                let id: OrderId = last.id.parse().map_err(Fault::internal)?;
                self.pages.seal(ctx.tenant, mark.as_bytes(), id.uuid().as_bytes())
            }
            _ => String::new(),
        };
        Ok((orders, next))
    }
}

/// Keeps a customer to his own orders; false when he asks for nothing but others'.
fn allow(ctx: &Ctx, filter: &mut Filter) -> bool {
    let Principal::User { id, .. } = &ctx.principal else { return true };
    if !ctx.principal.is_customer_only() {
        return true;
    }
    let own = id.uuid();
    if filter.customers.as_ref().is_some_and(|customers| !customers.contains(&own)) {
        return false;
    }
    filter.customers = Some(vec![own]);
    true
}

fn unknown(user: UserId) -> Fault {
    Fault::not_found("USER_NOT_FOUND", "there is no such user").with("user_id", user)
}

#[cfg(test)]
pub(crate) mod tests;
