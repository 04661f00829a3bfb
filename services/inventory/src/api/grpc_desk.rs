//! The services around stock: context, parse, call, map.

use contract::inventory::v1 as pb;
use contract::inventory::v1::catalog_service_server::CatalogService;
use contract::inventory::v1::reservation_desk_service_server::ReservationDeskService;
use contract::inventory::v1::slot_service_server::SlotService;
use contract::inventory::v1::stock_control_service_server::StockControlService;
use contract::inventory::v1::stock_service_server::StockService;
use ctx::Ctx;
use serve::{Watched, respond};
use tonic::{Request, Response};

use super::grpc::{Answer, Grpc};
use crate::api::{wire, wire_catalog, wire_control, wire_desk};

#[tonic::async_trait]
impl StockService for Grpc {
    async fn set_safety_stock(&self, req: Request<pb::SetSafetyStockRequest>) -> Answer<pb::StockLevel> {
        let ctx = Ctx::of(&req)?;
        let (sku, warehouse, safety) = wire_desk::set_safety_stock(req.into_inner())?;
        let level = self.app.set_safety_stock(&ctx, sku.clone(), warehouse, safety).await?;
        Ok(Response::new(wire::level(&sku, level)))
    }

    async fn transfer_stock(&self, req: Request<pb::TransferStockRequest>) -> Answer<pb::Stock> {
        let ctx = Ctx::of(&req)?;
        let transfer = wire_desk::transfer_stock(req.into_inner())?;
        let once = self.app.transfer_stock(&ctx, transfer).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn batch_get_stock(&self, req: Request<pb::BatchGetStockRequest>) -> Answer<pb::BatchGetStockResponse> {
        let ctx = Ctx::of(&req)?;
        let skus = wire_desk::batch_get_stock(req.into_inner())?;
        let stocks = self.app.batch_get_stock(&ctx, skus).await?;
        Ok(Response::new(wire_desk::stock_batch(stocks)))
    }

    async fn list_stock(&self, req: Request<pb::ListStockRequest>) -> Answer<pb::ListStockResponse> {
        let ctx = Ctx::of(&req)?;
        let list = wire_desk::list_stock(req.into_inner())?;
        let (stocks, next) = self.app.list_stock(&ctx, list).await?;
        Ok(Response::new(wire_desk::stock_page(stocks, next)))
    }

    type WatchStockStream = Watched<pb::Stock>;

    async fn watch_stock(&self, req: Request<pb::WatchStockRequest>) -> Answer<Self::WatchStockStream> {
        let ctx = Ctx::of(&req)?;
        let pb::WatchStockRequest { sku, etag } = req.into_inner();
        let sku = wire::one_sku(sku)?;
        Ok(Response::new(self.app.watch_stock(&ctx, sku, etag).await?))
    }

    async fn get_inventory_settings(
        &self,
        req: Request<pb::GetInventorySettingsRequest>,
    ) -> Answer<pb::InventorySettings> {
        let ctx = Ctx::of(&req)?;
        let settings = self.app.settings(&ctx).await?;
        Ok(Response::new(wire_desk::settings(settings)))
    }

    async fn update_inventory_settings(
        &self,
        req: Request<pb::UpdateInventorySettingsRequest>,
    ) -> Answer<pb::InventorySettings> {
        let ctx = Ctx::of(&req)?;
        let settings = wire_desk::update_settings(req.into_inner())?;
        let settings = self.app.update_settings(&ctx, settings).await?;
        Ok(Response::new(wire_desk::settings(settings)))
    }
}

#[tonic::async_trait]
impl CatalogService for Grpc {
    async fn list_storefront_products(
        &self,
        req: Request<pb::ListStorefrontProductsRequest>,
    ) -> Answer<pb::ListStorefrontProductsResponse> {
        let ctx = Ctx::of(&req)?;
        let page = wire_desk::list_catalog(req.into_inner())?;
        let (products, next) = self.app.list_catalog(&ctx, page).await?;
        Ok(Response::new(wire_desk::catalog_page(products, next)))
    }

    async fn set_price(&self, req: Request<pb::SetPriceRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let (sku, price, based_on) = wire_desk::set_price(req.into_inner())?;
        let product = self.app.set_price(&ctx, sku, price, based_on).await?;
        Ok(Response::new(wire_catalog::product(product)))
    }

    async fn delete_product(&self, req: Request<pb::DeleteProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let (sku, based_on) = wire_desk::delete_product(req.into_inner())?;
        let product = self.app.delete_product(&ctx, sku, based_on).await?;
        Ok(Response::new(wire_catalog::product(product)))
    }
}

#[tonic::async_trait]
impl ReservationDeskService for Grpc {
    async fn allocate_reservation(&self, req: Request<pb::AllocateReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let allocate = wire_desk::allocate_reservation(req.into_inner())?;
        let reservation = self.app.allocate_reservation(&ctx, allocate).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn extend_reservation(&self, req: Request<pb::ExtendReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let (order, hold_s) = wire_desk::extend_reservation(&req.into_inner())?;
        let reservation = self.app.extend_reservation(&ctx, order, hold_s).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn resize_reservation(&self, req: Request<pb::ResizeReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let resize = wire_desk::resize_reservation(req.into_inner())?;
        let reservation = self.app.resize_reservation(&ctx, resize).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn list_reservations(
        &self,
        req: Request<pb::ListReservationsRequest>,
    ) -> Answer<pb::ListReservationsResponse> {
        let ctx = Ctx::of(&req)?;
        let list = wire_desk::list_reservations(req.into_inner())?;
        let (found, next) = self.app.list_reservations(&ctx, list).await?;
        Ok(Response::new(wire_desk::reservation_page(found, next)))
    }
}

#[tonic::async_trait]
impl SlotService for Grpc {
    async fn create_slot(&self, req: Request<pb::CreateSlotRequest>) -> Answer<pb::Slot> {
        let ctx = Ctx::of(&req)?;
        let slot = wire_desk::create_slot(req.into_inner())?;
        let once = self.app.create_slot(&ctx, slot).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn list_slots(&self, req: Request<pb::ListSlotsRequest>) -> Answer<pb::ListSlotsResponse> {
        let ctx = Ctx::of(&req)?;
        let list = wire_desk::list_slots(req.into_inner())?;
        let (slots, next) = self.app.list_slots(&ctx, list).await?;
        Ok(Response::new(wire_desk::slot_page(slots, next)))
    }
}

#[tonic::async_trait]
impl StockControlService for Grpc {
    async fn report_issue(&self, req: Request<pb::ReportIssueRequest>) -> Answer<pb::StockIssue> {
        let ctx = Ctx::of(&req)?;
        let report = wire_control::report_issue(req.into_inner())?;
        let once = self.app.report_issue(&ctx, report).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn list_issues(&self, req: Request<pb::ListIssuesRequest>) -> Answer<pb::ListIssuesResponse> {
        let ctx = Ctx::of(&req)?;
        let list = wire_control::list_issues(req.into_inner())?;
        let (issues, next) = self.app.list_issues(&ctx, list).await?;
        Ok(Response::new(wire_control::issue_page(issues, next)))
    }

    async fn approve_issue(&self, req: Request<pb::ApproveIssueRequest>) -> Answer<pb::StockIssue> {
        let ctx = Ctx::of(&req)?;
        let decide = wire_control::approve_issue(req.into_inner())?;
        let issue = self.app.decide_issue(&ctx, decide).await?;
        Ok(Response::new(wire_control::issue(issue)))
    }

    async fn reject_issue(&self, req: Request<pb::RejectIssueRequest>) -> Answer<pb::StockIssue> {
        let ctx = Ctx::of(&req)?;
        let decide = wire_control::reject_issue(req.into_inner())?;
        let issue = self.app.decide_issue(&ctx, decide).await?;
        Ok(Response::new(wire_control::issue(issue)))
    }

    async fn restock_units(&self, req: Request<pb::RestockUnitsRequest>) -> Answer<pb::StockLevel> {
        let ctx = Ctx::of(&req)?;
        let restock = wire_control::restock_units(req.into_inner())?;
        let once = self.app.restock_units(&ctx, restock).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn rebuild_stock(&self, req: Request<pb::RebuildStockRequest>) -> Answer<pb::RebuildStockResponse> {
        let ctx = Ctx::of(&req)?;
        let sku = wire_control::rebuild_stock(req.into_inner())?;
        let (stock, corrected) = self.app.rebuild_stock(&ctx, sku).await?;
        Ok(Response::new(wire_control::rebuilt(stock, corrected)))
    }

    async fn ingest_wms_snapshot(&self, req: Request<pb::IngestWmsSnapshotRequest>) -> Answer<pb::Reconciliation> {
        let ctx = Ctx::of(&req)?;
        let ingest = wire_control::ingest_snapshot(req.into_inner(), ctx.now)?;
        let report = self.app.ingest_snapshot(&ctx, ingest).await?;
        Ok(Response::new(wire_control::reconciliation(report)))
    }

    async fn reconcile_stock(&self, req: Request<pb::ReconcileStockRequest>) -> Answer<pb::Reconciliation> {
        let ctx = Ctx::of(&req)?;
        let (warehouse, apply) = wire_control::reconcile_stock(req.into_inner())?;
        let report = self.app.reconcile_stock(&ctx, warehouse, apply).await?;
        Ok(Response::new(wire_control::reconciliation(report)))
    }
}
