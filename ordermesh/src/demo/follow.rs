use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use simulators::Simulators;

use super::ledgers::mails;
use super::plan::{Desks, Placed};
use super::text;
use crate::rest::Rest;

const PAUSE: Duration = Duration::from_millis(100);

/// Prints a line for every change until all orders are where the file wants them, or time is up.
///
/// # Errors
/// When the REST edge refuses.
pub(super) async fn to_the_end(
    desks: &Desks,
    payments: &Rest,
    mut placed: Vec<Placed>,
    limit: Duration,
) -> Result<Vec<Placed>> {
    let start = Instant::now();
    placed.iter().for_each(|order| say(start, order, "placed"));
    while start.elapsed() < limit && !placed.iter().all(settled) {
        let seen = look(desks).await?;
        for order in &mut placed {
            let Some(now) = seen.get(order.id()) else { continue };
            let before = std::mem::replace(&mut order.order, now.clone());
            if before["state"] == now["state"] {
                continue;
            }
            say(start, order, order.state());
            if order.state() == "PAYMENT_ACTION_REQUIRED" && order.plan.customer.is_some() {
                act_as_customer(desks, payments, order).await?;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    // The money of a delivered order is summed up a moment after its state.
    let seen = look(desks).await?;
    for order in &mut placed {
        order.order = seen.get(order.id()).cloned().unwrap_or_default();
    }
    Ok(placed)
}

/// Waits until the mail sink has a confirmation for each delivered order, or time is up.
///
/// # Errors
/// When the sink cannot be asked.
pub(super) async fn until_told(simulators: &Simulators, ended: &[Placed], limit: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < limit {
        let mails = mails(simulators).await?;
        if ended.iter().filter(|order| order.delivered()).all(|order| mails.contains_key(&order.confirmation())) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// At its end, right or wrong, with its money where it belongs.
fn settled(order: &Placed) -> bool {
    match order.state() {
        "DELIVERED" => order.order["payment"]["captured"] == order.order["totals"]["total"],
        "PAYMENT_FAILED" | "FAILED" | "CANCELLED" | "REFUNDED" => true,
        _ => false,
    }
}

async fn look(desks: &Desks) -> Result<HashMap<String, Value>> {
    let mut seen = HashMap::new();
    for desk in &desks.0 {
        let page = desk.staff.get("/api/v1/orders?pageSize=100").await?;
        let orders = page["orders"].as_array().cloned().unwrap_or_default();
        seen.extend(orders.into_iter().map(|order| (text(&order, "id").to_owned(), order)));
    }
    Ok(seen)
}

/// What a customer does on the bank's page.
async fn act_as_customer(desks: &Desks, payments: &Rest, order: &Placed) -> Result<()> {
    let id = text(&order.order["payment"], "paymentId");
    let payment = desks.of(&order.plan.tenant)?.staff.get(&format!("/api/v1/payments/{id}")).await?;
    let reference = text(&payment, "providerReference");
    let path = format!("/_sim/payment_intents/{reference}/complete_action");
    payments.post(&path, &json!({"outcome": "succeed"}), None).await?;
    println!("         {:<12} the customer passes 3-D Secure", order.name());
    Ok(())
}

fn say(start: Instant, order: &Placed, what: &str) {
    println!("{:>6.2} s  {:<12} {what}", start.elapsed().as_secs_f64(), order.name());
}
