//! Asks the carrier about parcels of which it has not told for long (SHP-08).
//!
//! Every scan moves the time of asking on, so a carrier whose webhooks come is not asked at all.

use std::time::Duration;

use ctx::{Cause, Ctx};
use fault::Fault;
use futures::StreamExt;
use ids::{ShipmentId, TenantId};
use jiff::Timestamp;
use serve::{Job, Turn};

use crate::carriers::{CarrierError, Fedex};
use crate::mount::App;
use crate::store::Heard;

/// Parcels of one look.
const BATCH: i32 = 100;
/// Questions at the same time.
const AT_ONCE: usize = 4;
/// Longest pause between two looks for silent parcels.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// The job that looks for silent parcels; any number of processes may run it.
pub(crate) fn job(app: App) -> Job {
    let nap = app.settings.carrier_poll.min(LONGEST_NAP);
    Job::every("shipping.polling", nap, app, |app| async move { Ok(Turn::of(round(&app).await?, BATCH as usize)) })
}

/// Asks about every parcel that is due, and returns how many that were.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn round(app: &App) -> Result<usize, Fault> {
    let due = app.store.silent(BATCH).await?;
    let asked = due.len();
    futures::stream::iter(due)
        .for_each_concurrent(AT_ONCE, async |(tenant, shipment)| {
            if let Err(fault) = ask(app, tenant, shipment).await {
                tracing::warn!(shipment = %shipment, error = %fault, "cannot ask the carrier about a parcel");
            }
        })
        .await;
    Ok(asked)
}

async fn ask(app: &App, tenant: TenantId, shipment: ShipmentId) -> Result<(), Fault> {
    let now = Timestamp::now();
    let poll_at = app.poll_at(now);
    // Its next turn is set before the question: whatever becomes of this one, nobody else asks meanwhile.
    let Some(tracking_number) = app.store.take_poll(tenant, shipment, poll_at).await? else { return Ok(()) };
    let scans = match app.carrier.track(&tracking_number).await {
        Ok(scans) => scans,
        // The parcel has its turn again; a carrier that wants to be left alone is no news.
        Err(CarrierError::Busy { .. }) => return Ok(()),
        Err(error) => {
            return Err(Fault::unavailable("CARRIER_UNAVAILABLE", "the carrier does not answer").caused_by(error));
        }
    };
    metrics::counter!("carrier_polls_total").increment(1);
    let cause =
        Cause { correlation_id: shipment.to_string(), causation_id: "carrier.poll".to_owned(), traceparent: None };
    let ctx = Ctx::service("shipping", tenant, cause, now);
    let heard = Heard { shipment, carrier: Fedex::NAME.to_owned(), event_id: None, scans, poll_at };
    app.store.hear(&ctx, heard).await
}
