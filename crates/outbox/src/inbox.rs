//! Handling events and remembering them is one transaction, so that an event that comes twice has one effect.

use std::sync::Arc;

use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::FutureExt;
use ids::TenantId;
use pg::{Conn, Pg};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::consumer::Event;
use crate::delivery::{Delivery, Subscription};
use crate::parking;

diesel::define_sql_function! {
    /// Remembers events; per event 0: seen before; 1: fresh; 2: the key is parked.
    fn inbox_claim(tenant: SqlUuid, consumer: Text, streams: Array<SqlUuid>, events: Array<SqlUuid>) -> Array<Integer>;
}

const SEEN: i32 = 0;
const FRESH: i32 = 1;

/// Runs the handler of events of one tenant and one type, and remembers them.
pub(crate) async fn apply(pg: &Pg, subscription: &Subscription, events: Vec<Event>) -> Result<(), pg::Error> {
    let [first, ..] = events.as_slice() else { return Ok(()) };
    let Some(handler) = subscription.handlers.get(first.r#type.as_str()).cloned() else { return Ok(()) };
    let (consumer, tenant) = (subscription.consumer, TenantId::from_uuid(first.tenant_id));
    // Each event goes on in the trace of its cause, so each has a span.
    let (spans, deliveries): (Vec<Span>, Vec<Arc<Delivery>>) =
        events.iter().map(|event| deliver(event, consumer)).unzip();
    let [span, ..] = spans.as_slice() else { return Ok(()) };
    let span = span.clone();
    let work = Arc::new((events, deliveries));
    let handled = pg.tx("outbox.handle", tenant, move |conn: &mut Conn| {
        let (handler, work) = (handler.clone(), Arc::clone(&work));
        async move {
            let (events, deliveries) = &*work;
            let streams: Vec<Uuid> = events.iter().map(|event| event.stream_id).collect();
            let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
            let claim = inbox_claim(tenant.uuid(), consumer, streams, ids);
            let claims: Vec<i32> = diesel::select(claim).get_result(conn).await?;
            let mut fresh = Vec::with_capacity(events.len());
            for ((claim, event), delivery) in claims.into_iter().zip(events).zip(deliveries) {
                match claim {
                    SEEN => {}
                    FRESH => fresh.push(Arc::clone(delivery)),
                    _ => parking::insert(conn, consumer, event, "an earlier event of the same key is parked").await?,
                }
            }
            if fresh.is_empty() { Ok(()) } else { handler.run(conn, fresh).await }
        }
        .boxed()
    });
    handled.instrument(span).await
}

fn deliver(event: &Event, consumer: &'static str) -> (Span, Arc<Delivery>) {
    let mut delivery = event.delivery(consumer);
    let span = tracing::info_span!("handle event", consumer, r#type = event.r#type, event_id = %event.event_id,
        tenant = %delivery.ctx.tenant, correlation_id = delivery.ctx.cause.correlation_id,
        trace_id = tracing::field::Empty);
    let cause = &mut delivery.ctx.cause;
    cause.traceparent = Some(telemetry::trace::adopt(&span, cause.traceparent.as_deref(), &cause.correlation_id));
    (span, Arc::new(delivery))
}
