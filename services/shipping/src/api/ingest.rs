use ctx::{Open, Principal};
use fault::Fault;
use ids::{ShipmentId, TenantId};

use crate::carriers::Fedex;
use crate::model::Scan;
use crate::mount::App;
use crate::store::Heard;
use crate::webhook::{self, Push};

/// Longest event id, code or location that is kept.
const LONGEST: usize = 200;

/// What came in, before anything of it is believed.
pub(crate) struct Webhook {
    pub carrier: String,
    pub tenant: String,
    pub signature: String,
    pub body: Vec<u8>,
}

/// Stores a signed scan once and moves the parcel forward, never back (TRK-04, rule I5).
///
/// # Errors
/// Unauthenticated WEBHOOK_SIGNATURE, also for carriers and tenants that do not exist; Invalid INVALID_WEBHOOK when the
/// signed body is not an event.
pub(crate) async fn ingest(app: &App, open: Open, webhook: Webhook) -> Result<(), Fault> {
    let refused = || Fault::unauthenticated("WEBHOOK_SIGNATURE", "the signature does not fit");
    let tenant: TenantId = webhook.tenant.parse().map_err(|_| refused())?;
    let secret = app.settings.webhook_secret("carriers", tenant);
    let fits = webhook::verify(&secret, &webhook.signature, &webhook.body, open.now).is_ok();
    if !fits || webhook.carrier != Fedex::NAME {
        metrics::counter!("carrier_webhooks_total", "outcome" => "refused").increment(1);
        return Err(refused());
    }
    let push = read(&webhook.body)?;
    let shipment: ShipmentId =
        push.reference.parse().map_err(|_| invalid("reference is not the id of a shipment".to_owned()))?;
    let mut ctx = open.in_tenant(tenant);
    ctx.principal = Principal::Provider { name: webhook.carrier.clone() };
    let heard = Heard {
        shipment,
        carrier: webhook.carrier,
        event_id: Some(push.id),
        scans: vec![Scan { code: push.code, at: push.at, location: push.location }],
        poll_at: app.poll_at(ctx.now),
    };
    app.store.hear(&ctx, heard).await?;
    metrics::counter!("carrier_webhooks_total", "outcome" => "taken").increment(1);
    Ok(())
}

fn read(body: &[u8]) -> Result<Push, Fault> {
    let push: Push = serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?;
    let texts = [("id", &push.id), ("code", &push.code), ("location", &push.location)];
    for (name, text) in texts {
        if text.len() > LONGEST || text.contains('\0') {
            return Err(invalid(format!("{name} is too long or has characters that are not text")));
        }
    }
    if push.id.is_empty() { Err(invalid("id is empty".to_owned())) } else { Ok(push) }
}

fn invalid(description: String) -> Fault {
    Fault::invalid("payload", "INVALID_WEBHOOK", description)
}
