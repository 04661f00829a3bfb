//! Buying a label once, and giving it back (SHP-01).

use eventlog::NewEvent;
use fault::Fault;
use ids::TenantId;
use saga::{Append, Outcome, Run};
use serde_json::{Value, json};

use crate::carriers::{Bought, CarrierError, Parcel};
use crate::events;
use crate::model::{Address, Label, Shipment};
use crate::mount::App;
use crate::saga::shipment_id;
use crate::scans::State;

/// Saga step: buys the label of a shipment.
///
/// Intent row, call, result in the saga's commit. When the intent was there before, a try may have ended between call
/// and commit: the carrier is first asked what it sold under our reference.
pub(crate) async fn purchase(app: &App, run: Run) -> Outcome {
    let (asked, shipment) = match app.store.intend_label(run.ctx.tenant, shipment_id(&run)).await {
        Ok(found) => found,
        Err(fault) => return Outcome::of_fault(&fault, run.state),
    };
    if shipment.label.is_some() {
        return Outcome::done(run.state);
    }
    let (from, to) = match ends(app, &run, &shipment).await {
        Ok(ends) => ends,
        Err(fault) => return Outcome::of_fault(&fault, run.state),
    };
    let parcel = Parcel {
        reference: shipment.id(),
        service: &shipment.body.service,
        from: &from,
        to: &to,
        weight_grams: shipment.body.weight_grams,
    };
    match buy(app, run.ctx.tenant, &parcel, asked || run.attempt > 1).await {
        Ok(bought) if bought.label.void => Outcome::Attention { reason: "LABEL_VOIDED".to_owned() },
        Ok(bought) => {
            // What is printed names people (PAY-12).
            let printed = match app.store.sealed_printed(run.ctx.tenant, shipment.id(), &bought.data).await {
                Ok(printed) => printed,
                Err(fault) => return Outcome::of_fault(&fault, run.state),
            };
            let event = events::label_purchased(&shipment, &bought.label);
            let doc = json!({"state": State::Labeled as i16, "label": bought.label, "printed": printed});
            Outcome::Done { state: run.state, append: Some(append(&shipment, vec![event], doc)) }
        }
        Err(error) => outcome_of(&error, run.state),
    }
}

async fn ends(app: &App, run: &Run, shipment: &Shipment) -> Result<(Address, Address), Fault> {
    let from = crate::saga::origin(app, &run.ctx, &shipment.body.warehouse).await?;
    Ok((from, crate::saga::destination(app, &run.ctx, shipment).await?))
}

async fn buy(app: &App, tenant: TenantId, parcel: &Parcel<'_>, look_first: bool) -> Result<Bought, CarrierError> {
    if look_first && let Some(bought) = app.carrier.find(tenant, parcel.reference).await? {
        return Ok(bought);
    }
    app.carrier.purchase(tenant, parcel).await
}

/// Saga undo: gives the label back, also one that was bought without our hearing of it.
pub(crate) async fn void(app: &App, run: Run) -> Outcome {
    match give_back(app, &run).await {
        Ok(None) => Outcome::done(run.state),
        Ok(Some((shipment, label))) => {
            let doc = json!({"label": Label { void: true, ..label }});
            Outcome::Done { state: run.state, append: Some(append(&shipment, Vec::new(), doc)) }
        }
        Err(Undo::Carrier(error)) => outcome_of(&error, run.state),
        Err(Undo::Own(fault)) => Outcome::of_fault(&fault, run.state),
    }
}

enum Undo {
    Carrier(CarrierError),
    Own(Fault),
}

async fn give_back(app: &App, run: &Run) -> Result<Option<(Shipment, Label)>, Undo> {
    let tenant = run.ctx.tenant;
    let shipment = app.store.get(tenant, shipment_id(run)).await.map_err(Undo::Own)?;
    let Some(bought) = app.carrier.find(tenant, shipment.id()).await.map_err(Undo::Carrier)? else { return Ok(None) };
    if !bought.label.void {
        app.carrier.void(&bought.label.carrier_id).await.map_err(Undo::Carrier)?;
    }
    Ok(Some((shipment, bought.label)))
}

/// What a carrier's error means for a saga: wait as long as it says, try again what may pass, ask a person else.
pub(crate) fn outcome_of(error: &CarrierError, state: Value) -> Outcome {
    match error {
        CarrierError::Busy { wait } => Outcome::Wait { state, at_most: *wait, append: None },
        CarrierError::Refused { .. } => Outcome::Attention { reason: error.to_string() },
        CarrierError::Broken { .. } | CarrierError::Http(_) => Outcome::Retry { reason: error.to_string() },
    }
}

pub(crate) fn append(shipment: &Shipment, events: Vec<NewEvent>, doc: Value) -> Append {
    Append { stream: shipment.id().uuid(), expected: shipment.version, events, doc }
}
