use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_query_service_server::FulfillmentQueryService;
use contract::fulfillment::v1::fulfillment_service_server::FulfillmentService;
use ctx::Ctx;
use fault::Fault;
use tonic::{Request, Response, Status};

use super::wire;
use crate::model::Fulfillment;
use crate::mount::App;
use crate::{commands, queries};

/// `ordermesh.fulfillment.v1.FulfillmentService`.
pub(crate) struct Commands(pub App);

/// `ordermesh.fulfillment.v1.FulfillmentQueryService`.
pub(crate) struct Queries(pub App);

#[tonic::async_trait]
impl FulfillmentService for Commands {
    async fn create_fulfillment(
        &self,
        request: Request<pb::CreateFulfillmentRequest>,
    ) -> Result<Response<pb::Fulfillment>, Status> {
        let ctx = Ctx::of(&request)?;
        let command = wire::create(request.into_inner(), &ctx)?;
        let work = commands::create::run(&self.0, &ctx, command).await?;
        Ok(Response::new(shown(&self.0, &ctx, &work).await?))
    }

    async fn cancel_fulfillment(
        &self,
        request: Request<pb::CancelFulfillmentRequest>,
    ) -> Result<Response<pb::CancelFulfillmentResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let command = wire::cancel(&request.into_inner())?;
        let work = commands::cancel::run(&self.0, &ctx, command).await?;
        Ok(Response::new(pb::CancelFulfillmentResponse { fulfillments: all(&self.0, &ctx, &work).await? }))
    }

    async fn ship_fulfillment(
        &self,
        request: Request<pb::ShipFulfillmentRequest>,
    ) -> Result<Response<pb::Fulfillment>, Status> {
        let ctx = Ctx::of(&request)?;
        let command = wire::ship(request.into_inner())?;
        let work = commands::ship::run(&self.0, &ctx, command).await?;
        Ok(Response::new(shown(&self.0, &ctx, &work).await?))
    }
}

#[tonic::async_trait]
impl FulfillmentQueryService for Queries {
    async fn get_fulfillment(
        &self,
        request: Request<pb::GetFulfillmentRequest>,
    ) -> Result<Response<pb::Fulfillment>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::fulfillment_id(&request.into_inner().fulfillment_id)?;
        let work = queries::get::run(&self.0, &ctx, id).await?;
        Ok(Response::new(shown(&self.0, &ctx, &work).await?))
    }

    async fn list_fulfillments(
        &self,
        request: Request<pb::ListFulfillmentsRequest>,
    ) -> Result<Response<pb::ListFulfillmentsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = wire::list(request.into_inner())?;
        let page = queries::list::run(&self.0, &ctx, query).await?;
        let fulfillments = all(&self.0, &ctx, &page.work).await?;
        Ok(Response::new(pb::ListFulfillmentsResponse { fulfillments, next_page_token: page.next }))
    }
}

async fn shown(app: &App, ctx: &Ctx, work: &Fulfillment) -> Result<pb::Fulfillment, Fault> {
    let ship_to = app.store.address(ctx.tenant, work).await?;
    Ok(wire::fulfillment(work, Some(ship_to)))
}

async fn all(app: &App, ctx: &Ctx, work: &[Fulfillment]) -> Result<Vec<pb::Fulfillment>, Fault> {
    let mut all = Vec::with_capacity(work.len());
    for work in work {
        all.push(shown(app, ctx, work).await?);
    }
    Ok(all)
}
