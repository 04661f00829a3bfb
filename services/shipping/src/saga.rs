//! The saga of a parcel: label, money, stock, release, shipped (`domain.md` 4.5 "Ship").
//!
//! Every step is safe to repeat and is repeated for about a day, then a person has to look. There is no way back: a
//! refused capture holds the parcel and its label, it does not throw them away.

use std::time::Duration;

use contract::fulfillment::v1::fulfillment_query_service_client::FulfillmentQueryServiceClient;
use contract::fulfillment::v1::fulfillment_service_client::FulfillmentServiceClient;
use contract::fulfillment::v1::{GetFulfillmentRequest, ShipFulfillmentRequest};
use contract::inventory::v1::reservation_service_client::ReservationServiceClient;
use contract::inventory::v1::warehouse_service_client::WarehouseServiceClient;
use contract::inventory::v1::{ConsumeReservationRequest, GetWarehouseRequest};
use contract::payment::v1::CapturePaymentRequest;
use contract::payment::v1::payment_service_client::PaymentServiceClient;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::ShipmentId;
use saga::{Definition, Outcome, Run, Step};
use serde_json::json;

use crate::api::wire;
use crate::events;
use crate::labels;
use crate::model::{Address, Label, Shipment};
use crate::mount::App;
use crate::scans::State;
use crate::store::Heard;

/// With the pauses below, tries for about 24 hours.
const TRIES: i32 = 300;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(300));

/// The shipment that a saga is about: they share their id.
pub(crate) fn shipment_id(run: &Run) -> ShipmentId {
    ShipmentId::from_uuid(run.saga_id)
}

/// The table of the saga; `rev` is its revision in stored sagas.
pub(crate) fn definition(app: &App) -> Definition {
    macro_rules! step {
        ($name:literal, $action:path, $timeout_s:literal) => {{
            let app = app.clone();
            let action = move |run: Run| {
                let app = app.clone();
                async move { $action(&app, run).await }.boxed()
            };
            let timeout = Duration::from_secs($timeout_s);
            Step::new($name, action).timeout(timeout).tries(TRIES).backoff(BACKOFF.0, BACKOFF.1).forward_only()
        }};
    }
    let undoing = app.clone();
    let void = move |run: Run| {
        let app = undoing.clone();
        async move { labels::void(&app, run).await }.boxed()
    };
    let steps = vec![
        step!("purchase_label", labels::purchase, 25).undo(void),
        step!("capture_payment", capture, 20),
        step!("consume_reservation", consume, 8),
        step!("release", release, 45),
        step!("ship", ship, 5),
        step!("fold_early_scans", fold_early_scans, 5),
    ];
    Definition::new("ship", 1, steps)
}

/// Where parcels of a warehouse come from.
///
/// # Errors
/// What inventory says; Internal when it knows no address.
pub(crate) async fn origin(app: &App, ctx: &Ctx, warehouse: &str) -> Result<Address, Fault> {
    let mut inventory = WarehouseServiceClient::new(app.peers.to("inventory"));
    let request = app.peers.request(ctx, GetWarehouseRequest { code: warehouse.to_owned() });
    let warehouse = inventory.get_warehouse(request).await.map_err(Fault::from)?.into_inner();
    let address = warehouse.address.ok_or_else(|| Fault::internal("a warehouse without an address"))?;
    Ok(wire::address(address))
}

/// Where a parcel goes; fulfillment keeps the address and we do not (PAY-12).
///
/// # Errors
/// What fulfillment says; Internal when it knows no address.
pub(crate) async fn destination(app: &App, ctx: &Ctx, shipment: &Shipment) -> Result<Address, Fault> {
    let mut fulfillment = FulfillmentQueryServiceClient::new(app.peers.to("fulfillment"));
    let message = GetFulfillmentRequest { fulfillment_id: shipment.fulfillment().to_string() };
    let work = fulfillment.get_fulfillment(app.peers.request(ctx, message)).await.map_err(Fault::from)?.into_inner();
    let address = work.ship_to.ok_or_else(|| Fault::internal("a fulfillment without an address"))?;
    Ok(wire::address(address))
}

/// Money before the parcel leaves; the shipment is the key, so that it is taken once.
async fn capture(app: &App, run: Run) -> Outcome {
    step(app, run, async |app, run, shipment| {
        if shipment.body.capture.minor == 0 {
            return Ok(());
        }
        let message = CapturePaymentRequest {
            order_id: shipment.order().to_string(),
            shipment_id: shipment.id().to_string(),
            amount: Some(wire::money(&shipment.body.capture)),
            r#final: shipment.body.final_capture,
        };
        let mut payment = PaymentServiceClient::new(app.peers.to("payment"));
        payment.capture_payment(app.peers.request(&run.ctx, message)).await?;
        Ok(())
    })
    .await
}

async fn consume(app: &App, run: Run) -> Outcome {
    step(app, run, async |app, run, shipment| {
        let message = ConsumeReservationRequest {
            order_id: shipment.order().to_string(),
            shipment_id: shipment.id().to_string(),
            warehouse: shipment.body.warehouse.clone(),
            lines: wire::demand(&shipment.body.lines),
        };
        let mut inventory = ReservationServiceClient::new(app.peers.to("inventory"));
        inventory.consume_reservation(app.peers.request(&run.ctx, message)).await?;
        Ok(())
    })
    .await
}

/// The warehouse lets the parcel go, then the carrier takes it.
async fn release(app: &App, run: Run) -> Outcome {
    let (shipment, label) = match labeled(app, &run).await {
        Ok(found) => found,
        Err(fault) => return Outcome::of_fault(&fault, run.state),
    };
    let message = ShipFulfillmentRequest {
        fulfillment_id: shipment.fulfillment().to_string(),
        carrier: label.carrier.clone(),
        tracking_number: label.tracking_number.clone(),
    };
    let mut fulfillment = FulfillmentServiceClient::new(app.peers.to("fulfillment"));
    if let Err(status) = fulfillment.ship_fulfillment(app.peers.request(&run.ctx, message)).await {
        return Outcome::of_fault(&status.into(), run.state);
    }
    match app.carrier.hand_over(&label.carrier_id).await {
        Ok(()) => Outcome::done(run.state),
        Err(error) => labels::outcome_of(&error, run.state),
    }
}

async fn ship(app: &App, run: Run) -> Outcome {
    let (shipment, label) = match labeled(app, &run).await {
        Ok(found) => found,
        Err(fault) => return Outcome::of_fault(&fault, run.state),
    };
    if shipment.state >= State::Shipped {
        return Outcome::done(run.state);
    }
    let doc = json!({"state": State::Shipped as i16, "poll_at": app.poll_at(run.ctx.now)});
    let event = events::shipped(&shipment, &label);
    Outcome::Done { state: run.state, append: Some(labels::append(&shipment, vec![event], doc)) }
}

/// Scans that came before the parcel had left our books were kept and count from here on.
async fn fold_early_scans(app: &App, run: Run) -> Outcome {
    let heard = Heard {
        shipment: shipment_id(&run),
        carrier: String::new(),
        event_id: None,
        scans: Vec::new(),
        poll_at: app.poll_at(run.ctx.now),
    };
    match app.store.hear(&run.ctx, heard).await {
        Ok(()) => Outcome::done(run.state),
        Err(fault) => Outcome::of_fault(&fault, run.state),
    }
}

/// One call about a shipment.
async fn step(
    app: &App,
    run: Run,
    call: impl AsyncFnOnce(&App, &Run, &Shipment) -> Result<(), tonic::Status>,
) -> Outcome {
    let result = match app.store.get(run.ctx.tenant, shipment_id(&run)).await {
        Ok(shipment) => call(app, &run, &shipment).await.map_err(Fault::from),
        Err(fault) => Err(fault),
    };
    match result {
        Ok(()) => Outcome::done(run.state),
        Err(fault) => Outcome::of_fault(&fault, run.state),
    }
}

async fn labeled(app: &App, run: &Run) -> Result<(Shipment, Label), Fault> {
    let shipment = app.store.get(run.ctx.tenant, shipment_id(run)).await?;
    match shipment.label.clone() {
        Some(label) if !label.void => Ok((shipment, label)),
        Some(_) | None => Err(Fault::precondition("LABEL_NOT_PURCHASED", "a parcel cannot leave without its label")),
    }
}
