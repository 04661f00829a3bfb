//! The methods of reconciliation.

use contract::payment::v1::reconciliation_service_server::ReconciliationService;
use contract::payment::v1::{
    Discrepancy, DiscrepancyClass, GetReconciliationReportRequest, ListDiscrepanciesRequest, ListDiscrepanciesResponse,
    ReconciliationReport, ResolveDiscrepancyRequest, RunReconciliationRequest,
};
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::PaymentId;
use jiff::civil::Date;
use tonic::{Request, Response, Status};

use super::Grpc;
use super::wire::{check_reason, size, time};
use crate::logic;

#[tonic::async_trait]
impl ReconciliationService for Grpc {
    async fn run_reconciliation(
        &self,
        req: Request<RunReconciliationRequest>,
    ) -> Result<Response<ReconciliationReport>, Status> {
        let ctx = Ctx::of(&req)?;
        let req = req.into_inner();
        let day = day_of(&req.provider, &req.day)?;
        let found = self.app.reconcile(&ctx, &req.provider, day).await?;
        Ok(Response::new(report(&found)))
    }

    async fn get_reconciliation_report(
        &self,
        req: Request<GetReconciliationReportRequest>,
    ) -> Result<Response<ReconciliationReport>, Status> {
        let ctx = Ctx::of(&req)?;
        let req = req.into_inner();
        let day = day_of(&req.provider, &req.day)?;
        let found = self.app.report(&ctx, &req.provider, day).await?;
        Ok(Response::new(report(&found)))
    }

    async fn list_discrepancies(
        &self,
        req: Request<ListDiscrepanciesRequest>,
    ) -> Result<Response<ListDiscrepanciesResponse>, Status> {
        let ctx = Ctx::of(&req)?;
        let req = req.into_inner();
        let mut wrong = Violations::default();
        let size = size(&mut wrong, req.page_size);
        wrong.finish()?;
        let page = self.app.discrepancies(&ctx, size, &req.page_token, req.show_resolved).await?;
        let discrepancies = page.found.into_iter().map(discrepancy).collect();
        Ok(Response::new(ListDiscrepanciesResponse { discrepancies, next_page_token: page.next }))
    }

    async fn resolve_discrepancy(
        &self,
        req: Request<ResolveDiscrepancyRequest>,
    ) -> Result<Response<Discrepancy>, Status> {
        let ctx = Ctx::of(&req)?;
        let ResolveDiscrepancyRequest { discrepancy_id: id, reason, accept } = req.into_inner();
        let mut wrong = Violations::default();
        let hex =
            id.strip_prefix("dsc_").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if !hex {
            wrong.add("discrepancy_id", "INVALID_ID", "must be dsc_ and 32 hex digits");
        }
        check_reason(&mut wrong, &reason);
        wrong.finish()?;
        let found = self.app.resolve_discrepancy(&ctx, logic::Resolve { id, reason, accept }).await?;
        Ok(Response::new(discrepancy(found)))
    }
}

fn day_of(provider: &str, day: &str) -> Result<Date, Fault> {
    let mut wrong = Violations::default();
    if provider.is_empty() || provider.len() > 40 || provider.contains('\0') {
        wrong.add("provider", "UNKNOWN_PROVIDER", "must name a payment provider");
    }
    let parsed = day.parse::<Date>().ok().filter(|parsed| parsed.to_string() == day && parsed.year() >= 2000);
    if parsed.is_none() {
        wrong.add("day", "INVALID_DAY", "must be a day such as 2026-11-21");
    }
    wrong.finish()?;
    parsed.ok_or_else(|| Fault::internal("a wrong field was not named"))
}

fn report(found: &logic::ReportRow) -> ReconciliationReport {
    let count = |class: &str| found.classes.get(class).copied().unwrap_or_default();
    ReconciliationReport {
        provider: found.provider.clone(),
        day: found.day.clone(),
        ours: found.ours,
        theirs: found.theirs,
        missing_ours: count("MISSING_OURS"),
        missing_theirs: count("MISSING_THEIRS"),
        amount_differs: count("AMOUNT_DIFFERS"),
        state_differs: count("STATE_DIFFERS"),
        run_time: Some(time(found.run_at)),
    }
}

fn discrepancy(found: logic::Discrepancy) -> Discrepancy {
    let class = match found.class.as_str() {
        "MISSING_OURS" => DiscrepancyClass::MissingOurs,
        "MISSING_THEIRS" => DiscrepancyClass::MissingTheirs,
        "AMOUNT_DIFFERS" => DiscrepancyClass::AmountDiffers,
        _ => DiscrepancyClass::StateDiffers,
    };
    Discrepancy {
        id: found.id,
        provider: found.provider,
        day: found.day,
        class: class.into(),
        payment_id: found.payment_id.map(|id| PaymentId::from_uuid(id).to_string()).unwrap_or_default(),
        provider_reference: found.reference.unwrap_or_default(),
        ours: found.ours,
        theirs: found.theirs,
        state: found.state,
        resolution: found.resolution.unwrap_or_default(),
        reason: found.reason,
        resolved_by: found.resolved_by,
        find_time: Some(time(found.found_at)),
    }
}
