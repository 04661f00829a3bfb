use contract::payment::v1::payment_service_server::PaymentService;
use contract::payment::v1::payment_webhook_service_server::PaymentWebhookService;
use contract::payment::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, GetPaymentRequest, IngestProviderWebhookRequest,
    IngestProviderWebhookResponse, InquirePaymentRequest, ListPaymentsRequest, ListPaymentsResponse, Payment, Refund,
    RefundPaymentRequest, VoidPaymentRequest,
};
use ctx::{Ctx, Open};
use tonic::{Request, Response, Status};

use super::wire;
use crate::logic::App;

/// The methods of the contract.
#[derive(Clone)]
pub struct Grpc {
    app: App,
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
        let order = wire::order(&req.into_inner().order_id)?;
        let payment = self.app.inquire(&ctx, order).await?;
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
        let order = wire::order(&req.into_inner().order_id)?;
        let payment = self.app.void(&ctx, order).await?;
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
