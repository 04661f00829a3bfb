//! Does an order's history add up to what is stored of it? (ORD-37, ORD-38)

use contract::order::v1 as wire;
use ctx::Ctx;
use diesel_async::SimpleAsyncConnection;
use fault::Fault;
use futures::FutureExt;
use ids::OrderId;
use pg::Conn;

use crate::app::App;
use crate::infra::replay::{replay, replay_from_first, timeless};
use crate::infra::store::{Store, listing};

/// A change between two reads would look like a difference.
const ONE_MOMENT: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";

impl App {
    /// Adds up an order from its first event and from its snapshot, and compares both with the stored picture and with
    /// what lists find it by.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`; Internal when an event cannot be read.
    pub async fn verify(&self, ctx: &Ctx, id: OrderId) -> Result<wire::VerifyOrderResponse, Fault> {
        let tenant = ctx.tenant;
        let read = self.store.pg.read("order.verify", tenant, move |conn: &mut Conn| {
            async move {
                conn.batch_execute(ONE_MOMENT).await?;
                let stored = Store::get_in(conn, tenant, id).await?;
                let listed = Store::listed(conn, tenant, id).await?;
                Ok((stored, listed, replay_from_first(conn, tenant, id).await?, replay(conn, tenant, id).await?))
            }
            .boxed()
        });
        let (stored, listed, long, short) = read.await?;
        let same = |version, order| version == stored.version && timeless(order) == timeless(&stored);
        Ok(wire::VerifyOrderResponse {
            equal: same(long.version, &long.state)
                && same(short.version, &short.state)
                && listed == listing(&long.state),
            events: long.version,
        })
    }
}
