//! More money, and other attempts: what changes the hold of a payment that exists.

use ctx::Ctx;
use fault::Fault;
use ids::OrderId;
use money::Money;
use uuid::Uuid;

use super::{Increment, Instrument, Place, Store, optional, place, sql};
use crate::data::events;
use crate::logic::state::Payment;

impl Store {
    /// Takes an increment's place.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn begin_increment(
        &self,
        ctx: &Ctx,
        order: OrderId,
        increment: Uuid,
        amount: Money,
        fingerprint: [u8; 32],
    ) -> Result<Place<Increment>, Fault> {
        let query = diesel::select(sql::increment_begin(
            ctx.tenant.uuid(),
            order.uuid(),
            increment,
            amount.minor,
            amount.currency.code(),
            fingerprint.to_vec(),
            eventlog::meta(ctx),
        ));
        place(self.call("payment.increment", query).await?, |_, _| true)
    }

    /// Moves a payment that holds nothing to another provider; none when the row moved on.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn switch(
        &self,
        ctx: &Ctx,
        before: &Payment,
        provider: &'static str,
        stray: bool,
    ) -> Result<Option<Payment>, Fault> {
        let (tenant, payment) = (ctx.tenant.uuid(), before.id.uuid());
        let mut meta = eventlog::meta(ctx);
        meta["note"] = format!("{} to {provider}", before.provider).into();
        let query = diesel::select(sql::payment_switch(tenant, payment, before.revision, provider, stray, meta));
        optional(self.call("payment.switch", query).await?)
    }

    /// Begins the next attempt of a payment; none when the row moved on.
    ///
    /// # Errors
    /// [`Fault`] of the database; Internal when there is no amount.
    pub async fn begin_again(
        &self,
        ctx: &Ctx,
        before: &Payment,
        provider: &'static str,
        instrument: Option<&Instrument>,
    ) -> Result<Option<Payment>, Fault> {
        let amount = before.asked_again();
        let amount = amount.ok_or_else(|| Fault::internal("a payment of nothing is to be asked for again"))?;
        let instrument = match instrument {
            Some(instrument) => Some(self.sealed(ctx.tenant, before.id, instrument).await?),
            None => None,
        };
        let requested = events::requested(before.order, before.id, amount);
        let query = diesel::select(sql::payment_reauthorize(
            ctx.tenant.uuid(),
            before.id.uuid(),
            before.revision,
            provider,
            instrument,
            requested.type_name,
            requested.topic,
            requested.payload,
            eventlog::meta(ctx),
        ));
        optional(self.call("payment.reauthorize", query).await?)
    }
}
