use contract::shipping::v1 as pb;
use contract::shipping::v1::shipping_service_server::ShippingService;
use ctx::Open;
use diesel_async::SimpleAsyncConnection;
use ids::TenantId;
use testkit::search::columns_with;

use super::{World, open};
use crate::api::Shipping;
use crate::polling;

const NAMES: [&str; 4] = ["Lovelace", "1 Main St", "Ockham", "90210"];

fn ask<T>(tenant: TenantId, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(Open { tenant: Some(tenant), ..open() });
    request
}

#[tokio::test]
async fn pay_12_no_table_shows_where_a_parcel_goes_and_label_and_scans_do() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    world.scan(tenant, "evt_1", shipment.id(), "IN_TRANSIT").await?;
    // The carrier's own words name the place of delivery.
    let label = shipment.label.as_ref().expect("a label");
    let told = world.app.carrier.track(&label.tracking_number).await?;
    assert!(told.iter().any(|scan| scan.location.contains("Ockham")), "{told:?}");
    let mut admin = world.db.admin().await?;
    admin.batch_execute("UPDATE om_shipping.shipments SET poll_at = now()").await?;
    assert_eq!(polling::round(&world.app).await?, 1);
    for name in NAMES.into_iter().chain(["Memphis"]) {
        assert_eq!(columns_with(&mut admin, name).await?, [""; 0], "{name}");
    }
    let methods = Shipping(world.app.clone());
    let shipment_id = shipment.id().to_string();
    let label = methods.get_label(ask(tenant, pb::GetLabelRequest { shipment_id: shipment_id.clone() })).await?;
    let printed = label.into_inner().data;
    assert!(NAMES.iter().all(|name| printed.contains(name)), "{printed}");
    let one = methods.get_shipment(ask(tenant, pb::GetShipmentRequest { shipment_id })).await?.into_inner();
    assert!(["Memphis", "Ockham"].iter().all(|at| one.scans.iter().any(|scan| scan.location.contains(at))), "{one:?}");
    let all =
        methods.list_shipments(ask(tenant, pb::ListShipmentsRequest { page_size: 10, ..Default::default() })).await?;
    assert_eq!(all.into_inner().shipments, [one]);
    Ok(())
}

#[tokio::test]
async fn pay_12_a_label_or_a_scan_of_another_parcel_or_tenant_does_not_open() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, mine) = world.sent().await?;
    let (foreign, theirs) = world.sent().await?;
    world.scan(tenant, "evt_1", mine.id(), "IN_TRANSIT").await?;
    world.scan(foreign, "evt_1", theirs.id(), "IN_TRANSIT").await?;
    let (mine_id, their_id) = (mine.id().uuid(), theirs.id().uuid());
    let mut admin = world.db.admin().await?;
    let copy = format!(
        "UPDATE om_shipping.shipments SET printed = (SELECT printed FROM om_shipping.shipments WHERE shipment_id = '{their_id}') \
         WHERE shipment_id = '{mine_id}'; \
         UPDATE om_shipping.scans SET location = (SELECT location FROM om_shipping.scans WHERE shipment_id = '{their_id}' LIMIT 1) \
         WHERE shipment_id = '{mine_id}'"
    );
    admin.batch_execute(&copy).await?;
    let store = &world.app.store;
    let copied = store.get(tenant, mine.id()).await?;
    assert!(!copied.scans.is_empty());
    let kinds = [store.label(tenant, mine.id()).await.err(), store.scans(tenant, &copied).await.err()];
    assert!(
        kinds.iter().all(|fault| fault.as_ref().map(fault::Fault::kind) == Some(fault::Kind::Internal)),
        "{kinds:?}"
    );
    assert!(store.label(foreign, theirs.id()).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn pay_12_labels_are_sealed_anew_when_the_key_turns_and_scans_open_as_they_are() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    world.scan(tenant, "evt_1", shipment.id(), "IN_TRANSIT").await?;
    let mut admin = world.db.admin().await?;
    admin.batch_execute("UPDATE om_shipping.data_keys SET created_at = now() - interval '91 days'").await?;
    assert_eq!(world.vault.turn_keys().await?, 1);
    assert_eq!(world.vault.turn_keys().await?, 0, "once");
    let store = &world.app.store;
    let label = store.label(tenant, shipment.id()).await?.expect("a label");
    assert!(label.data.contains("Ada Lovelace"));
    let scans = store.scans(tenant, &store.get(tenant, shipment.id()).await?).await?;
    assert!(scans.iter().any(|scan| scan.location == "Memphis"), "{scans:?}");
    Ok(())
}
