use ctx::Ctx;
use fault::Fault;
use ids::{OrderId, PaymentId, RefundId};
use uuid::Uuid;

use super::App;
use super::inquire::not_found;
use super::state::{Payment, State};
use crate::data::{Entry, Refund};

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

/// Which part of a payment's audit to list.
#[derive(Debug, Clone)]
pub struct ListEvents {
    /// The payment.
    pub payment: PaymentId,
    /// Most events of the page.
    pub size: i64,
    /// Token of the page; empty for the first.
    pub token: String,
}

/// A page of the audit, oldest first.
#[derive(Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Entry>,
    /// Token of the next page; empty at the end.
    pub next: String,
}

impl App {
    /// Asks the provider how the customer's action ended, when he comes back from it; customers only see their own.
    ///
    /// # Errors
    /// NotFound `PAYMENT_NOT_FOUND`.
    pub async fn complete_action(&self, ctx: &Ctx, payment: PaymentId) -> Result<Payment, Fault> {
        let payment = self.get(ctx, payment).await?;
        let own = payment.customer.is_some() && payment.customer == ctx.principal.user_id();
        if ctx.principal.is_customer_only() && !own {
            return Err(not_found());
        }
        if payment.state() != State::RequiresAction {
            return Ok(payment);
        }
        let (app, ctx) = (self.clone(), ctx.clone());
        self.finish(async move { app.inquire_now(&ctx, payment, false).await }).await
    }

    /// A refund by its id.
    ///
    /// # Errors
    /// NotFound `REFUND_NOT_FOUND`.
    pub async fn get_refund(&self, ctx: &Ctx, refund: RefundId) -> Result<Refund, Fault> {
        let found = self.store().refund(ctx.tenant, refund).await?;
        found.ok_or_else(|| Fault::not_found("REFUND_NOT_FOUND", "there is no such refund"))
    }

    /// All refunds of a payment, oldest first.
    ///
    /// # Errors
    /// NotFound `PAYMENT_NOT_FOUND`.
    pub async fn list_refunds(&self, ctx: &Ctx, payment: PaymentId) -> Result<Vec<Refund>, Fault> {
        self.store().refunds(ctx.tenant, payment).await?.ok_or_else(not_found)
    }

    /// Pages through the audit of a payment (PAY-13).
    ///
    /// # Errors
    /// NotFound `PAYMENT_NOT_FOUND`; Invalid `page_token` `PAGE_TOKEN_INVALID`.
    pub async fn list_events(&self, ctx: &Ctx, cmd: ListEvents) -> Result<EventPage, Fault> {
        let filter = format!("payment-events:{}", cmd.payment);
        let pages = &self.inner.pages;
        let after = match pages.open(ctx.tenant, filter.as_bytes(), &cmd.token)? {
            None => -1,
            Some(bytes) => i32::from_be_bytes(bytes.as_slice().try_into().map_err(Fault::internal)?),
        };
        let size = usize::try_from(cmd.size).map_err(Fault::internal)?;
        let most = i32::try_from(cmd.size + 1).map_err(Fault::internal)?;
        let found = self.store().history(ctx.tenant, cmd.payment, after, most).await?;
        let mut events = found.ok_or_else(not_found)?;
        let more = events.len() > size;
        events.truncate(size);
        let next = match events.last() {
            Some(last) if more => pages.seal(ctx.tenant, filter.as_bytes(), &last.seq.to_be_bytes()),
            _ => String::new(),
        };
        Ok(EventPage { events, next })
    }

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
