//! Our payments against the providers' books, by day (PAY-11).

use std::collections::BTreeMap;

use ctx::Ctx;
use fault::Fault;
use ids::TenantId;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::row::Row;
use super::{Store, decode, sql};
use crate::logic::state::Payment;

/// The figures of a day.
#[derive(Debug, Deserialize)]
pub struct ReportRow {
    /// Provider's name.
    pub provider: String,
    /// Day in UTC.
    pub day: String,
    /// Payments of ours.
    pub ours: i32,
    /// Payments of theirs.
    pub theirs: i32,
    /// When it was last run.
    pub run_at: Timestamp,
    /// Open discrepancies by class.
    pub classes: BTreeMap<String, i32>,
}

/// A payment that differs.
#[derive(Debug, Deserialize)]
pub struct Discrepancy {
    /// Identity.
    pub id: String,
    /// Provider's name.
    pub provider: String,
    /// Day in UTC.
    pub day: String,
    /// In which way.
    pub class: String,
    /// Our payment.
    pub payment_id: Option<Uuid>,
    /// Provider's id of it.
    pub reference: Option<String>,
    /// What we have.
    pub ours: String,
    /// What they have.
    pub theirs: String,
    /// OPEN or RESOLVED.
    pub state: String,
    /// How it ended.
    pub resolution: Option<String>,
    /// Why.
    pub reason: String,
    /// Who ended it.
    pub resolved_by: String,
    /// When it was found.
    pub found_at: Timestamp,
}

impl Store {
    /// Payments of a provider that began on a day and are known there.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn ours_of_day(&self, tenant: TenantId, provider: &str, day: Date) -> Result<Vec<Payment>, Fault> {
        let query = diesel::select(sql::reconciliation_ours(tenant.uuid(), provider.to_owned(), day.to_string()));
        let rows: Vec<Row> = decode(self.call("payment.ours_of_day", query).await?)?;
        Ok(rows.into_iter().map(Payment::from).collect())
    }

    /// The figures of a day; none when it was never run.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn report(&self, tenant: TenantId, provider: &str, day: Date) -> Result<Option<ReportRow>, Fault> {
        let query = diesel::select(sql::reconciliation_get(tenant.uuid(), provider.to_owned(), day.to_string()));
        let doc: Option<Value> = self.call("payment.report", query).await?;
        doc.map(decode).transpose()
    }

    /// Keeps what a run found.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn keep_report(
        &self,
        ctx: &Ctx,
        provider: &str,
        day: Date,
        counts: (usize, usize),
        found: Value,
    ) -> Result<ReportRow, Fault> {
        let (ours, theirs) = (i32::try_from(counts.0), i32::try_from(counts.1));
        let query = diesel::select(sql::reconciliation_store(
            ctx.tenant.uuid(),
            provider.to_owned(),
            day.to_string(),
            ours.map_err(Fault::internal)?,
            theirs.map_err(Fault::internal)?,
            found,
        ));
        decode(self.call("payment.keep_report", query).await?)
    }

    /// What differs, behind an id.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn discrepancies(
        &self,
        tenant: TenantId,
        after: &str,
        resolved: bool,
        most: i32,
    ) -> Result<Vec<Discrepancy>, Fault> {
        let query =
            diesel::select(sql::discrepancies_page(tenant.uuid(), None::<String>, after.to_owned(), resolved, most));
        decode(self.call("payment.discrepancies", query).await?)
    }

    /// One discrepancy, open or not.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn discrepancy(&self, tenant: TenantId, id: &str) -> Result<Option<Discrepancy>, Fault> {
        let (id, after) = (Some(id.to_owned()), String::new());
        let query = diesel::select(sql::discrepancies_page(tenant.uuid(), id, after, true, 1));
        let mut found: Vec<Discrepancy> = decode(self.call("payment.discrepancies", query).await?)?;
        Ok(found.pop())
    }

    /// Ends a discrepancy; none when there is none.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn end_discrepancy(
        &self,
        ctx: &Ctx,
        id: &str,
        resolution: &'static str,
        reason: &str,
    ) -> Result<Option<Discrepancy>, Fault> {
        let (_, by) = ctx.principal.actor();
        let (tenant, reason) = (ctx.tenant.uuid(), reason.to_owned());
        let query = diesel::select(sql::discrepancy_resolve(tenant, id.to_owned(), resolution, reason, by));
        let doc: Option<Value> = self.call("payment.resolve", query).await?;
        doc.map(decode).transpose()
    }
}
