//! Orders: placed, driven to the warehouse by a saga, and from there by what others report.
//!
//! Stores events of orders, the picture they add up to, and sagas. Publishes `order.v1`. Calls inventory (products,
//! reservations), payment, fulfillment and identity (policy). Onion: `domain` knows nobody, `app` knows the domain,
//! `infra` and `api` know both (ORD-13).

mod api;
mod app;
mod domain;
mod infra;

use contract::order::v1::order_query_service_server::OrderQueryServiceServer;
use contract::order::v1::order_service_server::OrderServiceServer;
use contract::order::v1::saga_service_server::SagaServiceServer;
use diesel_migrations::EmbeddedMigrations;
use fault::Fault;
use futures::FutureExt;
use outbox::{Consumer, Relay};
use pg::{Pg, Target};
use serve::{Boot, Job, Mount};

/// Tables and functions of the schema `om_order`.
pub const MIGRATIONS: EmbeddedMigrations = diesel_migrations::embed_migrations!("../../migrations/order");

/// Starts the service: methods, saga engine, relay and reactions.
///
/// # Errors
/// Internal when the pool cannot be built.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("order", &Target::new(&boot.database), boot.pool_size)?;
    let store = infra::store::Store { pg: pg.clone() };
    let catalog = infra::catalog::Catalog::new(boot.peers.clone());
    let table = app::place_saga::definition(store.clone(), boot.peers.clone());
    let placements = infra::placements::Placements::new(pg.clone(), table.clone());
    let app = app::App { store, catalog: catalog.clone(), placements, pages: boot.pages() };
    let routes = tonic::service::Routes::new(OrderServiceServer::new(api::grpc::Commands(app.clone())))
        .add_service(OrderQueryServiceServer::new(api::grpc::Queries(app.clone())))
        .add_service(SagaServiceServer::new(api::grpc::Sagas(app)));
    let (relay, sagas, reactions) = (pg.clone(), pg.clone(), pg);
    let jobs = vec![
        Job::new("order.relay", move |cancel| Relay::new(relay.clone()).run(cancel).boxed()),
        Job::new("order.sagas", move |cancel| {
            saga::Engine::new(sagas.clone(), vec![table.clone()]).run(cancel).boxed()
        }),
        Job::new("order.reactions", move |cancel| {
            let subscription = app::reactions::subscription(catalog.clone());
            Consumer::new(reactions.clone(), subscription).run(cancel).boxed()
        }),
    ];
    Ok(Mount { name: "order", routes, jobs })
}
