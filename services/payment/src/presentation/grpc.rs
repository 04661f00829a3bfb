use contract::payment::v1::payment_service_server::PaymentService;
use contract::payment::v1::payment_webhook_service_server::PaymentWebhookService;
use contract::payment::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, CompletePaymentActionRequest, GetPaymentRequest, GetRefundRequest,
    IncrementAuthorizationRequest, IngestProviderWebhookRequest, IngestProviderWebhookResponse, InquirePaymentRequest,
    ListPaymentEventsRequest, ListPaymentEventsResponse, ListPaymentsRequest, ListPaymentsResponse, ListRefundsRequest,
    ListRefundsResponse, MarkPaidRequest, Payment, ReauthorizePaymentRequest, Refund, RefundPaymentRequest,
    VoidPaymentRequest,
};
use ctx::{Ctx, Open};
use tonic::{Request, Response, Status};

use super::wire;
use crate::logic::App;

/// The methods of the contract.
#[derive(Clone)]
pub struct Grpc {
    pub(super) app: App,
}

impl Grpc {
    /// The methods over the use cases.
    pub fn new(app: App) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl PaymentService for Grpc {
    async fn authorize_payment(&self, req: Request<AuthorizePaymentRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::authorize(req.into_inner())?;
        let payment = self.app.authorize(&ctx, cmd).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn inquire_payment(&self, req: Request<InquirePaymentRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let request = req.into_inner();
        let (order, round) = wire::order_in_round(&request.order_id, request.round)?;
        let payment = self.app.inquire(&ctx, order, round).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn capture_payment(&self, req: Request<CapturePaymentRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::capture(req.into_inner())?;
        let payment = self.app.capture(&ctx, cmd).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn void_payment(&self, req: Request<VoidPaymentRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let request = req.into_inner();
        let (order, round) = wire::order_in_round(&request.order_id, request.round)?;
        let payment = self.app.void(&ctx, order, round).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn refund_payment(&self, req: Request<RefundPaymentRequest>) -> Result<Response<Refund>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::refund_request(req.into_inner())?;
        let (refund, replayed) = self.app.refund(&ctx, cmd).await?;
        Ok(serve::respond((wire::refund(&refund), replayed)))
    }

    async fn get_payment(&self, req: Request<GetPaymentRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let id = wire::payment_id(&req.into_inner().payment_id)?;
        let payment = self.app.get(&ctx, id).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn list_payments(&self, req: Request<ListPaymentsRequest>) -> Result<Response<ListPaymentsResponse>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::list(req.into_inner())?;
        let page = self.app.list(&ctx, cmd).await?;
        Ok(Response::new(wire::page(page)))
    }

    async fn increment_authorization(
        &self,
        req: Request<IncrementAuthorizationRequest>,
    ) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::increment(&req.into_inner())?;
        let (payment, replayed) = self.app.increment(&ctx, cmd).await?;
        Ok(serve::respond((wire::payment(&payment), replayed)))
    }

    async fn reauthorize_payment(&self, req: Request<ReauthorizePaymentRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::again(req.into_inner())?;
        let payment = self.app.begin_again(&ctx, cmd).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn complete_payment_action(
        &self,
        req: Request<CompletePaymentActionRequest>,
    ) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let id = wire::payment_id(&req.into_inner().payment_id)?;
        let payment = self.app.complete_action(&ctx, id).await?;
        Ok(Response::new(wire::payment(&payment)))
    }

    async fn mark_paid(&self, req: Request<MarkPaidRequest>) -> Result<Response<Payment>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::mark_paid(req.into_inner())?;
        let (payment, replayed) = self.app.mark_paid(&ctx, cmd).await?;
        Ok(serve::respond((wire::payment(&payment), replayed)))
    }

    async fn list_payment_events(
        &self,
        req: Request<ListPaymentEventsRequest>,
    ) -> Result<Response<ListPaymentEventsResponse>, Status> {
        let ctx = Ctx::of(&req)?;
        let cmd = wire::list_events(req.into_inner())?;
        let page = self.app.list_events(&ctx, cmd).await?;
        Ok(Response::new(wire::events(page)))
    }

    async fn get_refund(&self, req: Request<GetRefundRequest>) -> Result<Response<Refund>, Status> {
        let ctx = Ctx::of(&req)?;
        let id = wire::refund_id(&req.into_inner().refund_id)?;
        let refund = self.app.get_refund(&ctx, id).await?;
        Ok(Response::new(wire::refund(&refund)))
    }

    async fn list_refunds(&self, req: Request<ListRefundsRequest>) -> Result<Response<ListRefundsResponse>, Status> {
        let ctx = Ctx::of(&req)?;
        let id = wire::payment_id(&req.into_inner().payment_id)?;
        let refunds = self.app.list_refunds(&ctx, id).await?;
        Ok(Response::new(ListRefundsResponse { refunds: refunds.iter().map(wire::refund).collect() }))
    }
}

#[tonic::async_trait]
impl PaymentWebhookService for Grpc {
    async fn ingest_provider_webhook(
        &self,
        req: Request<IngestProviderWebhookRequest>,
    ) -> Result<Response<IngestProviderWebhookResponse>, Status> {
        let open = Open::of(&req)?;
        let cmd = wire::ingest(req)?;
        self.app.ingest(open, cmd).await?;
        Ok(Response::new(IngestProviderWebhookResponse {}))
    }
}
