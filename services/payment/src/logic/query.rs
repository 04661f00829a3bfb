use ctx::Ctx;
use fault::Fault;
use ids::{OrderId, PaymentId};
use uuid::Uuid;

use super::App;
use super::inquire::not_found;
use super::state::Payment;

/// Which payments to list.
#[derive(Debug, Clone)]
pub struct ListPayments {
    /// Most payments of the page.
    pub size: i64,
    /// Token of the page; empty for the first.
    pub token: String,
    /// Only this order.
    pub order: Option<OrderId>,
}

/// A page of payments, newest first.
#[derive(Debug)]
pub struct ListPage {
    /// The payments.
    pub payments: Vec<Payment>,
    /// Token of the next page; empty at the end.
    pub next: String,
}

impl App {
    /// A payment by its id.
    ///
    /// # Errors
    /// NotFound `PAYMENT_NOT_FOUND`.
    pub async fn get(&self, ctx: &Ctx, payment: PaymentId) -> Result<Payment, Fault> {
        self.store().get(ctx.tenant, payment).await?.ok_or_else(not_found)
    }

    /// Pages through payments.
    ///
    /// # Errors
    /// Invalid `page_token` `PAGE_TOKEN_INVALID`.
    pub async fn list(&self, ctx: &Ctx, cmd: ListPayments) -> Result<ListPage, Fault> {
        let filter = cmd.order.map(|order| order.to_string()).unwrap_or_default();
        let filter = format!("payments:{filter}");
        let pages = &self.inner.pages;
        let cursor = pages.open(ctx.tenant, filter.as_bytes(), &cmd.token)?;
        let behind = match cursor {
            None => None,
            Some(bytes) => Some(PaymentId::from_uuid(Uuid::from_slice(&bytes).map_err(Fault::internal)?)),
        };
        let size = usize::try_from(cmd.size).map_err(Fault::internal)?;
        let mut payments = self.store().page(ctx.tenant, cmd.order, behind, cmd.size + 1).await?;
        let more = payments.len() > size;
        payments.truncate(size);
        let next = match payments.last() {
            Some(last) if more => pages.seal(ctx.tenant, filter.as_bytes(), last.id.uuid().as_bytes()),
            _ => String::new(),
        };
        Ok(ListPage { payments, next })
    }
}
