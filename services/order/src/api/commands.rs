//! The commands on orders: context, parse, call, answer.

use contract::order::v1 as pb;
use contract::order::v1::order_service_server::OrderService;
use ctx::Ctx;
use serve::respond;
use tonic::{Request, Response, Status};

use super::{wire, wire_commands};
use crate::app::App;
use crate::domain::basket::Stage;

/// Commands.
#[derive(Debug)]
pub struct Commands(pub App);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl OrderService for Commands {
    async fn create_order(&self, request: Request<pb::CreateOrderRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let command = wire::create(request.into_inner());
        let once = self.0.create(&ctx, command).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn quote_order(&self, request: Request<pb::QuoteOrderRequest>) -> Answer<pb::OrderQuote> {
        let ctx = Ctx::of(&request)?;
        let basket = wire::basket(request.into_inner());
        let quote = self.0.quote(&ctx, &basket, Stage::Placement, fault::Violations::default()).await?;
        Ok(Response::new(wire::quote(quote)))
    }

    async fn update_order(&self, request: Request<pb::UpdateOrderRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let command = wire::update(request.into_inner())?;
        let order = self.0.update(&ctx, command).await?;
        Ok(Response::new(self.0.shown(&ctx, order).await?))
    }

    async fn cancel_order(&self, request: Request<pb::CancelOrderRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let command = wire::cancel(request.into_inner())?;
        let order = self.0.cancel(&ctx, command).await?;
        Ok(Response::new(self.0.shown(&ctx, order).await?))
    }

    async fn verify_order(&self, request: Request<pb::VerifyOrderRequest>) -> Answer<pb::VerifyOrderResponse> {
        let ctx = Ctx::of(&request)?;
        let id = wire::order_id(&request.get_ref().order_id)?;
        Ok(Response::new(self.0.verify(&ctx, id).await?))
    }

    async fn batch_create_orders(
        &self,
        request: Request<pb::BatchCreateOrdersRequest>,
    ) -> Answer<pb::BatchCreateOrdersResponse> {
        let ctx = Ctx::of(&request)?;
        let commands = wire_commands::batch(request.into_inner());
        Ok(Response::new(self.0.create_batch(&ctx, commands).await?))
    }

    async fn place_order(&self, request: Request<pb::PlaceOrderRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let command = wire_commands::place(request.into_inner())?;
        let once = self.0.place(&ctx, &command).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn retry_payment(&self, request: Request<pb::RetryPaymentRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let command = wire_commands::retry_payment(request.into_inner())?;
        let once = self.0.retry_payment(&ctx, &command).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn add_order_item(&self, request: Request<pb::AddOrderItemRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let (subject, change) = wire_commands::add_item(request.into_inner())?;
        let once = self.0.change_items(&ctx, &subject, &change).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn update_order_item(&self, request: Request<pb::UpdateOrderItemRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let (subject, change) = wire_commands::set_item(request.into_inner())?;
        let once = self.0.change_items(&ctx, &subject, &change).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn remove_order_item(&self, request: Request<pb::RemoveOrderItemRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let (subject, change) = wire_commands::remove_item(request.into_inner())?;
        let once = self.0.change_items(&ctx, &subject, &change).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn add_order_note(&self, request: Request<pb::AddOrderNoteRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let subject = wire_commands::subject(&request.order_id, String::new())?;
        let once = self.0.add_note(&ctx, &subject, request.text).await?;
        Ok(respond(self.0.shown_once(&ctx, once).await?))
    }

    async fn hold_order(&self, request: Request<pb::HoldOrderRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let subject = wire_commands::subject(&request.order_id, request.etag)?;
        let order = self.0.hold(&ctx, &subject, request.reason).await?;
        Ok(Response::new(self.0.shown(&ctx, order).await?))
    }

    async fn release_order_hold(&self, request: Request<pb::ReleaseOrderHoldRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let subject = wire_commands::subject(&request.order_id, request.etag)?;
        let order = self.0.release(&ctx, &subject).await?;
        Ok(Response::new(self.0.shown(&ctx, order).await?))
    }

    async fn complete_service(&self, request: Request<pb::CompleteServiceRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let subject = wire_commands::subject(&request.order_id, request.etag)?;
        let order = self.0.complete_service(&ctx, &subject).await?;
        Ok(Response::new(self.0.shown(&ctx, order).await?))
    }

    async fn rate_order(&self, request: Request<pb::RateOrderRequest>) -> Answer<pb::Order> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let subject = wire_commands::subject(&request.order_id, request.etag)?;
        let order = self.0.rate(&ctx, &subject, request.stars, request.comment).await?;
        Ok(Response::new(self.0.shown(&ctx, order).await?))
    }
}
