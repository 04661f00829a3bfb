//! Sends the stock of a product now and after every change (INV-06).

use contract::inventory::v1 as pb;
use ctx::Ctx;
use fault::Fault;
use serve::{Look, Watched};

use crate::api::wire;
use crate::commands::Inventory;

impl Inventory {
    /// Opens the stream; `seen` is a version the caller has already.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND before the first message.
    pub async fn watch_stock(&self, ctx: &Ctx, sku: String, seen: String) -> Result<Watched<pb::Stock>, Fault> {
        let (app, ctx) = (self.clone(), ctx.clone());
        let look = move |seen: String| {
            let (app, ctx, sku) = (app.clone(), ctx.clone(), sku.clone());
            async move {
                let stock = wire::stock(app.get_stock(&ctx, &sku).await?);
                let etag = stock.etag.clone();
                Ok(Look { news: (etag != seen).then_some(stock), etag, over: false })
            }
        };
        serve::watch(self.pg.commits(), seen, look).await
    }
}
