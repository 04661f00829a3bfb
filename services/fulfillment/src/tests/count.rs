//! What lies in the warehouses, as inventory is told of it; inventory stands behind the real tower stack and notes it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use contract::inventory::v1 as inv;
use contract::inventory::v1::stock_control_service_server::{StockControlService, StockControlServiceServer};
use diesel_async::SimpleAsyncConnection;
use fault::Fault;
use ids::{OrderId, TenantId};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use resilience::Method;
use serde_json::json;
use serve::auth::SigningKey;
use serve::{Limits, Mesh};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::{World, ctx_of, fault_rule, wish};
use crate::commands::create;
use crate::wms::counter::Counter;

#[derive(Default)]
struct Notes {
    told: Vec<inv::IngestWmsSnapshotRequest>,
    /// Refuses what it is told with this reason.
    refuse: Option<&'static str>,
}

#[derive(Clone, Default)]
struct Books(Arc<Mutex<Notes>>);

impl Books {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().expect("no test panics while it holds the notes")
    }

    /// What was told since the last look: warehouse, units by product, and whether that was all.
    fn told(&self) -> Vec<(String, BTreeMap<String, i32>, bool)> {
        let told = std::mem::take(&mut self.notes().told);
        let units = |all: Vec<inv::Observation>| all.into_iter().map(|one| (one.sku, one.on_hand)).collect();
        told.into_iter().map(|one| (one.warehouse, units(one.observations), one.complete)).collect()
    }

    fn refuse(&self, reason: Option<&'static str>) {
        self.notes().refuse = reason;
    }
}

type Answer<'f, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'f>>;

/// Methods that fulfillment must not call.
macro_rules! not_called {
    ($($name:ident: $request:ty => $response:ty),* $(,)?) => {$(
        fn $name<'s, 'f>(&'s self, _: Request<$request>) -> Answer<'f, $response> where 's: 'f, Self: 'f {
            Box::pin(async { Err(Status::unimplemented("fulfillment does not call this")) })
        }
    )*};
}

#[tonic::async_trait]
impl StockControlService for Books {
    async fn ingest_wms_snapshot(
        &self,
        request: Request<inv::IngestWmsSnapshotRequest>,
    ) -> Result<Response<inv::Reconciliation>, Status> {
        let mut notes = self.notes();
        if let Some(reason) = notes.refuse {
            return Err(Fault::precondition(reason, "no").into());
        }
        notes.told.push(request.into_inner());
        Ok(Response::new(inv::Reconciliation::default()))
    }

    not_called! {
        report_issue: inv::ReportIssueRequest => inv::StockIssue,
        list_issues: inv::ListIssuesRequest => inv::ListIssuesResponse,
        approve_issue: inv::ApproveIssueRequest => inv::StockIssue,
        reject_issue: inv::RejectIssueRequest => inv::StockIssue,
        restock_units: inv::RestockUnitsRequest => inv::StockLevel,
        rebuild_stock: inv::RebuildStockRequest => inv::RebuildStockResponse,
        reconcile_stock: inv::ReconcileStockRequest => inv::Reconciliation,
    }
}

/// A tenant whose warehouses are counted.
struct Counting {
    world: World,
    books: Books,
    counter: Counter,
    tenant: TenantId,
}

impl Counting {
    async fn start() -> anyhow::Result<Self> {
        let (world, books, tenant) = (World::start(1.0).await?, Books::default(), TenantId::new());
        let mesh = Mesh::new(SigningKey::from_pkcs8("mesh", &SigningKey::generate())?);
        mesh.attach("inventory", Routes::new(StockControlServiceServer::new(books.clone())), Limits::default());
        let counter = Counter::new(world.app.store.clone(), world.app.wms.clone(), mesh.peers("fulfillment"));
        // The first work makes the tenant known to whoever reads the warehouse system.
        create::run(&world.app, &ctx_of(tenant), wish(OrderId::new(), "W1")).await?;
        Ok(Self { world, books, counter, tenant })
    }

    /// So many products lie in a warehouse, one unit of each.
    async fn put(&self, warehouse: &str, products: usize) -> anyhow::Result<()> {
        let counts: BTreeMap<String, u64> = (0..products).map(|n| (format!("S{n:04}"), 1)).collect();
        let stock = json!({"tenant": self.tenant.to_string(), "warehouse": warehouse, "counts": counts});
        let http = &self.world.http;
        let answer = http.send("stock", http.request(Method::PUT, "/_sim/stock").json(&stock)).await?;
        anyhow::ensure!(answer.status.is_success(), "{}", answer.text());
        Ok(())
    }

    /// Counts now, whenever the next turn would be.
    async fn count(&self) -> anyhow::Result<()> {
        let turn = "UPDATE om_fulfillment.wms_counts SET next_at = clock_timestamp() - interval '1 second'";
        self.world.db.admin().await?.batch_execute(turn).await?;
        anyhow::ensure!(self.counter.round().await? == 1, "one tenant has its turn");
        Ok(())
    }
}

#[tokio::test]
async fn inv_11_each_warehouse_is_told_as_the_whole_of_what_lies_there() -> anyhow::Result<()> {
    let counting = Counting::start().await?;
    counting.put("W1", 2_500).await?;
    counting.put("W2", 1).await?;
    counting.count().await?;
    let told = counting.books.told();
    let sums: Vec<_> = told.iter().map(|(at, units, complete)| (at.as_str(), units.len(), *complete)).collect();
    assert_eq!(sums, [("W1", 2_500, true), ("W2", 1, true)], "of both pages, each product once");
    Ok(())
}

#[tokio::test]
async fn inv_11_a_part_of_an_answer_or_none_is_never_told_as_the_whole() -> anyhow::Result<()> {
    let counting = Counting::start().await?;
    counting.count().await?;
    assert_eq!(counting.books.told(), [], "nobody counted: that is not to say that nothing is there");
    counting.put("W1", 2_500).await?;
    for kind in ["error500", "reset"] {
        // The first page comes, the second does not.
        let [first, second] = [fault_rule("GetStock", "delay", 1, 0), fault_rule("GetStock", kind, 1, 0)];
        counting.world.faults(json!([first[0], second[0]])).await?;
        counting.count().await?;
        assert_eq!(counting.books.told().len(), 0, "{kind}");
    }
    counting.count().await?;
    assert!(matches!(&counting.books.told()[..], [(_, units, true)] if units.len() == 2_500));
    Ok(())
}

/// Counts by outcome, ok and failed.
fn outcomes(metrics: &PrometheusHandle) -> [String; 2] {
    let text = metrics.render();
    ["ok", "failed"].map(|outcome| {
        let line = format!("wms_snapshots_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|known| known.strip_prefix(&line)).unwrap_or("none").to_owned()
    })
}

#[tokio::test]
async fn inv_11_counts_that_worked_and_counts_that_failed_are_measured_apart() -> anyhow::Result<()> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (metrics, _guard) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let counting = Counting::start().await?;
    counting.put("W1", 1).await?;
    counting.world.faults(fault_rule("GetStock", "error500", 1, 0)).await?;
    counting.count().await?;
    assert_eq!(outcomes(&metrics), ["none", "1"], "the warehouse system failed");
    counting.count().await?;
    assert_eq!(outcomes(&metrics), ["1", "1"]);
    counting.books.refuse(Some("NOT_NOW"));
    counting.count().await?;
    assert_eq!(outcomes(&metrics), ["1", "2"], "inventory did not take it");
    counting.books.refuse(Some("WAREHOUSE_NOT_FOUND"));
    counting.count().await?;
    assert_eq!(outcomes(&metrics), ["2", "2"], "a place that the shop does not sell from is no failure");
    Ok(())
}
