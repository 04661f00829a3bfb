//! Does an order's history add up to what is stored of it? (ORD-37)

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::OrderId;
use pg::Conn;

use crate::app::App;
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::infra::store::{Store, wire_time};

impl App {
    /// Folds an order's events and compares; both are read in one snapshot.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`; Internal when an event cannot be read.
    pub async fn verify(&self, ctx: &Ctx, id: OrderId) -> Result<wire::VerifyOrderResponse, Fault> {
        let tenant = ctx.tenant;
        let read = self.store.pg.read("order.verify", tenant, move |conn: &mut Conn| {
            async move {
                let events = eventlog::load(conn, tenant, id.uuid()).await?;
                Ok((Store::get_in(conn, tenant, id).await?, events))
            }
            .boxed()
        });
        let (stored, recorded) = read.await?;
        // A change between the two reads shows as a later version: only what the picture is made of counts.
        let upto = recorded.iter().filter(|event| event.version <= stored.version);
        let events: Option<Vec<_>> = upto
            .map(|event| {
                let decoded = OrderEvent::decode(&event.type_name, &event.payload)?;
                Some((decoded, wire_time(event.occurred_at)))
            })
            .collect();
        let events = events.ok_or_else(|| Fault::internal("an event of the order cannot be read"))?;
        let folded = Order::fold(events.iter().map(|(event, at)| (event, *at)));
        let timeless = |order: &Order| wire::Order { update_time: None, ..order.doc.clone() };
        Ok(wire::VerifyOrderResponse {
            equal: folded.version == stored.version && timeless(&folded) == timeless(&stored),
            events: folded.version,
        })
    }
}
