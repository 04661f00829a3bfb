use std::time::Duration;

use contract::payment::v1::fraud_service_server::FraudServiceServer;
use contract::payment::v1::payment_service_server::PaymentServiceServer;
use contract::payment::v1::payment_webhook_service_server::PaymentWebhookServiceServer;
use contract::payment::v1::reconciliation_service_server::ReconciliationServiceServer;
use fault::Fault;
use futures::FutureExt;
use outbox::Retention;
use pg::{Pg, Target};
use serve::{Boot, Job, Mount};
use tonic::service::Routes;
use vault::{Master, Vault};

use crate::data::{Gateway, Store};
use crate::fraud::{Fraud, FraudGrpc};
use crate::logic::App;
use crate::presentation::Grpc;

/// One try at the provider (domain.md 4.5, step 3).
const TRY: Duration = Duration::from_secs(5);

/// Starts the service: its methods and the job that leaves no payment undecided.
///
/// # Errors
/// When the database or the provider's address cannot be used.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("payment", &Target::new(boot.database.clone()), boot.pool_size)?;
    let settings = boot.settings.clone();
    let gateway = Gateway::new(&settings, TRY)?;
    let vault = Vault::new(pg.clone(), Master::read(&settings.master_keys).map_err(Fault::internal)?);
    let store = Store::new(pg.clone(), vault.clone());
    let app = App::new(store, gateway, boot.pages(), settings, boot.tasks.clone());
    let grpc = Grpc::new(app.clone());
    let routes = Routes::new(PaymentServiceServer::new(grpc.clone()))
        .add_service(ReconciliationServiceServer::new(grpc.clone()))
        .add_service(PaymentWebhookServiceServer::new(grpc))
        .add_service(FraudServiceServer::new(FraudGrpc(Fraud::new(pg.clone(), boot.pages(), vault.clone()))));
    let mut jobs = app.jobs();
    jobs.push(Job::new("payment.retention", move |cancel| Retention::new(pg.clone()).run(cancel).boxed()));
    jobs.push(Job::new("payment.keys", move |cancel| vault.clone().turn_keys_for_ever(cancel).boxed()));
    Ok(Mount { name: "payment", routes, jobs })
}
