use contract::order::v1 as pb;
use contract::order::v1::order_query_service_server::OrderQueryService;
use contract::order::v1::order_service_server::OrderService;
use contract::order::v1::saga_service_server::SagaService;
use ctx::Ctx;
use serve::respond;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::wire;
use crate::app::App;

/// Commands.
#[derive(Debug)]
pub struct Commands(pub App);

/// Questions.
#[derive(Debug)]
pub struct Queries(pub App);

/// Sagas.
#[derive(Debug)]
pub struct Sagas(pub App);

#[tonic::async_trait]
impl OrderService for Commands {
    async fn create_order(&self, request: Request<pb::CreateOrderRequest>) -> Result<Response<pb::Order>, Status> {
        let ctx = Ctx::of(&request)?;
        let command = wire::create(request.into_inner());
        Ok(respond(self.0.create(&ctx, command).await?))
    }

    async fn quote_order(&self, request: Request<pb::QuoteOrderRequest>) -> Result<Response<pb::OrderQuote>, Status> {
        let ctx = Ctx::of(&request)?;
        let basket = wire::basket(request.into_inner());
        let quote = self.0.quote(&ctx, &basket, fault::Violations::default()).await?;
        Ok(Response::new(wire::quote(quote)))
    }

    async fn update_order(&self, request: Request<pb::UpdateOrderRequest>) -> Result<Response<pb::Order>, Status> {
        let ctx = Ctx::of(&request)?;
        let command = wire::update(request.into_inner())?;
        Ok(Response::new(self.0.update(&ctx, command).await?))
    }

    async fn cancel_order(&self, request: Request<pb::CancelOrderRequest>) -> Result<Response<pb::Order>, Status> {
        let ctx = Ctx::of(&request)?;
        let command = wire::cancel(request.into_inner())?;
        Ok(Response::new(self.0.cancel(&ctx, command).await?))
    }

    async fn verify_order(
        &self,
        request: Request<pb::VerifyOrderRequest>,
    ) -> Result<Response<pb::VerifyOrderResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.0.verify(&ctx, id).await?))
    }
}

#[tonic::async_trait]
impl OrderQueryService for Queries {
    async fn get_order(&self, request: Request<pb::GetOrderRequest>) -> Result<Response<pb::Order>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.0.get(&ctx, id).await?.doc))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = wire::list(request.into_inner())?;
        Ok(Response::new(self.0.list(&ctx, query).await?))
    }

    async fn list_order_events(
        &self,
        request: Request<pb::ListOrderEventsRequest>,
    ) -> Result<Response<pb::ListOrderEventsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.0.history(&ctx, id).await?))
    }

    type WatchOrderStream = ReceiverStream<Result<pb::Order, Status>>;

    async fn watch_order(
        &self,
        request: Request<pb::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.0.watch(&ctx, id, request.into_inner().etag).await?))
    }
}

#[tonic::async_trait]
impl SagaService for Sagas {
    async fn get_saga(&self, request: Request<pb::GetSagaRequest>) -> Result<Response<pb::Saga>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.0.saga(&ctx, id).await?))
    }
}
