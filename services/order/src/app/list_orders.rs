//! Pages through orders, newest first; a customer sees only his own (ORD-06, AIP-158).

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use ids::{OrderId, UserId};
use uuid::Uuid;

use crate::app::App;
use crate::infra::store::Filter;

/// What a list asks for.
#[derive(Debug, Clone)]
pub struct ListOrders {
    /// Orders of the page, 1 to 200.
    pub size: i64,
    /// Token of the page.
    pub token: String,
    /// Which orders.
    pub filter: Filter,
}

impl App {
    /// Reads a page.
    ///
    /// # Errors
    /// Invalid `PAGE_TOKEN_INVALID`.
    pub async fn list(&self, ctx: &Ctx, mut query: ListOrders) -> Result<wire::ListOrdersResponse, Fault> {
        if ctx.principal.is_customer_only() {
            let own = ctx.principal.user_id();
            if query.filter.customer.is_some() && query.filter.customer != own {
                return Ok(wire::ListOrdersResponse::default());
            }
            query.filter.customer = own;
        }
        let mark = mark(&query.filter);
        let before = match self.pages.open(ctx.tenant, mark.as_bytes(), &query.token)? {
            None => None,
            Some(cursor) => Some(Uuid::from_slice(&cursor).map_err(Fault::internal)?),
        };
        // One more than the page tells whether there is another.
        let mut orders = self.store.list(ctx.tenant, query.filter, before, query.size + 1).await?;
        let size = usize::try_from(query.size).unwrap_or(usize::MAX);
        let more = orders.len() > size;
        orders.truncate(size);
        let next_page_token = match orders.last() {
            Some(last) if more => {
                let id: OrderId = last.id.parse().map_err(Fault::internal)?;
                self.pages.seal(ctx.tenant, mark.as_bytes(), id.uuid().as_bytes())
            }
            _ => String::new(),
        };
        Ok(wire::ListOrdersResponse { orders, next_page_token })
    }
}

/// What a page token is bound to: the same query with the same filters.
fn mark(filter: &Filter) -> String {
    format!("orders {:?} {:?} {:?}", filter.states, filter.customer.map(UserId::uuid), filter.number)
}
