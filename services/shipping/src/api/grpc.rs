use contract::shipping::v1 as pb;
use contract::shipping::v1::carrier_webhook_service_server::CarrierWebhookService;
use contract::shipping::v1::shipping_service_server::ShippingService;
use ctx::{Ctx, Open};
use fault::Fault;
use tonic::{Request, Response, Status};

use super::{ingest, list, wire};
use crate::model::Shipment;
use crate::mount::App;

/// `ordermesh.shipping.v1.ShippingService`.
pub(crate) struct Shipping(pub App);

/// `ordermesh.shipping.v1.CarrierWebhookService`.
pub(crate) struct Webhooks(pub App);

#[tonic::async_trait]
impl ShippingService for Shipping {
    async fn get_shipment(&self, request: Request<pb::GetShipmentRequest>) -> Result<Response<pb::Shipment>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::shipment_id(&request.into_inner().shipment_id)?;
        let shipment = self.0.store.get(ctx.tenant, id).await?;
        Ok(Response::new(shown(&self.0, &ctx, &shipment).await?))
    }

    async fn list_shipments(
        &self,
        request: Request<pb::ListShipmentsRequest>,
    ) -> Result<Response<pb::ListShipmentsResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = wire::list(request.into_inner())?;
        let page = list::list(&self.0, &ctx, query).await?;
        let mut shipments = Vec::with_capacity(page.shipments.len());
        for shipment in &page.shipments {
            shipments.push(shown(&self.0, &ctx, shipment).await?);
        }
        Ok(Response::new(pb::ListShipmentsResponse { shipments, next_page_token: page.next }))
    }

    async fn get_label(&self, request: Request<pb::GetLabelRequest>) -> Result<Response<pb::Label>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::shipment_id(&request.into_inner().shipment_id)?;
        let label = self.0.store.label(ctx.tenant, id).await?.filter(|label| !label.label.void);
        let label = label.ok_or_else(|| Fault::precondition("LABEL_NOT_PURCHASED", "the label is not bought yet"))?;
        Ok(Response::new(pb::Label { format: label.label.format, data: label.data }))
    }
}

async fn shown(app: &App, ctx: &Ctx, shipment: &Shipment) -> Result<pb::Shipment, Fault> {
    let scans = app.store.scans(ctx.tenant, shipment).await?;
    Ok(wire::shipment(shipment, scans))
}

#[tonic::async_trait]
impl CarrierWebhookService for Webhooks {
    async fn ingest_carrier_webhook(
        &self,
        request: Request<pb::IngestCarrierWebhookRequest>,
    ) -> Result<Response<pb::IngestCarrierWebhookResponse>, Status> {
        let open = Open::of(&request)?;
        let webhook = wire::webhook(request);
        ingest::ingest(&self.0, open, webhook).await?;
        Ok(Response::new(pb::IngestCarrierWebhookResponse {}))
    }
}
