//! Sends an order now and after every change, until nothing more will happen to it (EVT-09).

use std::time::Duration;

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use ids::OrderId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::app::App;
use crate::domain::state::is_final;

/// A change that another process made is seen after this.
const LOOK: Duration = Duration::from_millis(500);
/// Changes of this process come in bursts; one look serves them all.
const CALM: Duration = Duration::from_millis(25);

impl App {
    /// Opens the stream; `seen` is a version the caller has already.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND` before the first message.
    pub async fn watch(
        &self,
        ctx: &Ctx,
        id: OrderId,
        seen: String,
    ) -> Result<ReceiverStream<Result<wire::Order, Status>>, Fault> {
        let first = self.get(ctx, id).await?;
        let (sender, receiver) = mpsc::channel(4);
        let (app, ctx) = (self.clone(), ctx.clone());
        tokio::spawn(async move {
            let mut commits = app.store.pg.commits();
            let mut seen = seen;
            let mut order = first;
            loop {
                if order.doc.etag != seen {
                    seen.clone_from(&order.doc.etag);
                    let state = order.state();
                    let shown = app.shown(&ctx, order.doc).await.map_err(Status::from);
                    let broken = shown.is_err();
                    if sender.send(shown).await.is_err() || broken || is_final(state) {
                        return;
                    }
                } else if is_final(order.state()) {
                    return;
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
                order = match app.get(&ctx, id).await {
                    Ok(order) => order,
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
