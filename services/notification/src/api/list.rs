use ctx::Ctx;
use fault::Fault;
use uuid::Uuid;

use crate::model::Message;
use crate::mount::App;
use crate::store::Filter;

/// What to list.
pub(crate) struct List {
    /// Rows of a page, 1 to 200.
    pub size: i64,
    pub token: String,
    pub filter: Filter,
}

/// A page and the token of the next; empty at the end.
pub(crate) struct Page {
    pub messages: Vec<Message>,
    pub next: String,
}

/// A page of the tenant's messages, newest first.
///
/// # Errors
/// Invalid PAGE_TOKEN_INVALID.
pub(crate) async fn list(app: &App, ctx: &Ctx, query: List) -> Result<Page, Fault> {
    let Filter { order, customer, state } = query.filter;
    let filter = format!("messages?order={order:?}&customer={customer:?}&state={state:?}");
    let before = match app.pages.open(ctx.tenant, filter.as_bytes(), &query.token)? {
        None => None,
        Some(cursor) => Some(Uuid::from_slice(&cursor).map_err(Fault::internal)?),
    };
    let size = usize::try_from(query.size).unwrap_or(1);
    // One more than asked for tells whether there is a next page.
    let limit = i32::try_from(size + 1).unwrap_or(i32::MAX);
    let mut messages = app.store.list(ctx.tenant, query.filter, before, limit).await?;
    let more = messages.len() > size;
    messages.truncate(size);
    let next = match messages.last() {
        Some(last) if more => app.pages.seal(ctx.tenant, filter.as_bytes(), last.id().uuid().as_bytes()),
        _ => String::new(),
    };
    Ok(Page { messages, next })
}
