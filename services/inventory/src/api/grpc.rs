//! Catalog, warehouses, stock and reservations: context, parse, call, map.

use contract::inventory::v1 as pb;
use contract::inventory::v1::catalog_service_server::CatalogServiceServer;
use contract::inventory::v1::inventory_service_server::{InventoryService, InventoryServiceServer};
use contract::inventory::v1::product_service_server::{ProductService, ProductServiceServer};
use contract::inventory::v1::reservation_desk_service_server::ReservationDeskServiceServer;
use contract::inventory::v1::reservation_service_server::{ReservationService, ReservationServiceServer};
use contract::inventory::v1::slot_service_server::SlotServiceServer;
use contract::inventory::v1::stock_control_service_server::StockControlServiceServer;
use contract::inventory::v1::stock_service_server::StockServiceServer;
use contract::inventory::v1::warehouse_service_server::{WarehouseService, WarehouseServiceServer};
use ctx::Ctx;
use serve::respond;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::api::{wire, wire_catalog, wire_desk};
use crate::commands::Inventory;

pub(super) type Answer<T> = Result<Response<T>, Status>;

/// Routes of all services of the context, without any layer.
pub fn routes(app: Inventory) -> Routes {
    let grpc = Grpc { app };
    Routes::new(ProductServiceServer::new(grpc.clone()))
        .add_service(WarehouseServiceServer::new(grpc.clone()))
        .add_service(InventoryServiceServer::new(grpc.clone()))
        .add_service(ReservationServiceServer::new(grpc.clone()))
        .add_service(StockServiceServer::new(grpc.clone()))
        .add_service(CatalogServiceServer::new(grpc.clone()))
        .add_service(ReservationDeskServiceServer::new(grpc.clone()))
        .add_service(SlotServiceServer::new(grpc.clone()))
        .add_service(StockControlServiceServer::new(grpc))
}

#[derive(Clone)]
pub(super) struct Grpc {
    pub(super) app: Inventory,
}

#[tonic::async_trait]
impl ProductService for Grpc {
    async fn create_product(&self, req: Request<pb::CreateProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let product = wire_catalog::create_product(req.into_inner())?;
        let once = self.app.create_product(&ctx, product).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn update_product(&self, req: Request<pb::UpdateProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let update = wire_catalog::update_product(req.into_inner())?;
        let product = self.app.update_product(&ctx, update).await?;
        Ok(Response::new(wire_catalog::product(product)))
    }

    async fn get_product(&self, req: Request<pb::GetProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let sku = wire_catalog::get_product(req.into_inner())?;
        let product = self.app.get_product(&ctx, sku).await?;
        Ok(Response::new(wire_desk::shown(product)))
    }

    async fn list_products(&self, req: Request<pb::ListProductsRequest>) -> Answer<pb::ListProductsResponse> {
        let ctx = Ctx::of(&req)?;
        let page = wire_catalog::list_products(req.into_inner())?;
        let (products, next) = self.app.list_products(&ctx, page).await?;
        Ok(Response::new(wire_catalog::product_page(products, next)))
    }

    async fn batch_get_products(
        &self,
        req: Request<pb::BatchGetProductsRequest>,
    ) -> Answer<pb::BatchGetProductsResponse> {
        let ctx = Ctx::of(&req)?;
        let skus = wire_catalog::batch_get_products(req.into_inner())?;
        let products = self.app.batch_get_products(&ctx, skus).await?;
        Ok(Response::new(wire_catalog::product_batch(products)))
    }
}

#[tonic::async_trait]
impl WarehouseService for Grpc {
    async fn create_warehouse(&self, req: Request<pb::CreateWarehouseRequest>) -> Answer<pb::Warehouse> {
        let ctx = Ctx::of(&req)?;
        let warehouse = wire_catalog::create_warehouse(req.into_inner())?;
        let once = self.app.create_warehouse(&ctx, warehouse).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn get_warehouse(&self, req: Request<pb::GetWarehouseRequest>) -> Answer<pb::Warehouse> {
        let ctx = Ctx::of(&req)?;
        let code = wire_catalog::get_warehouse(req.into_inner())?;
        let warehouse = self.app.get_warehouse(&ctx, code).await?;
        Ok(Response::new(wire_catalog::warehouse(warehouse)))
    }

    async fn list_warehouses(&self, req: Request<pb::ListWarehousesRequest>) -> Answer<pb::ListWarehousesResponse> {
        let ctx = Ctx::of(&req)?;
        let warehouses = self.app.list_warehouses(&ctx).await?;
        Ok(Response::new(wire_catalog::warehouse_list(warehouses)))
    }
}

#[tonic::async_trait]
impl InventoryService for Grpc {
    async fn get_stock(&self, req: Request<pb::GetStockRequest>) -> Answer<pb::Stock> {
        let ctx = Ctx::of(&req)?;
        let sku = wire::get_stock(req.into_inner())?;
        let stock = self.app.get_stock(&ctx, &sku).await?;
        Ok(Response::new(wire::stock(stock)))
    }

    async fn adjust_stock(&self, req: Request<pb::AdjustStockRequest>) -> Answer<pb::StockLevel> {
        let ctx = Ctx::of(&req)?;
        let adjust = wire::adjust_stock(req.into_inner())?;
        let once = self.app.adjust_stock(&ctx, adjust).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn list_movements(&self, req: Request<pb::ListMovementsRequest>) -> Answer<pb::ListMovementsResponse> {
        let ctx = Ctx::of(&req)?;
        let list = wire::list_movements(req.into_inner())?;
        let (lines, next) = self.app.list_movements(&ctx, list).await?;
        Ok(Response::new(wire::movement_page(lines, next)))
    }
}

#[tonic::async_trait]
impl ReservationService for Grpc {
    async fn reserve_stock(&self, req: Request<pb::ReserveStockRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let wish = wire::reserve_stock(req.into_inner())?;
        let reservation = self.app.reserve_stock(&ctx, wish).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn confirm_reservation(&self, req: Request<pb::ConfirmReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let order = wire::order_id(&req.into_inner().order_id)?;
        let reservation = self.app.confirm_reservation(&ctx, order).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn release_reservation(&self, req: Request<pb::ReleaseReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let request = req.into_inner();
        let order = wire::order_id(&request.order_id)?;
        let reservation = self.app.release_reservation(&ctx, order, request.round.max(1)).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn consume_reservation(&self, req: Request<pb::ConsumeReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let consume = wire::consume_reservation(req.into_inner())?;
        let reservation = self.app.consume_reservation(&ctx, consume).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }

    async fn get_reservation(&self, req: Request<pb::GetReservationRequest>) -> Answer<pb::Reservation> {
        let ctx = Ctx::of(&req)?;
        let order = wire::order_id(&req.into_inner().order_id)?;
        let reservation = self.app.get_reservation(&ctx, order).await?;
        Ok(Response::new(wire::reservation(reservation)))
    }
}
