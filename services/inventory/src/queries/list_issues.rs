//! Reports of what is wrong with stock in pages, newest first (INV-12).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use uuid::Uuid;

use super::{Page, cut};
use crate::commands::Inventory;
use crate::counting::IssueState;
use crate::store::{self, Issue};

/// A page of reports as somebody asks for it.
#[derive(Debug, Clone)]
pub struct ListIssues {
    /// The page.
    pub page: Page,
    /// Only those in this state.
    pub state: Option<IssueState>,
}

impl Inventory {
    /// A page of reports and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_issues(&self, ctx: &Ctx, list: ListIssues) -> Result<(Vec<Issue>, String), Fault> {
        let ListIssues { page: Page { size, token }, state } = list;
        let tenant = ctx.tenant;
        let filter = format!("issues:{state:?}");
        let cursor = self.pages.open(tenant, filter.as_bytes(), &token)?;
        let before = cursor.map(|cursor| Uuid::from_slice(&cursor)).transpose().map_err(Fault::internal)?;
        let page = self
            .pg
            .read("inventory.list_issues", tenant, move |conn| {
                store::issue_page(conn, tenant, before, state, size + 1).boxed()
            })
            .await?;
        let (found, more) = cut(page, size);
        let last = found.last().filter(|_| more);
        let token = last.map(|last| self.pages.seal(tenant, filter.as_bytes(), last.id.as_bytes()));
        Ok((found, token.unwrap_or_default()))
    }
}
