//! Sends the stock of a product now and after every change (INV-06).

use std::time::Duration;

use contract::inventory::v1 as pb;
use ctx::Ctx;
use fault::Fault;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::api::wire;
use crate::commands::Inventory;

/// A change that another process made is seen after this.
const LOOK: Duration = Duration::from_millis(500);
/// Changes of this process come in bursts; one look serves them all.
const CALM: Duration = Duration::from_millis(25);

impl Inventory {
    /// Opens the stream; `seen` is a version the caller has already.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND before the first message.
    pub async fn watch_stock(
        &self,
        ctx: &Ctx,
        sku: String,
        seen: String,
    ) -> Result<ReceiverStream<Result<pb::Stock, Status>>, Fault> {
        let first = wire::stock(self.get_stock(ctx, &sku).await?);
        let (sender, receiver) = mpsc::channel(4);
        let (app, ctx) = (self.clone(), ctx.clone());
        tokio::spawn(async move {
            let mut commits = app.pg.commits();
            let (mut seen, mut stock) = (seen, first);
            loop {
                if stock.etag != seen {
                    seen.clone_from(&stock.etag);
                    if sender.send(Ok(stock)).await.is_err() {
                        return;
                    }
                }
                commits.mark_unchanged();
                tokio::select! {
                    () = sender.closed() => return,
                    changed = commits.changed() => {
                        if changed.is_err() { return }
                        tokio::time::sleep(CALM).await;
                    }
                    () = tokio::time::sleep(LOOK) => {}
                }
                stock = match app.get_stock(&ctx, &sku).await {
                    Ok(stock) => wire::stock(stock),
                    Err(fault) => {
                        // The receiver may have left; there is nobody else to tell.
                        drop(sender.send(Err(fault.into())).await);
                        return;
                    }
                };
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}
