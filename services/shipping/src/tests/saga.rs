use contract::shipping::v1 as pb;
use contract::shipping::v1::shipping_service_server::ShippingService;
use futures::future::try_join_all;
use ids::TenantId;
use serde_json::json;

use super::{World, open, work};
use crate::api::Shipping;
use crate::scans::State;

#[tokio::test]
async fn shp_01_a_packed_parcel_gets_its_label_its_money_and_leaves() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, work) = (TenantId::new(), work());
    try_join_all((0..5).map(|_| world.packed(tenant, work.clone()))).await?;
    world.saga_is(tenant, "completed").await?;
    let shipment = world.shipment(tenant).await?;
    assert_eq!(shipment.state, State::Shipped);
    let label = shipment.label.as_ref().expect("a label");
    assert_eq!((world.did("label").await?, world.did("handover").await?), (1, 1));
    let notes = std::mem::take(&mut *world.others.notes());
    assert_eq!((notes.captures.len(), notes.consumed.len(), notes.released.len()), (1, 1, 1));
    let capture = &notes.captures[0];
    assert_eq!((&capture.order_id, &capture.shipment_id), (&work.order_id, &shipment.id().to_string()));
    assert_eq!((capture.amount.as_ref(), capture.r#final), (work.capture_amount.as_ref(), true));
    assert_eq!((notes.consumed[0].warehouse.as_str(), notes.consumed[0].lines[0].quantity), ("W1", 2));
    assert_eq!(notes.released[0].fulfillment_id, work.id);
    assert_eq!(notes.released[0].tracking_number, label.tracking_number);
    assert_eq!(world.events().await?, ["ShipmentCreated", "LabelPurchased", "ShipmentShipped"]);
    Ok(())
}

#[tokio::test]
async fn shp_01_whatever_the_carrier_does_one_label_is_bought() -> anyhow::Result<()> {
    for kind in ["reset_after", "reset", "error500"] {
        let world = World::start().await?;
        let tenant = TenantId::new();
        world.faults(json!([{"op": "shipments.create", "kind": kind, "times": 2}])).await?;
        world.packed(tenant, work()).await?;
        world.saga_is(tenant, "completed").await?;
        assert_eq!(world.did("label").await?, 1, "{kind}");
        let calls: serde_json::Value = world.http.send("calls", world.http.get("/_sim/calls")).await?.json()?;
        assert_eq!(
            calls["shipments.find"],
            if kind == "reset_after" { 1 } else { 2 },
            "{kind}: later tries look first"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_capture_holds_the_parcel_and_asks_for_a_person() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    world.others.notes().refuse_capture = Some("CAPTURE_EXCEEDS_AUTHORIZATION");
    world.packed(tenant, work()).await?;
    let saga = world.saga_is(tenant, "attention").await?;
    assert_eq!(saga.log.last().expect("a reason").detail, "CAPTURE_EXCEEDS_AUTHORIZATION");
    let notes = std::mem::take(&mut *world.others.notes());
    assert!(notes.consumed.is_empty() && notes.released.is_empty(), "nothing left without its money");
    assert_eq!((world.did("void").await?, world.did("handover").await?), (0, 0));
    assert_eq!(world.shipment(tenant).await?.state, State::Labeled);
    Ok(())
}

#[tokio::test]
async fn services_that_are_away_for_a_while_are_waited_for() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    world.others.notes().unavailable = 8;
    world.packed(tenant, work()).await?;
    world.saga_is(tenant, "completed").await?;
    assert_eq!(world.others.notes().captures.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_parcel_that_costs_nothing_leaves_without_a_capture() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    let mut gift = work();
    gift.capture_amount.as_mut().expect("money").amount_minor = 0;
    world.packed(tenant, gift).await?;
    world.saga_is(tenant, "completed").await?;
    assert!(world.others.notes().captures.is_empty());
    Ok(())
}

#[tokio::test]
async fn shp_09_there_is_no_label_to_print_before_it_is_bought() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    world.faults(json!([{"op": "shipments.create", "kind": "error500", "times": 3}])).await?;
    world.packed(tenant, work()).await?;
    let shipment_id = world.shipment(tenant).await?.id().to_string();
    let ask = |tenant| {
        let mut request = tonic::Request::new(pb::GetLabelRequest { shipment_id: shipment_id.clone() });
        request.extensions_mut().insert(ctx::Open { tenant: Some(tenant), ..open() });
        request
    };
    let methods = Shipping(world.app.clone());
    let refused = fault::Fault::from(methods.get_label(ask(tenant)).await.expect_err("not bought yet"));
    assert_eq!((refused.kind(), refused.reason()), (fault::Kind::Precondition, "LABEL_NOT_PURCHASED"));
    world.saga_is(tenant, "completed").await?;
    let label = methods.get_label(ask(tenant)).await?.into_inner();
    assert_eq!(label.format, "ZPL");
    assert!(label.data.starts_with("^XA"));
    let foreign = fault::Fault::from(methods.get_label(ask(TenantId::new())).await.expect_err("another tenant's"));
    assert_eq!(foreign.reason(), "SHIPMENT_NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn an_undone_label_is_given_back_at_the_carrier() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    world.others.notes().refuse_capture = Some("NO");
    world.packed(tenant, work()).await?;
    world.saga_is(tenant, "attention").await?;
    let shipment = world.shipment(tenant).await?;
    let run = ::saga::Run {
        ctx: ctx::Ctx::service("shipping", tenant, ctx::Cause::default(), jiff::Timestamp::now()),
        saga_id: shipment.id().uuid(),
        state: json!({}),
        attempt: 1,
        key: "undo".into(),
        undo_reason: Some("test".into()),
    };
    for _ in 0..2 {
        let undone = crate::labels::void(&world.app, run.clone()).await;
        assert!(matches!(undone, ::saga::Outcome::Done { append: Some(_), .. }), "{undone:?}");
    }
    assert_eq!(world.did("void").await?, 1);
    Ok(())
}
