//! A FedEx-shaped carrier over REST and JSON.

mod wire;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault::Fault;
use ids::{ShipmentId, TenantId};
use resilience::{Answer, Http, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};

use super::{Bought, CarrierError, Parcel};
use crate::model::Scan;

/// How long the carrier may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Wait after a 429 that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait that we believe in.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The way to the carrier.
#[derive(Clone)]
pub(crate) struct Fedex {
    http: Http,
    key: SecretString,
    /// The carrier asked for silence until then; whoever comes before is turned away without a call.
    silent_until: Arc<Mutex<Option<Instant>>>,
}

impl Fedex {
    /// Name of the carrier in labels and webhook addresses.
    pub(crate) const NAME: &'static str = "fedex";

    /// A client of the carrier at `url`.
    ///
    /// # Errors
    /// Unavailable when `url` is not one.
    pub(crate) fn new(url: &str, key: SecretString) -> Result<Self, Fault> {
        Ok(Self { http: Http::new("carrier", url, PATIENCE)?, key, silent_until: Arc::default() })
    }

    /// Buys a label; safe to repeat, the same reference gets the same label (SHP-01).
    pub(crate) async fn purchase(&self, tenant: TenantId, parcel: &Parcel<'_>) -> Result<Bought, CarrierError> {
        let request = self.http.post("/v1/shipments").json(&wire::Purchase::new(tenant, parcel));
        let answer = self.call("purchase_label", request).await?;
        Ok(answer.json::<wire::Shipment>()?.bought())
    }

    /// Looks for a label that was bought before.
    pub(crate) async fn find(&self, tenant: TenantId, reference: ShipmentId) -> Result<Option<Bought>, CarrierError> {
        let query = [("reference", reference.to_string()), ("tenant", tenant.to_string())];
        let answer = self.call("find_label", self.http.get("/v1/shipments").query(&query)).await?;
        let found = answer.json::<wire::Shipments>()?.shipments.into_iter().next();
        Ok(found.map(wire::Shipment::bought))
    }

    /// Gives a label back; safe to repeat.
    pub(crate) async fn void(&self, carrier_id: &str) -> Result<(), CarrierError> {
        let path = format!("/v1/shipments/{}/void", wire::segment(carrier_id));
        self.call("void_label", self.http.post(&path)).await.map(drop)
    }

    /// Hands the parcel over; safe to repeat.
    pub(crate) async fn hand_over(&self, carrier_id: &str) -> Result<(), CarrierError> {
        let path = format!("/v1/shipments/{}/handover", wire::segment(carrier_id));
        self.call("hand_over", self.http.post(&path)).await.map(drop)
    }

    /// Everything the carrier knows about a parcel's way.
    pub(crate) async fn track(&self, tracking_number: &str) -> Result<Vec<Scan>, CarrierError> {
        let path = format!("/v1/tracking/{}", wire::segment(tracking_number));
        let answer = self.call("track", self.http.get(&path)).await?;
        Ok(answer.json::<wire::Tracking>()?.events)
    }

    async fn call(&self, op: &'static str, request: RequestBuilder) -> Result<Answer, CarrierError> {
        self.admit()?;
        let answer = self.http.send(op, request.bearer_auth(self.key.expose_secret())).await?;
        let status = answer.status.as_u16();
        if answer.status.is_success() {
            return Ok(answer);
        }
        if status == 429 {
            let wait = answer.retry_after().unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT);
            let mut until = self.silent_until.lock().expect("no panic while the lock is held");
            *until = (*until).max(Some(Instant::now() + wait));
            return Err(CarrierError::Busy { wait });
        }
        if answer.status.is_client_error() && status != 408 {
            let code = answer.json::<wire::Refusal>().map_or_else(|_| String::new(), |refusal| refusal.error.code);
            return Err(CarrierError::Refused { status, code });
        }
        Err(CarrierError::Broken { status })
    }

    fn admit(&self) -> Result<(), CarrierError> {
        let until = *self.silent_until.lock().expect("no panic while the lock is held");
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(wait) if !wait.is_zero() => Err(CarrierError::Busy { wait }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use simulators::{Config, Simulators};

    use super::*;
    use crate::model::Address;

    fn address(country: &str) -> Address {
        Address {
            recipient: "Ada".into(),
            line1: "1 Main St".into(),
            line2: String::new(),
            city: "Town".into(),
            region: String::new(),
            postal_code: String::new(),
            country_code: country.into(),
        }
    }

    async fn start() -> anyhow::Result<(Simulators, Fedex, Http)> {
        let sims = Simulators::start(Config { speed: 0.0, ..Config::default() }).await?;
        let url = format!("http://{}", sims.carrier);
        let fedex = Fedex::new(&url, "key".into())?;
        let control = Http::new("sim", &url, PATIENCE)?;
        Ok((sims, fedex, control))
    }

    #[tokio::test]
    async fn shp_01_a_label_is_bought_once_and_found_by_its_reference() -> anyhow::Result<()> {
        let (_sims, fedex, _) = start().await?;
        let (tenant, reference) = (TenantId::new(), ShipmentId::new());
        assert_eq!(fedex.find(tenant, reference).await?, None);
        let (from, to) = (address("US"), address("US"));
        let parcel = Parcel { reference, service: "EXPRESS", from: &from, to: &to, weight_grams: 0 };
        let bought = fedex.purchase(tenant, &parcel).await?;
        assert!(bought.data.starts_with("^XA") && bought.label.tracking_number.starts_with("794"));
        assert_eq!((bought.label.cost.currency.as_str(), bought.label.cost.minor), ("USD", 1549));
        assert_eq!(fedex.purchase(tenant, &parcel).await?, bought);
        assert_eq!(fedex.find(tenant, reference).await?.as_ref(), Some(&bought));
        assert_eq!(fedex.find(TenantId::new(), reference).await?, None, "a label of another tenant");
        fedex.void(&bought.label.carrier_id).await?;
        fedex.void(&bought.label.carrier_id).await?;
        assert!(fedex.find(tenant, reference).await?.is_some_and(|found| found.label.void));
        let refused = fedex.hand_over(&bought.label.carrier_id).await;
        assert!(matches!(refused, Err(CarrierError::Refused { status: 409, code }) if code == "VOIDED"));
        Ok(())
    }

    #[tokio::test]
    async fn a_carrier_that_is_asked_too_much_is_left_alone_as_long_as_it_says() -> anyhow::Result<()> {
        let (_sims, fedex, control) = start().await?;
        let limit = control.post("/_sim/limit").json(&serde_json::json!({"per_minute": 1}));
        control.send("limit", limit).await?;
        fedex.find(TenantId::new(), ShipmentId::new()).await?;
        for _ in 0..5 {
            match fedex.track("794").await {
                Err(CarrierError::Busy { wait }) => assert!(wait > Duration::from_secs(50), "{wait:?}"),
                other => panic!("not told to wait: {other:?}"),
            }
        }
        let peak: serde_json::Value = control.send("limit", control.get("/_sim/limit")).await?.json()?;
        assert_eq!(peak["peak_per_minute"], 2, "after one refusal the carrier is not called");
        Ok(())
    }

    #[tokio::test]
    async fn a_path_is_never_made_of_what_others_wrote() -> anyhow::Result<()> {
        let (_sims, fedex, _) = start().await?;
        let refused = fedex.track("../shipments?reference=x").await;
        assert!(matches!(refused, Err(CarrierError::Refused { status: 404, .. })), "{refused:?}");
        Ok(())
    }
}
