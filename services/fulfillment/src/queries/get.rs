use ctx::Ctx;
use fault::Fault;
use ids::FulfillmentId;

use crate::model::Fulfillment;
use crate::mount::App;

/// A fulfillment as it was last heard of, with the time of that (FUL-03).
///
/// # Errors
/// Not found FULFILLMENT_NOT_FOUND.
pub(crate) async fn run(app: &App, ctx: &Ctx, id: FulfillmentId) -> Result<Fulfillment, Fault> {
    app.store.get(ctx.tenant, id).await
}
