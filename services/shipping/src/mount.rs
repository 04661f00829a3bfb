use contract::shipping::v1::carrier_webhook_service_server::CarrierWebhookServiceServer;
use contract::shipping::v1::shipping_service_server::ShippingServiceServer;
use fault::Fault;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use outbox::{Consumer, Retention};
use pg::{Pg, Target};
use serve::page::Pages;
use serve::{Boot, Job, Mount, Peers, Settings};
use vault::{Master, Vault};

use crate::api::{Shipping, Webhooks};
use crate::carriers::Fedex;
use crate::store::Store;
use crate::{handlers, polling, saga};

/// What the use cases work with.
#[derive(Clone)]
pub(crate) struct App {
    pub store: Store,
    pub carrier: Fedex,
    pub peers: Peers,
    pub pages: Pages,
    pub settings: Settings,
}

impl App {
    /// When to ask the carrier about a parcel of which it told now.
    pub(crate) fn poll_at(&self, now: Timestamp) -> Timestamp {
        let pause = SignedDuration::try_from(self.settings.carrier_poll).unwrap_or(SignedDuration::MAX);
        now.saturating_add(pause).unwrap_or(Timestamp::MAX)
    }
}

/// Starts the service: its methods, consumer, saga engine, fallback for silent carriers and turning of keys.
///
/// # Errors
/// Unavailable when a pool or the HTTP client cannot be built; Internal when the master keys are none.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("shipping", &Target::new(&boot.database), boot.pool_size)?;
    let settings = boot.settings.clone();
    let vault = Vault::new(pg.clone(), Master::read(&settings.master_keys).map_err(Fault::internal)?);
    let app = App {
        store: Store::new(pg.clone(), vault.clone()),
        carrier: Fedex::new(&settings.carrier_url, settings.carrier_key.clone())?,
        peers: boot.peers.clone(),
        pages: boot.pages(),
        settings,
    };
    let ship = saga::definition(&app);
    let routes = tonic::service::Routes::new(ShippingServiceServer::new(Shipping(app.clone())))
        .add_service(CarrierWebhookServiceServer::new(Webhooks(app.clone())));
    let subscription = handlers::subscription(ship.clone());
    let (old, consumer, engine) = (pg.clone(), pg.clone(), pg);
    let jobs = vec![
        Job::new("shipping.retention", move |cancel| Retention::new(old.clone()).run(cancel).boxed()),
        Job::new("shipping.consumer", move |cancel| {
            Consumer::new(consumer.clone(), subscription.clone()).run(cancel).boxed()
        }),
        Job::new("shipping.sagas", move |cancel| {
            ::saga::Engine::new(engine.clone(), vec![ship.clone()]).run(cancel).boxed()
        }),
        Job::new("shipping.keys", move |cancel| vault.clone().turn_keys_for_ever(cancel).boxed()),
        polling::job(app),
    ];
    Ok(Mount { name: "shipping", routes, jobs })
}
