//! Messages of reports, restocking, counts and reconciliation to values and back.

use std::collections::BTreeSet;

use contract::inventory::v1 as pb;
use fault::{Fault, Violations};
use jiff::Timestamp;
use uuid::Uuid;

use super::check;
use super::wire::{self, MAX_QUANTITY, time};
use crate::commands::{DecideIssue, Difference, IngestSnapshot, Reconciliation, ReportIssue, RestockUnits};
use crate::counting::{IssueKind, IssueState};
use crate::queries::{ListIssues, Page};
use crate::store::{Issue, Stock};

/// Most products of a snapshot.
const MOST: usize = 20_000;
/// Most units of a product in a warehouse.
const MAX_ON_HAND: i32 = 1_000_000_000;

/// The report of a request.
///
/// # Errors
/// Every wrong field.
pub fn report_issue(request: pb::ReportIssueRequest) -> Result<ReportIssue, Fault> {
    let mut wrong = Violations::default();
    let pb::ReportIssueRequest { sku, warehouse, kind, quantity, picked_sku, note } = request;
    check::sku(&mut wrong, "sku", &sku);
    check::warehouse(&mut wrong, "warehouse", &warehouse);
    let kind = check::required(&mut wrong, "kind", kind, IssueKind::of);
    check::range(&mut wrong, "quantity", quantity, 1, MAX_QUANTITY);
    match kind {
        Some(IssueKind::MisPick) => {
            check::sku(&mut wrong, "picked_sku", &picked_sku);
            if picked_sku == sku {
                wrong.add("picked_sku", "SAME_PRODUCT", "must be another product");
            }
        }
        _ if !picked_sku.is_empty() => wrong.add("picked_sku", "NOT_ALLOWED", "only for MIS_PICK"),
        _ => {}
    }
    check::text(&mut wrong, "note", &note, 1, 500);
    check::done(wrong, || Some(ReportIssue { sku, warehouse, kind: kind?, quantity, picked_sku, note }))
}

/// The page of a request for reports.
///
/// # Errors
/// Every wrong field.
pub fn list_issues(request: pb::ListIssuesRequest) -> Result<ListIssues, Fault> {
    let mut wrong = Violations::default();
    let size = check::page_size(&mut wrong, request.page_size);
    let state = check::known(&mut wrong, "state", request.state, IssueState::of);
    let page = Page { size, token: request.page_token };
    check::done(wrong, || Some(ListIssues { page, state }))
}

/// The decision of a request to approve.
///
/// # Errors
/// Every wrong field.
pub fn approve_issue(request: pb::ApproveIssueRequest) -> Result<DecideIssue, Fault> {
    decide(&request.issue_id, request.note, true)
}

/// The decision of a request to reject; it says why.
///
/// # Errors
/// Every wrong field.
pub fn reject_issue(request: pb::RejectIssueRequest) -> Result<DecideIssue, Fault> {
    decide(&request.issue_id, request.note, false)
}

fn decide(id: &str, note: String, approve: bool) -> Result<DecideIssue, Fault> {
    let mut wrong = Violations::default();
    let issue = (id.len() == 32).then(|| Uuid::try_parse(id).ok()).flatten();
    if issue.is_none() {
        wrong.add("issue_id", "INVALID_ID", "must be 32 hex digits");
    }
    check::text(&mut wrong, "note", &note, usize::from(!approve), 500);
    check::done(wrong, || Some(DecideIssue { issue: issue?, approve, note }))
}

/// The units of a request to restock.
///
/// # Errors
/// Every wrong field.
pub fn restock_units(request: pb::RestockUnitsRequest) -> Result<RestockUnits, Fault> {
    let mut wrong = Violations::default();
    let pb::RestockUnitsRequest { sku, warehouse, quantity, disposition, reference } = request;
    check::sku(&mut wrong, "sku", &sku);
    check::warehouse(&mut wrong, "warehouse", &warehouse);
    check::range(&mut wrong, "quantity", quantity, 1, MAX_QUANTITY);
    let sellable = |code| match code {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    };
    let sellable = check::required(&mut wrong, "disposition", disposition, sellable);
    check::text(&mut wrong, "reference", &reference, 1, 200);
    check::done(wrong, || Some(RestockUnits { sku, warehouse, quantity, sellable: sellable?, reference }))
}

/// The product of a request to rebuild.
///
/// # Errors
/// When it is none.
pub fn rebuild_stock(request: pb::RebuildStockRequest) -> Result<String, Fault> {
    wire::one_sku(request.sku)
}

/// The snapshot of a request; `now` is when it came.
///
/// # Errors
/// Every wrong field.
pub fn ingest_snapshot(request: pb::IngestWmsSnapshotRequest, now: Timestamp) -> Result<IngestSnapshot, Fault> {
    let mut wrong = Violations::default();
    let pb::IngestWmsSnapshotRequest { warehouse, snapshot_id: snapshot, snapshot_time, observations, complete } =
        request;
    check::warehouse(&mut wrong, "warehouse", &warehouse);
    check::sku(&mut wrong, "snapshot_id", &snapshot);
    let taken_at = check::moment(&mut wrong, "snapshot_time", snapshot_time);
    if taken_at.is_some_and(|taken_at| taken_at > now) {
        wrong.add("snapshot_time", "OUT_OF_RANGE", "must not be in the future");
    }
    if !(1..=MOST).contains(&observations.len()) {
        wrong.add("observations", "OUT_OF_RANGE", format!("must be 1 to {MOST}"));
    }
    let mut seen = BTreeSet::new();
    for (at, one) in observations.iter().enumerate().take(MOST) {
        check::sku(&mut wrong, &format!("observations[{at}].sku"), &one.sku);
        check::range(&mut wrong, &format!("observations[{at}].on_hand"), one.on_hand, 0, MAX_ON_HAND);
        if !seen.insert(one.sku.as_str()) {
            wrong.add(format!("observations[{at}].sku"), "DUPLICATE_SKU", "each product once");
        }
    }
    check::done(wrong, || {
        let observations = observations.into_iter().map(|one| (one.sku, one.on_hand)).collect();
        Some(IngestSnapshot { warehouse, snapshot, taken_at: taken_at?, observations, complete })
    })
}

/// Warehouse of a request to reconcile, and whether to correct.
///
/// # Errors
/// Every wrong field.
pub fn reconcile_stock(request: pb::ReconcileStockRequest) -> Result<(String, bool), Fault> {
    let mut wrong = Violations::default();
    check::warehouse(&mut wrong, "warehouse", &request.warehouse);
    check::done(wrong, || Some((request.warehouse, request.apply)))
}

/// A report as a message.
pub fn issue(issue: Issue) -> pb::StockIssue {
    pb::StockIssue {
        id: issue.id.simple().to_string(),
        sku: issue.sku,
        warehouse: issue.warehouse,
        kind: issue.kind.code().into(),
        quantity: issue.quantity,
        picked_sku: issue.picked_sku,
        note: issue.note,
        state: issue.state.code().into(),
        reported_by: issue.reported_by,
        decided_by: issue.decided_by,
        decision_note: issue.decision_note,
        create_time: Some(time(issue.created_at)),
    }
}

/// A page of reports as a message.
pub fn issue_page(issues: Vec<Issue>, next_page_token: String) -> pb::ListIssuesResponse {
    pb::ListIssuesResponse { issues: issues.into_iter().map(issue).collect(), next_page_token }
}

/// A rebuilt product as a message.
pub fn rebuilt(stock: Stock, corrected: i32) -> pb::RebuildStockResponse {
    pb::RebuildStockResponse { stock: Some(wire::stock(stock)), corrected }
}

/// A reconciliation as a message.
pub fn reconciliation(report: Reconciliation) -> pb::Reconciliation {
    let difference = |Difference { count, applied, refusal }: Difference| pb::StockDifference {
        sku: count.sku,
        expected: count.expected,
        observed: count.observed,
        applied,
        refusal,
    };
    pb::Reconciliation {
        warehouse: report.warehouse,
        snapshot_id: report.snapshot,
        snapshot_time: Some(time(report.taken_at)),
        compared: report.accuracy.compared,
        matched: report.accuracy.matched,
        accuracy_ppm: report.accuracy.ppm,
        differences: report.differences.into_iter().map(difference).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: std::fmt::Debug>(result: Result<T, Fault>) -> Vec<String> {
        result.expect_err("refused").violations().iter().map(|wrong| wrong.field.clone()).collect()
    }

    #[test]
    fn inv_12_every_wrong_field_of_a_report_is_named_at_once() {
        let all = ["sku", "warehouse", "kind", "quantity", "note"];
        assert_eq!(names(report_issue(pb::ReportIssueRequest::default())), all);
        let report = |kind: i32, picked: &str| pb::ReportIssueRequest {
            sku: "A".into(),
            warehouse: "W1".into(),
            kind,
            quantity: 1,
            picked_sku: picked.into(),
            note: "n".into(),
        };
        assert_eq!(names(report_issue(report(9, ""))), ["kind"]);
        assert_eq!(names(report_issue(report(1, "B"))), ["picked_sku"]);
        assert_eq!(names(report_issue(report(3, ""))), ["picked_sku"]);
        assert_eq!(names(report_issue(report(3, "A"))), ["picked_sku"]);
        assert_eq!(names(reject_issue(pb::RejectIssueRequest::default())), ["issue_id", "note"]);
        assert_eq!(names(approve_issue(pb::ApproveIssueRequest::default())), ["issue_id"]);
    }

    #[test]
    fn inv_15_a_disposition_must_be_said() {
        let wrong = names(restock_units(pb::RestockUnitsRequest::default()));
        assert_eq!(wrong, ["sku", "warehouse", "quantity", "disposition", "reference"]);
    }

    #[test]
    fn inv_11_every_wrong_field_of_a_snapshot_is_named_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        let one = |sku: &str, on_hand| pb::Observation { sku: sku.into(), on_hand };
        let future = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let request = pb::IngestWmsSnapshotRequest {
            complete: false,
            snapshot_time: future,
            observations: vec![one("A", 1), one("A", -1)],
            ..Default::default()
        };
        let wrong = names(ingest_snapshot(request, now));
        let observations = ["observations[1].on_hand", "observations[1].sku"];
        assert_eq!(wrong[..3], ["warehouse", "snapshot_id", "snapshot_time"]);
        assert_eq!(wrong[3..], observations);
        let empty = names(ingest_snapshot(pb::IngestWmsSnapshotRequest::default(), now));
        assert_eq!(empty, ["warehouse", "snapshot_id", "snapshot_time", "observations"]);
    }

    #[test]
    fn inv_11_a_whole_warehouse_in_which_nothing_was_counted_is_refused() {
        let now = Timestamp::UNIX_EPOCH;
        let whole = |observations| pb::IngestWmsSnapshotRequest {
            complete: true,
            warehouse: "W1".into(),
            snapshot_id: "s".into(),
            snapshot_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            observations,
        };
        assert_eq!(names(ingest_snapshot(whole(Vec::new()), now)), ["observations"]);
        let counted = whole(vec![pb::Observation { sku: "A".into(), on_hand: 0 }]);
        assert!(ingest_snapshot(counted.clone(), now).expect("one is enough").complete);
        let some = pb::IngestWmsSnapshotRequest { complete: false, ..counted };
        assert!(!ingest_snapshot(some, now).expect("as well").complete);
    }
}
