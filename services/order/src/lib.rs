//! Orders: placed, driven to the warehouse by a saga, and from there by what others report.
//!
//! Stores events of orders, the picture they add up to, and sagas. Publishes `order.v1`. Calls inventory (products,
//! reservations), payment, fulfillment and identity (policy). Onion: `domain` knows nobody, `app` knows the domain,
//! `infra` and `api` know both (ORD-13).

mod api;
mod app;
mod domain;
mod infra;
#[cfg(test)]
mod tests;

use contract::order::v1::order_change_service_server::OrderChangeServiceServer;
use contract::order::v1::order_query_service_server::OrderQueryServiceServer;
use contract::order::v1::order_service_server::OrderServiceServer;
use contract::order::v1::saga_service_server::SagaServiceServer;
use contract::order::v1::subscription_service_server::SubscriptionServiceServer;
use diesel_migrations::EmbeddedMigrations;
use fault::Fault;
use futures::FutureExt;
use outbox::{Consumer, Retention};
use pg::{Pg, Target};
use serve::{Boot, Job, Mount};

/// Tables and functions of the schema `om_order`.
pub const MIGRATIONS: EmbeddedMigrations = diesel_migrations::embed_migrations!("../../migrations/order");

/// Starts the service: methods, saga engine and reactions.
///
/// # Errors
/// Internal when the pool cannot be built.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("order", &Target::new(&boot.database), boot.pool_size)?;
    let app = app::App::new(boot, &pg)?;
    let (tables, safe, news) = (app.saga_tables(), app.safe.clone(), app.clone());
    let reads = app::find_orders::Reads::new(boot, &pg)?;
    let routes = tonic::service::Routes::new(OrderServiceServer::new(api::commands::Commands(app.clone())))
        .add_service(OrderQueryServiceServer::new(api::grpc::Queries { app: app.clone(), reads: reads.clone() }))
        .add_service(OrderChangeServiceServer::new(api::changes::Changes(app.clone())))
        .add_service(SubscriptionServiceServer::new(api::subscriptions::Subscriptions(app.clone())))
        .add_service(SagaServiceServer::new(api::sagas::Sagas(app.clone())));
    let (old, sagas, stuck, reactions) = (pg.clone(), pg.clone(), pg.clone(), pg);
    let watched = tables.clone();
    let jobs = vec![
        Job::new("order.copies", move |cancel| app::freshness::keep(reads.clone(), cancel).boxed()),
        app::renew_subscription::renewer(app),
        Job::new("order.keys", move |cancel| safe.clone().keep(cancel).boxed()),
        Job::new("order.retention", move |cancel| Retention::new(old.clone()).run(cancel).boxed()),
        Job::new("order.sagas", move |cancel| saga::Engine::new(sagas.clone(), tables.clone()).run(cancel).boxed()),
        Job::new("order.stuck_sagas", move |cancel| {
            saga::Monitor::new(stuck.clone(), watched.clone(), app::operate_saga::announce).run(cancel).boxed()
        }),
        Job::new("order.reactions", move |cancel| {
            Consumer::new(reactions.clone(), app::reactions::subscription(&news)).run(cancel).boxed()
        }),
    ];
    Ok(Mount { name: "order", routes, jobs })
}
