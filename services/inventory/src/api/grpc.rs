//! The four services: context, parse, call, map.

use contract::inventory::v1 as pb;
use contract::inventory::v1::inventory_service_server::{InventoryService, InventoryServiceServer};
use contract::inventory::v1::product_service_server::{ProductService, ProductServiceServer};
use contract::inventory::v1::reservation_service_server::{ReservationService, ReservationServiceServer};
use contract::inventory::v1::warehouse_service_server::{WarehouseService, WarehouseServiceServer};
use ctx::Ctx;
use serve::respond;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::api::wire;
use crate::commands::Inventory;

type Answer<T> = Result<Response<T>, Status>;

/// Routes of the four services, without any layer.
pub fn routes(app: Inventory) -> Routes {
    let grpc = Grpc { app };
    Routes::new(ProductServiceServer::new(grpc.clone()))
        .add_service(WarehouseServiceServer::new(grpc.clone()))
        .add_service(InventoryServiceServer::new(grpc.clone()))
        .add_service(ReservationServiceServer::new(grpc))
}

#[derive(Clone)]
struct Grpc {
    app: Inventory,
}

#[tonic::async_trait]
impl ProductService for Grpc {
    async fn create_product(&self, req: Request<pb::CreateProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let product = wire::create_product(req.into_inner())?;
        let once = self.app.create_product(&ctx, product).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn update_product(&self, req: Request<pb::UpdateProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let update = wire::update_product(req.into_inner())?;
        let product = self.app.update_product(&ctx, update).await?;
        Ok(Response::new(wire::product(product)))
    }

    async fn get_product(&self, req: Request<pb::GetProductRequest>) -> Answer<pb::Product> {
        let ctx = Ctx::of(&req)?;
        let sku = wire::get_product(req.into_inner())?;
        let product = self.app.get_product(&ctx, sku).await?;
        Ok(Response::new(wire::product(product)))
    }

    async fn list_products(&self, req: Request<pb::ListProductsRequest>) -> Answer<pb::ListProductsResponse> {
        let ctx = Ctx::of(&req)?;
        let page = wire::list_products(req.into_inner())?;
        let (products, next) = self.app.list_products(&ctx, page).await?;
        Ok(Response::new(wire::product_page(products, next)))
    }

    async fn batch_get_products(
        &self,
        req: Request<pb::BatchGetProductsRequest>,
    ) -> Answer<pb::BatchGetProductsResponse> {
        let ctx = Ctx::of(&req)?;
        let skus = wire::batch_get_products(req.into_inner())?;
        let products = self.app.batch_get_products(&ctx, skus).await?;
        Ok(Response::new(wire::product_batch(products)))
    }
}

#[tonic::async_trait]
impl WarehouseService for Grpc {
    async fn create_warehouse(&self, req: Request<pb::CreateWarehouseRequest>) -> Answer<pb::Warehouse> {
        let ctx = Ctx::of(&req)?;
        let warehouse = wire::create_warehouse(req.into_inner())?;
        let once = self.app.create_warehouse(&ctx, warehouse).await?;
        Ok(respond((once.response, once.replayed)))
    }

    async fn get_warehouse(&self, req: Request<pb::GetWarehouseRequest>) -> Answer<pb::Warehouse> {
        let ctx = Ctx::of(&req)?;
        let code = wire::get_warehouse(req.into_inner())?;
        let warehouse = self.app.get_warehouse(&ctx, code).await?;
        Ok(Response::new(wire::warehouse(warehouse)))
    }

    async fn list_warehouses(&self, req: Request<pb::ListWarehousesRequest>) -> Answer<pb::ListWarehousesResponse> {
        let ctx = Ctx::of(&req)?;
        let warehouses = self.app.list_warehouses(&ctx).await?;
        Ok(Response::new(wire::warehouse_list(warehouses)))
    }
}

#[tonic::async_trait]
impl InventoryService for Grpc {
    async fn get_stock(&self, req: Request<pb::GetStockRequest>) -> Answer<pb::Stock> {
        let ctx = Ctx::of(&req)?;
        let sku = wire::get_stock(req.into_inner())?;
        let levels = self.app.get_stock(&ctx, &sku).await?;
        Ok(Response::new(wire::stock(sku, levels)))
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
        let order = wire::order_id(&req.into_inner().order_id)?;
        let reservation = self.app.release_reservation(&ctx, order).await?;
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
