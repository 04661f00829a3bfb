//! What warehouse staff find wrong, and who decides of it (INV-12).

use std::sync::Arc;

use contract::inventory::v1::{self as pb, StockIssueDecided, StockIssueReported};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use pg::Once;
use uuid::Uuid;

use super::Inventory;
use crate::api::wire_control as wire;
use crate::counting::{IssueKind, IssueState, corrections};
use crate::store::{self, Issue};

/// What is wrong with stock.
#[derive(Debug, Clone)]
pub struct ReportIssue {
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// What is wrong.
    pub kind: IssueKind,
    /// Units, above zero.
    pub quantity: i32,
    /// What left instead; empty unless it is a wrong pick.
    pub picked_sku: String,
    /// What the reporter says.
    pub note: String,
}

/// What somebody decided of a report.
#[derive(Debug, Clone)]
pub struct DecideIssue {
    /// The report.
    pub issue: Uuid,
    /// Correct stock, or leave it.
    pub approve: bool,
    /// Why.
    pub note: String,
}

impl Inventory {
    /// Stores a report that waits for approval, once per idempotency key; stock stays as it is.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, WAREHOUSE_NOT_FOUND; Precondition PRODUCT_IS_RESOURCE.
    pub async fn report_issue(&self, ctx: &Ctx, report: ReportIssue) -> Result<Once<pb::StockIssue>, Fault> {
        let (context, report) = (ctx.clone(), Arc::new(report));
        Ok(self
            .pg
            .once("inventory.report_issue", ctx, move |conn| {
                let (ctx, report) = (context.clone(), report.clone());
                async move { note(conn, &ctx, &report).await }.boxed()
            })
            .await?)
    }

    /// Corrects stock as a report asks, or leaves it; the same decision again changes nothing.
    ///
    /// # Errors
    /// NotFound ISSUE_NOT_FOUND; Precondition ISSUE_DECIDED, STOCK_BELOW_RESERVED, STOCK_TOO_LARGE.
    pub async fn decide_issue(&self, ctx: &Ctx, decide: DecideIssue) -> Result<Issue, Fault> {
        let (context, decide) = (ctx.clone(), Arc::new(decide));
        Ok(self
            .pg
            .tx("inventory.decide_issue", ctx.tenant, move |conn| {
                let (ctx, decide) = (context.clone(), decide.clone());
                async move { settle(conn, &ctx, &decide).await }.boxed()
            })
            .await?)
    }
}

fn actor(ctx: &Ctx) -> String {
    let (kind, id) = ctx.principal.actor();
    format!("{kind}:{id}")
}

async fn note(conn: &mut pg::Conn, ctx: &Ctx, report: &ReportIssue) -> Result<pb::StockIssue, pg::Error> {
    let ReportIssue { sku, warehouse, kind, quantity, picked_sku, note } = report.clone();
    let issue = Issue {
        id: Uuid::now_v7(),
        sku,
        warehouse,
        kind,
        quantity,
        picked_sku,
        note,
        state: IssueState::Pending,
        reported_by: actor(ctx),
        decided_by: String::new(),
        decision_note: String::new(),
        created_at: ctx.now,
    };
    store::add_issue(conn, ctx.tenant, &issue).await?;
    let event = StockIssueReported {
        sku: issue.sku.clone(),
        issue_id: issue.id.simple().to_string(),
        warehouse: issue.warehouse.clone(),
    };
    eventlog::append(conn, ctx, issue.id, 0, &[store::event(&event)]).await?;
    Ok(wire::issue(issue))
}

async fn settle(conn: &mut pg::Conn, ctx: &Ctx, decide: &DecideIssue) -> Result<Issue, pg::Error> {
    let mut issue = store::locked_issue(conn, ctx.tenant, decide.issue).await?;
    let wanted = if decide.approve { IssueState::Approved } else { IssueState::Rejected };
    if issue.state == wanted {
        return Ok(issue);
    }
    if issue.state != IssueState::Pending {
        return Err(Fault::precondition("ISSUE_DECIDED", "somebody decided of this report already").into());
    }
    let reference = issue.id.simple().to_string();
    if decide.approve {
        let changes = corrections(issue.kind, &issue.sku, &issue.picked_sku, issue.quantity);
        store::correct(conn, ctx.tenant, &issue.warehouse, &changes, ("ISSUE", &reference)).await?;
    }
    issue.state = wanted;
    issue.decided_by = actor(ctx);
    issue.decision_note.clone_from(&decide.note);
    store::decide_issue(conn, ctx.tenant, &issue).await?;
    let event = StockIssueDecided { sku: issue.sku.clone(), issue_id: reference, approved: decide.approve };
    eventlog::append(conn, ctx, issue.id, 1, &[store::event(&event)]).await?;
    Ok(issue)
}
