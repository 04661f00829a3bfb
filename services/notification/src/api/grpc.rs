use contract::notification::v1 as pb;
use contract::notification::v1::notification_service_server::NotificationService;
use ctx::Ctx;
use tonic::{Request, Response, Status};

use super::{list, wire};
use crate::mount::App;

/// `ordermesh.notification.v1.NotificationService`.
pub(crate) struct Notifications(pub App);

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn get_message(&self, request: Request<pb::GetMessageRequest>) -> Result<Response<pb::Message>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::message_id(&request.into_inner().message_id)?;
        let message = self.0.store.get(ctx.tenant, id).await?;
        Ok(Response::new(wire::message(&message)))
    }

    async fn list_messages(
        &self,
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = wire::list(request.into_inner())?;
        let page = list::list(&self.0, &ctx, query).await?;
        Ok(Response::new(wire::page(page)))
    }

    async fn retry_message(&self, request: Request<pb::RetryMessageRequest>) -> Result<Response<pb::Message>, Status> {
        let ctx = Ctx::of(&request)?;
        let id = wire::message_id(&request.into_inner().message_id)?;
        self.0.store.retry(ctx.tenant, id).await?;
        let message = self.0.store.get(ctx.tenant, id).await?;
        Ok(Response::new(wire::message(&message)))
    }
}
