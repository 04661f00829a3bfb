//! Requests of the services around stock.

use contract::inventory;
use prost::Message;

use super::samples::{Make, demand, money, unique};

/// The services around stock.
pub(super) const STOCK: &[(&str, Make)] = &[
    ("StockService/SetSafetyStock", |known| {
        let (sku, warehouse) = (known.sku.clone(), known.warehouse.clone());
        inventory::v1::SetSafetyStockRequest { sku, warehouse, safety: 1 }.encode_to_vec()
    }),
    ("StockService/TransferStock", |known| {
        let (sku, from_warehouse) = (known.sku.clone(), known.warehouse.clone());
        let (to_warehouse, reason) = ("W-NONE".into(), "too many here".into());
        inventory::v1::TransferStockRequest { sku, from_warehouse, to_warehouse, quantity: 1, reason }.encode_to_vec()
    }),
    ("StockService/BatchGetStock", |known| {
        inventory::v1::BatchGetStockRequest { skus: vec![known.sku.clone()] }.encode_to_vec()
    }),
    ("StockService/ListStock", |_| {
        inventory::v1::ListStockRequest { page_size: 10, page_token: String::new(), low: false }.encode_to_vec()
    }),
    ("StockService/WatchStock", |known| {
        inventory::v1::WatchStockRequest { sku: known.sku.clone(), etag: String::new() }.encode_to_vec()
    }),
    ("StockService/GetInventorySettings", |_| inventory::v1::GetInventorySettingsRequest {}.encode_to_vec()),
    ("StockService/UpdateInventorySettings", |_| {
        let settings = Some(inventory::v1::InventorySettings { low_stock_threshold: 10, reorder_up_to: 30 });
        inventory::v1::UpdateInventorySettingsRequest { settings }.encode_to_vec()
    }),
    ("CatalogService/ListStorefrontProducts", |_| {
        inventory::v1::ListStorefrontProductsRequest { page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("CatalogService/SetPrice", |known| {
        inventory::v1::SetPriceRequest { sku: known.sku.clone(), price: money(1299), etag: String::new() }
            .encode_to_vec()
    }),
    ("CatalogService/DeleteProduct", |_| {
        // None that another test sells.
        let sku = format!("GONE-{}", unique());
        inventory::v1::DeleteProductRequest { sku, etag: String::new() }.encode_to_vec()
    }),
    ("ReservationDeskService/AllocateReservation", |known| {
        let (order_id, warehouse) = (known.order.clone(), known.warehouse.clone());
        let fulfillment_id = known.fulfillment.clone();
        inventory::v1::AllocateReservationRequest { order_id, warehouse, fulfillment_id }.encode_to_vec()
    }),
    ("ReservationDeskService/ExtendReservation", |known| {
        inventory::v1::ExtendReservationRequest { order_id: known.order.clone(), hold_s: 60 }.encode_to_vec()
    }),
    ("ReservationDeskService/ResizeReservation", |known| {
        let (order_id, lines) = (known.order.clone(), vec![demand(known, 2)]);
        inventory::v1::ResizeReservationRequest { order_id, lines, split: true, revision: 1 }.encode_to_vec()
    }),
    ("ReservationDeskService/ListReservations", |known| {
        let (sku, page_token) = (known.sku.clone(), String::new());
        inventory::v1::ListReservationsRequest { page_size: 10, page_token, state: 0, sku }.encode_to_vec()
    }),
    ("SlotService/CreateSlot", |known| {
        let moment = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let slot = inventory::v1::Slot {
            sku: known.sku.clone(),
            warehouse: known.warehouse.clone(),
            start_time: moment(2_000_000_000),
            end_time: moment(2_000_003_600),
            capacity: 3,
            ..Default::default()
        };
        inventory::v1::CreateSlotRequest { slot: Some(slot) }.encode_to_vec()
    }),
    ("SlotService/ListSlots", |known| {
        let (sku, page_token) = (known.sku.clone(), String::new());
        inventory::v1::ListSlotsRequest { sku, page_size: 10, page_token, free: true }.encode_to_vec()
    }),
    ("StockControlService/ReportIssue", |known| {
        inventory::v1::ReportIssueRequest {
            sku: known.sku.clone(),
            warehouse: known.warehouse.clone(),
            kind: inventory::v1::IssueKind::Damaged.into(),
            quantity: 1,
            picked_sku: String::new(),
            note: "fell from the shelf".into(),
        }
        .encode_to_vec()
    }),
    ("StockControlService/ListIssues", |_| {
        inventory::v1::ListIssuesRequest { page_size: 10, page_token: String::new(), state: 1 }.encode_to_vec()
    }),
    ("StockControlService/ApproveIssue", |known| {
        let issue_id = known.issue.clone();
        inventory::v1::ApproveIssueRequest { issue_id, note: "seen".into() }.encode_to_vec()
    }),
    ("StockControlService/RejectIssue", |known| {
        let issue_id = known.issue.clone();
        inventory::v1::RejectIssueRequest { issue_id, note: "not so".into() }.encode_to_vec()
    }),
    ("StockControlService/RestockUnits", |known| {
        inventory::v1::RestockUnitsRequest {
            sku: known.sku.clone(),
            warehouse: known.warehouse.clone(),
            quantity: 1,
            disposition: inventory::v1::Disposition::Restock.into(),
            reference: "a return".into(),
        }
        .encode_to_vec()
    }),
    ("StockControlService/RebuildStock", |known| {
        inventory::v1::RebuildStockRequest { sku: known.sku.clone() }.encode_to_vec()
    }),
    ("StockControlService/IngestWmsSnapshot", |known| {
        let observation = inventory::v1::Observation { sku: known.sku.clone(), on_hand: 7 };
        inventory::v1::IngestWmsSnapshotRequest {
            complete: false,
            warehouse: known.warehouse.clone(),
            snapshot_id: format!("sample-{}", unique()),
            snapshot_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            observations: vec![observation],
        }
        .encode_to_vec()
    }),
    ("StockControlService/ReconcileStock", |known| {
        inventory::v1::ReconcileStockRequest { warehouse: known.warehouse.clone(), apply: false }.encode_to_vec()
    }),
];
