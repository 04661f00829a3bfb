//! The methods of changes of placed orders.

use contract::order::v1 as pb;
use contract::order::v1::order_change_service_server::OrderChangeService;
use ctx::Ctx;
use fault::Fault;
use ids::ChangeId;
use pg::Once;
use serve::respond;
use tonic::{Request, Response, Status};

use super::wire_commands::subject;
use crate::app::App;
use crate::app::change_order::Subject;
use crate::app::order_change::RequestChange;

/// Changes.
#[derive(Debug)]
pub struct Changes(pub App);

type Answer<T> = Result<Response<T>, Status>;

fn names(order_id: &str, change_id: &str) -> Result<(Subject, ChangeId), Fault> {
    let subject = subject(order_id, String::new())?;
    let wrong = |error: ids::IdError| Fault::invalid("change_id", "ID_INVALID", error.to_string());
    Ok((subject, change_id.parse().map_err(wrong)?))
}

impl Changes {
    async fn once(&self, ctx: &Ctx, once: Once<pb::OrderChange>) -> Answer<pb::OrderChange> {
        let Once { response, replayed } = once;
        Ok(respond(Once { response: self.0.shown_change(ctx, response).await?, replayed }))
    }
}

#[tonic::async_trait]
impl OrderChangeService for Changes {
    async fn create_order_change(&self, request: Request<pb::CreateOrderChangeRequest>) -> Answer<pb::OrderChange> {
        let ctx = Ctx::of(&request)?;
        let pb::CreateOrderChangeRequest { order_id, edits, reason, expected_total, etag } = request.into_inner();
        let command = RequestChange { subject: subject(&order_id, etag)?, edits, to: None, reason, expected_total };
        let once = self.0.request_change(&ctx, &command).await?;
        self.once(&ctx, once).await
    }

    async fn preview_order_change(&self, request: Request<pb::PreviewOrderChangeRequest>) -> Answer<pb::OrderChange> {
        let ctx = Ctx::of(&request)?;
        let pb::PreviewOrderChangeRequest { order_id, edits } = request.into_inner();
        let subject = subject(&order_id, String::new())?;
        let command = RequestChange { subject, edits, to: None, reason: String::new(), expected_total: None };
        Ok(Response::new(self.0.preview_change(&ctx, &command).await?))
    }

    async fn confirm_order_change(&self, request: Request<pb::ConfirmOrderChangeRequest>) -> Answer<pb::OrderChange> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (subject, id) = names(&request.order_id, &request.change_id)?;
        let once = self.0.confirm_change(&ctx, &subject, id).await?;
        self.once(&ctx, once).await
    }

    async fn decline_order_change(&self, request: Request<pb::DeclineOrderChangeRequest>) -> Answer<pb::OrderChange> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let (subject, id) = names(&request.order_id, &request.change_id)?;
        let change = self.0.decline_change(&ctx, &subject, id, request.reason).await?;
        Ok(Response::new(self.0.shown_change(&ctx, change).await?))
    }

    async fn get_order_change(&self, request: Request<pb::GetOrderChangeRequest>) -> Answer<pb::OrderChange> {
        let ctx = Ctx::of(&request)?;
        let (subject, id) = names(&request.get_ref().order_id, &request.get_ref().change_id)?;
        let change = self.0.order_change(&ctx, &subject, id).await?;
        Ok(Response::new(self.0.shown_change(&ctx, change).await?))
    }

    async fn list_order_changes(
        &self,
        request: Request<pb::ListOrderChangesRequest>,
    ) -> Answer<pb::ListOrderChangesResponse> {
        let ctx = Ctx::of(&request)?;
        let subject = subject(&request.get_ref().order_id, String::new())?;
        let mut changes = Vec::new();
        for change in self.0.changes(&ctx, &subject).await? {
            changes.push(self.0.shown_change(&ctx, change).await?);
        }
        Ok(Response::new(pb::ListOrderChangesResponse { changes }))
    }
}
