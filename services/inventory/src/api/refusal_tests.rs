//! Figures that make no sense, through the services as a caller reaches them: the field is named, nothing changes.

use anyhow::Result;
use contract::inventory::v1 as pb;
use contract::inventory::v1::inventory_service_server::InventoryService;
use contract::inventory::v1::reservation_desk_service_server::ReservationDeskService;
use contract::inventory::v1::reservation_service_server::ReservationService;
use contract::inventory::v1::slot_service_server::SlotService;
use contract::inventory::v1::stock_control_service_server::StockControlService;
use contract::inventory::v1::stock_service_server::StockService;
use ctx::{Cause, Ctx, Open};
use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, ShipmentId, TenantId};
use jiff::Timestamp;
use serve::page::Pages;
use testkit::Db;
use tonic::{Request, Status};

use super::grpc::Grpc;
use crate::commands::Inventory;
use crate::product::{Address, NewProduct, ProductKind, Warehouse};
use crate::seed;

struct World {
    _db: Db,
    grpc: Grpc,
    ctx: Ctx,
    order: String,
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn lines(quantity: i32) -> Vec<pb::DemandLine> {
    vec![pb::DemandLine { sku: text("A"), quantity, slot_id: String::new() }]
}

impl World {
    async fn open() -> Result<Self> {
        let db = Db::fresh("inventory", crate::MIGRATIONS).await?;
        let app = Inventory::new(db.pg("inventory"), Pages::new(&"k".repeat(32).into()));
        let ctx = Ctx::service("test", TenantId::new(), Cause::default(), Timestamp::now());
        for (sku, kind) in [("A", ProductKind::Goods), ("CUT", ProductKind::Resource)] {
            let product = NewProduct {
                restrictions: Default::default(),
                sku: text(sku),
                display_name: text(sku),
                prices: vec![money::Money::new("USD".parse()?, 1)],
                tax_class: text("standard"),
                weight_grams: 1,
                kind: Some(kind),
            };
            seed::product(&app, &ctx, product).await?;
        }
        for (code, priority) in [("W1", 0), ("W2", 1)] {
            let address = Address {
                recipient: text("Dock"),
                line1: text("1 Main St"),
                line2: text(""),
                city: text("Reno"),
                region: text("NV"),
                postal_code: text("89501"),
                country_code: text("US"),
            };
            seed::warehouse(&app, &ctx, Warehouse { code: text(code), display_name: text(code), address, priority })
                .await?;
            seed::stock(&app, &ctx, "A", code, 10).await?;
        }
        let world = Self { _db: db, grpc: Grpc { app }, ctx, order: OrderId::new().to_string() };
        world.reserve(world.order.clone(), 3).await?;
        Ok(world)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let Ctx { tenant, principal, cause, deadline, now, idempotency } = self.ctx.clone();
        let mut request = Request::new(message);
        request.extensions_mut().insert(Open { tenant: Some(tenant), principal, cause, deadline, now, idempotency });
        request
    }

    async fn reserve(&self, order_id: String, quantity: i32) -> Result<(), Status> {
        let lines = lines(quantity);
        let wish = pb::ReserveStockRequest { order_id, lines, hold_s: 900, split: true, round: 1 };
        self.grpc.reserve_stock(self.request(wish)).await.map(drop)
    }

    /// Everything a figure could be in, as one text.
    async fn books(&self) -> Result<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            books: String,
        }
        let tenant = self.ctx.tenant;
        let books = self.grpc.app.pg.read("test.books", tenant, move |conn| {
            async move {
                let all = [
                    ("stock", "sku, warehouse, on_hand, reserved, safety"),
                    ("stock_ledger", "seq, sku, warehouse, d_on_hand, d_reserved, reason"),
                    ("reservations", "order_id, state, version, expires_at"),
                    ("allocations", "order_id, sku, warehouse, quantity, consumed"),
                    ("stock_issues", "issue_id, quantity, state"),
                    ("slots", "sku, slot_id"),
                    ("wms_snapshots", "snapshot_id"),
                    ("observations", "snapshot_id, sku, on_hand"),
                ];
                let mut books = Vec::new();
                for (table, columns) in all {
                    let query = format!(
                        "SELECT coalesce(string_agg(r::text, ';' ORDER BY r::text), '') AS books
                         FROM (SELECT {columns} FROM {table} WHERE tenant_id = $1) r"
                    );
                    let row: Row = sql_query(query).bind::<SqlUuid, _>(tenant.uuid()).get_result(conn).await?;
                    books.push(format!("{table}: {}", row.books));
                }
                Ok(books.join("\n"))
            }
            .boxed()
        });
        Ok(books.await?)
    }

    async fn ask(&self, what: &str, n: i32) -> Result<(), Status> {
        let (grpc, sku, warehouse) = (&self.grpc, text("A"), text("W1"));
        match what {
            "adjust" => {
                let adjust = pb::AdjustStockRequest { sku, warehouse, on_hand_delta: n, reason: text("r") };
                grpc.adjust_stock(self.request(adjust)).await.map(drop)
            }
            "transfer" => {
                let (from_warehouse, to_warehouse, reason) = (warehouse, text("W2"), text("r"));
                let transfer = pb::TransferStockRequest { sku, from_warehouse, to_warehouse, quantity: n, reason };
                grpc.transfer_stock(self.request(transfer)).await.map(drop)
            }
            "restock" => {
                let (disposition, reference) = (1, text("ret"));
                let restock = pb::RestockUnitsRequest { sku, warehouse, quantity: n, disposition, reference };
                grpc.restock_units(self.request(restock)).await.map(drop)
            }
            "report" => {
                let (kind, picked_sku, note) = (1, String::new(), text("n"));
                let report = pb::ReportIssueRequest { sku, warehouse, kind, quantity: n, picked_sku, note };
                grpc.report_issue(self.request(report)).await.map(drop)
            }
            "safety" => {
                let safety = pb::SetSafetyStockRequest { sku, warehouse, safety: n };
                grpc.set_safety_stock(self.request(safety)).await.map(drop)
            }
            "slot" => {
                let moment = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
                let (start_time, end_time) = (moment(4_000_000_000), moment(4_000_003_600));
                let slot =
                    pb::Slot { sku: text("CUT"), warehouse, start_time, end_time, capacity: n, ..Default::default() };
                grpc.create_slot(self.request(pb::CreateSlotRequest { slot: Some(slot) })).await.map(drop)
            }
            "reserve" => self.reserve(OrderId::new().to_string(), n).await,
            "resize" => {
                let (order_id, lines) = (self.order.clone(), lines(n));
                let resize = pb::ResizeReservationRequest { order_id, lines, split: true, revision: 1 };
                grpc.resize_reservation(self.request(resize)).await.map(drop)
            }
            "consume" => {
                let (order_id, shipment_id, lines) = (self.order.clone(), ShipmentId::new().to_string(), lines(n));
                let consume = pb::ConsumeReservationRequest { order_id, shipment_id, warehouse, lines };
                grpc.consume_reservation(self.request(consume)).await.map(drop)
            }
            "extend" => {
                let extend = pb::ExtendReservationRequest { order_id: self.order.clone(), hold_s: n };
                grpc.extend_reservation(self.request(extend)).await.map(drop)
            }
            _ => {
                let count = pb::IngestWmsSnapshotRequest {
                    complete: false,
                    warehouse,
                    snapshot_id: text("s"),
                    snapshot_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
                    observations: vec![pb::Observation { sku, on_hand: n }],
                };
                grpc.ingest_wms_snapshot(self.request(count)).await.map(drop)
            }
        }
    }
}

#[tokio::test]
async fn inv_09_figures_that_make_no_sense_are_refused_by_name_and_change_nothing() -> Result<()> {
    let world = World::open().await?;
    let before = world.books().await?;
    let table: [(&str, &str, &[i32]); 11] = [
        ("adjust", "on_hand_delta", &[0, i32::MAX, i32::MIN]),
        ("transfer", "quantity", &[-1, 0, i32::MAX, i32::MIN]),
        ("restock", "quantity", &[-1, 0, i32::MAX, i32::MIN]),
        ("report", "quantity", &[-1, 0, i32::MAX, i32::MIN]),
        ("safety", "safety", &[-1, i32::MAX, i32::MIN]),
        ("slot", "slot.capacity", &[-1, 0, i32::MAX, i32::MIN]),
        ("reserve", "lines[0].quantity", &[-1, 0, i32::MAX, i32::MIN]),
        ("resize", "lines[0].quantity", &[-1, 0, i32::MAX, i32::MIN]),
        ("consume", "lines[0].quantity", &[-1, 0, i32::MAX, i32::MIN]),
        ("extend", "hold_s", &[-1, 0, i32::MAX, i32::MIN]),
        ("observe", "observations[0].on_hand", &[-1, i32::MAX, i32::MIN]),
    ];
    for (what, field, figures) in table {
        for n in figures {
            let fault =
                Fault::from(world.ask(what, *n).await.err().ok_or_else(|| anyhow::anyhow!("{what} {n} passed"))?);
            let fields: Vec<&str> = fault.violations().iter().map(|wrong| wrong.field.as_str()).collect();
            assert!(fields.contains(&field) && fields.iter().all(|one| *one == field), "{what} {n}: {fields:?}");
            assert_eq!(world.books().await?, before, "{what} {n}");
        }
    }
    // The same wishes with a figure that makes sense pass: nothing but the figure was refused.
    for (what, n) in [("adjust", -1), ("transfer", 1), ("restock", 1), ("report", 1), ("safety", 0), ("slot", 1)] {
        world.ask(what, n).await?;
    }
    for (what, n) in [("reserve", 1), ("resize", 1), ("extend", 1), ("observe", 0)] {
        world.ask(what, n).await?;
    }
    Ok(())
}
