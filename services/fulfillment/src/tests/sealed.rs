use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_query_service_server::FulfillmentQueryService;
use contract::fulfillment::v1::fulfillment_service_server::FulfillmentService;
use ctx::{Cause, Open, Principal};
use diesel_async::SimpleAsyncConnection;
use ids::{OrderId, TenantId};
use jiff::Timestamp;
use testkit::search::columns_with;

use super::{World, all, ctx_of, wish};
use crate::api::{Commands, Queries};
use crate::commands::{cancel, create};
use crate::store::Store;

const NAMES: [&str; 4] = ["Lovelace", "1 Main St", "London", "W1A 1AA"];

fn ask<T>(tenant: TenantId, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let principal = Principal::Service { name: "order".into() };
    let open = Open {
        tenant: Some(tenant),
        principal,
        cause: Cause::default(),
        deadline: None,
        now: Timestamp::now(),
        idempotency: None,
    };
    request.extensions_mut().insert(open);
    request
}

#[tokio::test]
async fn pay_12_no_table_shows_where_a_parcel_goes_and_whoever_may_know_is_told() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let tenant = TenantId::new();
    let ctx = ctx_of(tenant);
    let order = OrderId::new();
    let work = create::run(&world.app, &ctx, wish(order, "W1")).await?;
    let taken = create::run(&world.app, &ctx, wish(OrderId::new(), "W2")).await?;
    cancel::run(&world.app, &ctx, all(taken.order())).await?;
    world.sims.set_speed(1e9);
    world.poll().await?;
    assert!(world.names().await?.contains(&"FulfillmentPacked".to_owned()));
    let mut admin = world.db.admin().await?;
    for name in NAMES {
        assert_eq!(columns_with(&mut admin, name).await?, [""; 0], "{name}");
    }
    let (commands, queries) = (Commands(world.app.clone()), Queries(world.app.clone()));
    let one = pb::GetFulfillmentRequest { fulfillment_id: work.id().to_string() };
    let one = queries.get_fulfillment(ask(tenant, one)).await?.into_inner().ship_to.expect("an address");
    assert_eq!(
        [&one.recipient, &one.line1, &one.city, &one.postal_code],
        ["Ada <Lovelace> & Co", NAMES[1], NAMES[2], NAMES[3]]
    );
    let list = pb::ListFulfillmentsRequest { page_size: 10, ..Default::default() };
    let list = queries.list_fulfillments(ask(tenant, list)).await?.into_inner().fulfillments;
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|work| work.ship_to.as_ref() == Some(&one)));
    let again = pb::CancelFulfillmentRequest { order_id: taken.order().to_string(), revision: 0 };
    let again = commands.cancel_fulfillment(ask(tenant, again)).await?.into_inner().fulfillments;
    assert_eq!(again[0].ship_to.as_ref(), Some(&one));
    Ok(())
}

#[tokio::test]
async fn pay_12_an_address_of_another_row_or_tenant_does_not_open() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (mine, theirs) = (ctx_of(TenantId::new()), ctx_of(TenantId::new()));
    let first = create::run(&world.app, &mine, wish(OrderId::new(), "W1")).await?;
    let second = create::run(&world.app, &mine, wish(OrderId::new(), "W1")).await?;
    let foreign = create::run(&world.app, &theirs, wish(OrderId::new(), "W1")).await?;
    let store = &world.app.store;
    for other in [&second, &foreign] {
        let mut admin = world.db.admin().await?;
        let copy = format!(
            "UPDATE om_fulfillment.fulfillments SET ship_to = (SELECT ship_to FROM om_fulfillment.fulfillments \
             WHERE fulfillment_id = '{}') WHERE fulfillment_id = '{}'",
            other.id().uuid(),
            first.id().uuid()
        );
        admin.batch_execute(&copy).await?;
        let copied = store.get(mine.tenant, first.id()).await?;
        let fault = store.address(mine.tenant, &copied).await.err().expect("it does not open");
        assert_eq!(fault.kind(), fault::Kind::Internal);
    }
    assert_eq!(store.address(mine.tenant, &second).await?.line1, "1 Main St");
    // Work of one tenant is no work of another, whatever the id.
    assert!(store.address(theirs.tenant, &second).await.is_err());
    Ok(())
}

#[tokio::test]
async fn pay_12_addresses_are_sealed_anew_when_the_key_turns_and_open_all_the_while() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?);
    }
    assert_eq!(world.vault.turn_keys().await?, 0, "no key is old");
    let mut admin = world.db.admin().await?;
    admin.batch_execute("UPDATE om_fulfillment.data_keys SET created_at = now() - interval '91 days'").await?;
    assert_eq!(world.vault.turn_keys().await?, 3);
    assert_eq!(world.vault.turn_keys().await?, 0, "once");
    // A process that has read the keys before, and one that has not.
    let fresh = Store::new(world.db.pg("fulfillment"), super::vault(&world.db)?);
    for before in made {
        let after = fresh.get(ctx.tenant, before.id()).await?;
        assert_ne!(after.ship_to, before.ship_to);
        assert_eq!(fresh.address(ctx.tenant, &after).await?.recipient, "Ada <Lovelace> & Co");
        assert_eq!(world.app.store.address(ctx.tenant, &before).await?.recipient, "Ada <Lovelace> & Co");
    }
    Ok(())
}
