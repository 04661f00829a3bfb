//! Sends an order now and after every change, until nothing more will happen to it (EVT-09).

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use ids::OrderId;
use serve::{Look, Watched};

use crate::app::App;
use crate::domain::state::is_final;

impl App {
    /// Opens the stream; `seen` is a version the caller has already.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND` before the first message.
    pub async fn watch(&self, ctx: &Ctx, id: OrderId, seen: String) -> Result<Watched<wire::Order>, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        let look = move |seen: String| {
            let (app, ctx) = (app.clone(), ctx.clone());
            async move {
                let order = app.get(&ctx, id).await?;
                let (etag, over) = (order.doc.etag.clone(), is_final(&order.doc));
                // Personal data is opened only for what is shown.
                let news = if etag == seen { None } else { Some(app.shown(&ctx, order.doc).await?) };
                Ok(Look { etag, over, news })
            }
        };
        serve::watch(self.store.pg.commits(), seen, look).await
    }
}
