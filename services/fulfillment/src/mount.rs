use contract::fulfillment::v1::fulfillment_query_service_server::FulfillmentQueryServiceServer;
use contract::fulfillment::v1::fulfillment_service_server::FulfillmentServiceServer;
use fault::Fault;
use futures::FutureExt;
use outbox::Retention;
use pg::{Pg, Target};
use serve::page::Pages;
use serve::{Boot, Job, Mount};
use vault::{Master, Vault};

use crate::api::{Commands, Queries};
use crate::store::Store;
use crate::wms::Wms;
use crate::wms::counter::Counter;
use crate::wms::poller::Poller;

/// What the use cases work with.
#[derive(Clone)]
pub(crate) struct App {
    pub store: Store,
    pub wms: Wms,
    pub pages: Pages,
}

/// Starts the service: its methods, its poller, the reader of stock, and the job that turns keys.
///
/// # Errors
/// Internal when the pool or the HTTP client cannot be built, or the master keys are none.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("fulfillment", &Target::new(&boot.database), boot.pool_size)?;
    let vault = Vault::new(pg.clone(), Master::read(&boot.settings.master_keys).map_err(Fault::internal)?);
    let store = Store::new(pg.clone(), vault.clone());
    let wms = Wms::new(&boot.settings.wms_url)?;
    let poller = Poller::new(store.clone(), wms.clone(), boot.settings.wms_poll);
    let counter = Counter::new(store.clone(), wms.clone(), boot.peers.clone());
    let app = App { store, wms, pages: boot.pages() };
    let routes = tonic::service::Routes::new(FulfillmentServiceServer::new(Commands(app.clone())))
        .add_service(FulfillmentQueryServiceServer::new(Queries(app)));
    let jobs = vec![
        poller.job(),
        counter.job(),
        Job::new("fulfillment.keys", move |cancel| vault.clone().turn_keys_for_ever(cancel).boxed()),
        Job::new("fulfillment.retention", move |cancel| Retention::new(pg.clone()).run(cancel).boxed()),
    ];
    Ok(Mount { name: "fulfillment", routes, jobs })
}
