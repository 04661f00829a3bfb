use ctx::Ctx;
use fault::Fault;
use ids::OrderId;
use uuid::Uuid;

use crate::model::Shipment;
use crate::mount::App;

/// What to list.
pub(crate) struct List {
    /// Rows of a page, 1 to 200.
    pub size: i64,
    pub token: String,
    pub order: Option<OrderId>,
}

/// A page and the token of the next; empty at the end.
pub(crate) struct Page {
    pub shipments: Vec<Shipment>,
    pub next: String,
}

/// A page of the tenant's shipments, newest first.
///
/// # Errors
/// Invalid PAGE_TOKEN_INVALID.
pub(crate) async fn list(app: &App, ctx: &Ctx, query: List) -> Result<Page, Fault> {
    let filter = format!("shipments?order={}", query.order.map_or_else(String::new, |order| order.to_string()));
    let before = match app.pages.open(ctx.tenant, filter.as_bytes(), &query.token)? {
        None => None,
        Some(cursor) => Some(Uuid::from_slice(&cursor).map_err(Fault::internal)?),
    };
    let size = usize::try_from(query.size).unwrap_or(1);
    // One more than asked for tells whether there is a next page.
    let limit = i32::try_from(size + 1).unwrap_or(i32::MAX);
    let mut shipments = app.store.list(ctx.tenant, query.order, before, limit).await?;
    let more = shipments.len() > size;
    shipments.truncate(size);
    let next = match shipments.last() {
        Some(last) if more => app.pages.seal(ctx.tenant, filter.as_bytes(), last.id().uuid().as_bytes()),
        _ => String::new(),
    };
    Ok(Page { shipments, next })
}
