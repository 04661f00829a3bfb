use contract::order::v1 as pb;
use contract::order::v1::order_query_service_server::OrderQueryService;
use ctx::Ctx;
use serve::Watched;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::{criteria, wire};
use crate::app::App;
use crate::app::find_orders::Reads;
use crate::app::view_order;
use crate::infra::cache::Source;

/// Questions.
#[derive(Debug)]
pub struct Queries {
    /// One order and what happened to it.
    pub app: App,
    /// Many orders.
    pub reads: Reads,
}

/// An answer that says whether it is a copy (ORD-41); nothing about questions that nobody keeps copies of.
fn answer<T>(message: T, source: Option<Source>) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(source) = source {
        response.metadata_mut().insert(serve::header::CACHE, MetadataValue::from_static(source.text()));
    }
    response
}

#[tonic::async_trait]
impl OrderQueryService for Queries {
    async fn get_order(&self, request: Request<pb::GetOrderRequest>) -> Result<Response<pb::Order>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        let (order, source) = self.reads.get(&ctx, id).await?;
        Ok(answer(self.app.shown(&ctx, order).await?, Some(source)))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = criteria::list(request.into_inner())?;
        let ((orders, next_page_token), source) = self.reads.find(&ctx, query).await?;
        let orders = self.app.all_shown(&ctx, orders).await?;
        Ok(answer(pb::ListOrdersResponse { orders, next_page_token }, source))
    }

    async fn list_user_orders(
        &self,
        request: Request<pb::ListUserOrdersRequest>,
    ) -> Result<Response<pb::ListUserOrdersResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let (user, size, token) = criteria::user(request.into_inner())?;
        let ((orders, next_page_token), source) = self.reads.of_user(&ctx, user, size, token).await?;
        let orders = self.app.all_shown(&ctx, orders).await?;
        Ok(answer(pb::ListUserOrdersResponse { orders, next_page_token }, source))
    }

    async fn search_orders(
        &self,
        request: Request<pb::SearchOrdersRequest>,
    ) -> Result<Response<pb::SearchOrdersResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = criteria::search(request.into_inner())?;
        let ((orders, next_page_token), source) = self.reads.find(&ctx, query).await?;
        let orders = self.app.all_shown(&ctx, orders).await?;
        Ok(answer(pb::SearchOrdersResponse { orders, next_page_token }, source))
    }

    async fn count_orders(
        &self,
        request: Request<pb::CountOrdersRequest>,
    ) -> Result<Response<pb::CountOrdersResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let filter = criteria::count(request.into_inner())?;
        let (count, source) = self.reads.count(&ctx, filter).await?;
        Ok(answer(count, source))
    }

    async fn get_order_view(
        &self,
        request: Request<pb::GetOrderViewRequest>,
    ) -> Result<Response<pb::OrderView>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        let order = self.app.get(&ctx, id).await?;
        let order = self.app.shown(&ctx, order.doc).await?;
        Ok(Response::new(view_order::compose(&ctx, &self.reads.peers, order).await))
    }

    async fn list_order_events(
        &self,
        request: Request<pb::ListOrderEventsRequest>,
    ) -> Result<Response<pb::ListOrderEventsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.app.history(&ctx, id).await?))
    }

    type WatchOrderStream = Watched<pb::Order>;

    async fn watch_order(
        &self,
        request: Request<pb::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.app.watch(&ctx, id, request.into_inner().etag).await?))
    }
}
