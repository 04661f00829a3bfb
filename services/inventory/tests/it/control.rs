use anyhow::Result;
use fault::{Fault, Kind};
use ids::OrderId;
use inventory::{
    DecideIssue, IngestSnapshot, Issue, IssueKind, IssueState, ListIssues, Page, Reconciliation, ReportIssue,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::shop::{Shop, ctx};

async fn report(shop: &Shop, kind: IssueKind, quantity: i32, picked: &str) -> Result<Uuid> {
    let (sku, warehouse, note) = ("A".to_owned(), "W1".to_owned(), "seen at the shelf".to_owned());
    let report = ReportIssue { sku, warehouse, kind, quantity, picked_sku: picked.to_owned(), note };
    Ok(shop.inventory.report_issue(&shop.ctx, report).await?.response.id.parse()?)
}

async fn decide(shop: &Shop, issue: Uuid, approve: bool) -> Result<Issue, Fault> {
    shop.inventory.decide_issue(&shop.ctx, DecideIssue { issue, approve, note: "looked".to_owned() }).await
}

#[tokio::test]
async fn inv_12_a_report_changes_stock_only_when_it_is_approved() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[10]).await?;
    let damaged = report(&shop, IssueKind::Damaged, 3, "").await?;
    let missing = report(&shop, IssueKind::Missing, 1, "").await?;
    let mis_pick = report(&shop, IssueKind::MisPick, 2, "B").await?;
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(10, 0)], vec![(10, 0)]));

    for _ in 0..2 {
        let issue = decide(&shop, damaged, true).await?;
        assert_eq!((issue.state, issue.decided_by.as_str()), (IssueState::Approved, "service:test"));
        assert_eq!(shop.levels("A").await?, [(7, 0)]);
    }
    assert_eq!(decide(&shop, damaged, false).await.expect_err("approved").reason(), "ISSUE_DECIDED");
    assert_eq!(decide(&shop, missing, false).await?.state, IssueState::Rejected);
    assert_eq!(decide(&shop, missing, true).await.expect_err("rejected").reason(), "ISSUE_DECIDED");
    decide(&shop, mis_pick, true).await?;
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(9, 0)], vec![(8, 0)]));

    let list = |state| ListIssues { page: Page { size: 2, token: String::new() }, state };
    let (newest, next) = shop.inventory.list_issues(&shop.ctx, list(None)).await?;
    assert_eq!(newest.iter().map(|issue| issue.id).collect::<Vec<_>>(), [mis_pick, missing]);
    let rest = ListIssues { page: Page { size: 2, token: next }, state: None };
    let (rest, _) = shop.inventory.list_issues(&shop.ctx, rest).await?;
    assert_eq!(rest.iter().map(|issue| issue.id).collect::<Vec<_>>(), [damaged]);
    assert!(shop.inventory.list_issues(&shop.ctx, list(Some(IssueState::Pending))).await?.0.is_empty());
    let decision = DecideIssue { issue: damaged, approve: true, note: "x".into() };
    let foreign = shop.inventory.decide_issue(&ctx(), decision).await.expect_err("another tenant's");
    assert_eq!((foreign.kind(), foreign.reason()), (Kind::NotFound, "ISSUE_NOT_FOUND"));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_12_a_report_that_would_break_a_promise_changes_nothing_at_all() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[1]).await?;
    shop.reserve(OrderId::new(), &[("B", 1)], true).await?;
    let mis_pick = report(&shop, IssueKind::MisPick, 1, "B").await?;
    let refused = decide(&shop, mis_pick, true).await.expect_err("the last B is promised");
    assert_eq!((refused.reason(), refused.metadata()["sku"].as_str()), ("STOCK_BELOW_RESERVED", "B"));
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(10, 0)], vec![(1, 1)]));
    assert_eq!(decide(&shop, mis_pick, false).await?.state, IssueState::Rejected);
    let (sku, warehouse, note) = ("NONE".to_owned(), "W1".to_owned(), "x".to_owned());
    let unknown =
        ReportIssue { sku, warehouse, kind: IssueKind::Missing, quantity: 1, picked_sku: String::new(), note };
    let unknown = shop.inventory.report_issue(&shop.ctx, unknown).await.expect_err("no product");
    assert_eq!(unknown.reason(), "PRODUCT_NOT_FOUND");
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_12_two_who_decide_at_once_correct_stock_once() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?;
    let issue = report(&shop, IssueKind::Damaged, 2, "").await?;
    let tries = (0..10).map(|at| decide(&shop, issue, at % 2 == 0));
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
    let approved = answers.into_iter().find_map(Result::ok).expect("one side won").state == IssueState::Approved;
    assert_eq!(shop.levels("A").await?, [(if approved { 8 } else { 10 }, 0)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_09_rebuilding_sets_the_figures_to_the_sums_of_the_ledger() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[5, 7]).await?.stocked("B", &[3]).await?;
    shop.reserve(OrderId::new(), &[("A", 2)], true).await?;
    let (stock, corrected) = shop.inventory.rebuild_stock(&shop.ctx, "A".into()).await?;
    assert_eq!((stock.available(), corrected), (10, 0));
    shop.sql("UPDATE stock SET on_hand = 99, reserved = 1 WHERE sku = 'A' AND warehouse = 'W1'").await?;
    shop.sql("DELETE FROM stock WHERE sku = 'A' AND warehouse = 'W2'").await?;
    assert_ne!(shop.drift().await?, 0);
    let (stock, corrected) = shop.inventory.rebuild_stock(&shop.ctx, "A".into()).await?;
    assert_eq!((stock.available(), corrected), (10, 2));
    assert_eq!(shop.levels("A").await?, [(5, 2), (7, 0)]);
    assert_eq!(shop.drift().await?, 0);
    let unknown = shop.inventory.rebuild_stock(&shop.ctx, "NONE".into()).await.expect_err("no product");
    assert_eq!(unknown.reason(), "PRODUCT_NOT_FOUND");
    Ok(())
}

/// Some of W1 was counted.
pub async fn ingest(
    shop: &Shop,
    id: &str,
    taken_at: Timestamp,
    counts: &[(&str, i32)],
) -> Result<Reconciliation, Fault> {
    take_in(shop, id, taken_at, counts, false).await
}

/// All of W1 was counted.
pub async fn ingest_whole(
    shop: &Shop,
    id: &str,
    taken_at: Timestamp,
    counts: &[(&str, i32)],
) -> Result<Reconciliation, Fault> {
    take_in(shop, id, taken_at, counts, true).await
}

async fn take_in(
    shop: &Shop,
    id: &str,
    taken_at: Timestamp,
    counts: &[(&str, i32)],
    complete: bool,
) -> Result<Reconciliation, Fault> {
    let observations = counts.iter().map(|(sku, on_hand)| ((*sku).to_owned(), *on_hand)).collect();
    let (warehouse, snapshot) = ("W1".to_owned(), id.to_owned());
    let ingest = IngestSnapshot { warehouse, snapshot, taken_at, observations, complete };
    shop.inventory.ingest_snapshot(&shop.ctx, ingest).await
}

pub fn differences(report: &Reconciliation) -> Vec<(&str, i32, i32, bool, &str)> {
    let figures = |d: &inventory::Difference| (d.count.expected, d.count.observed);
    let all = report.differences.iter().map(|d| (figures(d), d));
    all.map(|((expected, observed), d)| (d.count.sku.as_str(), expected, observed, d.applied, d.refusal.as_str()))
        .collect()
}

#[tokio::test]
async fn inv_11_a_snapshot_is_an_observation_and_never_overwrites_stock_or_reservations() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[4]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 3)], true).await?;
    let now = Timestamp::now();
    let counted = ingest(&shop, "snap-1", now, &[("A", 1), ("B", 4)]).await?;
    assert_eq!(differences(&counted), [("A", 10, 1, false, "")]);
    assert_eq!((shop.levels("A").await?, shop.levels("B").await?), (vec![(10, 3)], vec![(4, 0)]));
    assert_eq!(shop.inventory.confirm_reservation(&shop.ctx, order).await?.allocations[0].quantity, 3);

    assert_eq!(ingest(&shop, "snap-1", now, &[("A", 9)]).await?, counted, "the same snapshot again changes nothing");
    let found = "SELECT count(*) AS n FROM events WHERE type LIKE '%InventoryDiscrepancyFound'";
    assert_eq!(shop.count(found).await?, 1);
    assert_eq!(shop.count("SELECT count(*) AS n FROM observations").await?, 2);
    let elsewhere = IngestSnapshot {
        warehouse: "W2".into(),
        snapshot: "snap-1".into(),
        taken_at: now,
        observations: vec![("A".into(), 1)],
        complete: false,
    };
    let taken = shop.inventory.ingest_snapshot(&shop.ctx, elsewhere).await.expect_err("another warehouse's");
    assert_eq!(taken.reason(), "SNAPSHOT_TAKEN");
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_10_reconciliation_reports_accuracy_and_corrects_what_no_promise_forbids() -> Result<()> {
    let mut shop = Shop::open().await?;
    let skus: Vec<String> = (0..8).map(|at| format!("S{at}")).collect();
    for sku in &skus {
        shop = shop.stocked(sku, &[10]).await?;
    }
    let none = shop.inventory.reconcile_stock(&shop.ctx, "W1".into(), false).await.expect_err("nobody counted");
    assert_eq!((none.kind(), none.reason()), (Kind::Precondition, "NO_SNAPSHOT"));
    shop.reserve(OrderId::new(), &[("S1", 8)], true).await?;
    let now = Timestamp::now();
    let mut counts: Vec<(&str, i32)> = skus.iter().map(|sku| (sku.as_str(), 10)).collect();
    (counts[0].1, counts[1].1) = (12, 5);
    ingest(&shop, "old", now.saturating_sub(SignedDuration::from_hours(1))?, &[("S0", 0)]).await?;
    ingest(&shop, "new", now, &counts).await?;
    // What happens after the count is no difference of it.
    shop.adjust("S2", "W1", -4).await?;

    let looked = shop.inventory.reconcile_stock(&shop.ctx, "W1".into(), false).await?;
    assert_eq!((looked.snapshot.as_str(), looked.accuracy.compared, looked.accuracy.matched), ("new", 8, 6));
    assert_eq!(looked.accuracy.ppm, 750_000);
    assert_eq!(differences(&looked), [("S0", 10, 12, false, ""), ("S1", 10, 5, false, "")]);
    assert_eq!(shop.levels("S0").await?, [(10, 0)]);

    let applied = shop.inventory.reconcile_stock(&shop.ctx, "W1".into(), true).await?;
    assert_eq!(differences(&applied), [("S0", 10, 12, true, ""), ("S1", 10, 5, false, "STOCK_BELOW_RESERVED")]);
    let again = shop.inventory.reconcile_stock(&shop.ctx, "W1".into(), true).await?;
    assert_eq!(differences(&again), [("S1", 10, 5, false, "STOCK_BELOW_RESERVED")]);
    assert_eq!(again.accuracy.ppm, 875_000);
    assert_eq!(shop.levels("S0").await?, [(12, 0)]);
    assert_eq!(shop.levels("S2").await?, [(6, 0)]);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}
