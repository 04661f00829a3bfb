use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use super::caller::content;
use crate::cli::{Form, Order};
use crate::rest::{CallError, Rest};
use crate::table::{money, table};

const PAUSE: Duration = Duration::from_millis(300);

/// `ordermesh order …`.
///
/// # Errors
/// When the system refuses or is not there.
pub async fn order(args: Order) -> Result<ExitCode> {
    match args {
        Order::Get { order, with } => {
            let rest = with.caller.open().await?;
            show(&[find(&rest, &order).await?], with.output)?;
        }
        Order::List { state, limit, with } => {
            let rest = with.caller.open().await?;
            let states = state.iter().map(|state| {
                format!("&states=ORDER_STATE_{}", state.to_uppercase().trim_start_matches("ORDER_STATE_"))
            });
            let page = rest.get(&format!("/api/v1/orders?pageSize={limit}{}", states.collect::<String>())).await?;
            show(page["orders"].as_array().map(Vec::as_slice).unwrap_or_default(), with.output)?;
        }
        Order::Create { file, idempotency_key, with } => {
            let body: Value = serde_json::from_str(&content(&file)?).context("the order is not JSON")?;
            let rest = with.caller.open().await?;
            let key = idempotency_key.unwrap_or_else(|| Uuid::now_v7().simple().to_string());
            let placed = rest.post("/api/v1/orders", &body, Some(&key)).await?;
            show(std::slice::from_ref(&placed), with.output)?;
            eprintln!("placed; next: ordermesh order trace {} --follow …", id(&placed));
        }
        Order::Trace { order, follow, with } => {
            let rest = with.caller.open().await?;
            let order = find(&rest, &order).await?;
            trace(&rest, id(&order), follow, with.output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(rest: &Rest, order: &str) -> Result<Value> {
    let Ok(number) = order.trim_start_matches('#').parse::<u64>() else {
        return rest.get(&format!("/api/v1/orders/{order}")).await;
    };
    let page = rest.get(&format!("/api/v1/orders?orderNumber={number}")).await?;
    let missing = || CallError::Refused {
        status: 404,
        reason: "ORDER_NOT_FOUND".to_owned(),
        detail: format!("there is no order number {number}"),
        errors: Vec::new(),
    };
    Ok(page["orders"].get(0).cloned().ok_or_else(missing)?)
}

async fn trace(rest: &Rest, order: &str, follow: bool, form: Form) -> Result<()> {
    let mut printed = 0;
    loop {
        let saga = rest.get(&format!("/api/v1/sagas/{order}")).await?;
        if form == Form::Json {
            println!("{}", serde_json::to_string_pretty(&saga)?);
        } else {
            let log = saga["log"].as_array().map(Vec::as_slice).unwrap_or_default();
            for entry in log.iter().skip(printed) {
                match form {
                    Form::Jsonl => println!("{entry}"),
                    _ => println!("{}", step(entry)),
                }
            }
            printed = log.len();
        }
        let state = text(&saga, "state").trim_start_matches("SAGA_STATE_").to_owned();
        if !follow || !matches!(state.as_str(), "RUNNING" | "WAITING" | "COMPENSATING") {
            eprintln!("{} of {order}: {state}, next step {}", text(&saga, "kind"), text(&saga, "step"));
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// "10:00:00.1  reserve              do    DONE  …"
fn step(entry: &Value) -> String {
    let time = text(entry, "occurTime").split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
    let sign = if text(entry, "phase") == "undo" { "↶" } else { "·" };
    let name = text(entry, "step");
    format!("{time:<15.12} {sign} {name:<22} {:<11} {}", text(entry, "outcome"), text(entry, "detail"))
        .trim_end()
        .to_owned()
}

fn show(orders: &[Value], form: Form) -> Result<()> {
    match form {
        Form::Json if orders.len() == 1 => println!("{}", serde_json::to_string_pretty(&orders[0])?),
        Form::Json => println!("{}", serde_json::to_string_pretty(&json!(orders))?),
        Form::Jsonl => orders.iter().for_each(|order| println!("{order}")),
        Form::Table => print!("{}", table(&["number", "id", "state", "total", "placed", "reason"], &rows(orders))),
    }
    Ok(())
}

fn rows(orders: &[Value]) -> Vec<Vec<String>> {
    let row = |order: &Value| {
        vec![
            text(order, "orderNumber").to_owned(),
            id(order).to_owned(),
            text(order, "state").trim_start_matches("ORDER_STATE_").to_owned(),
            money(&order["totals"]["total"]),
            text(order, "createTime").chars().take("2026-11-21T10:00:00".len()).collect(),
            text(order, "stateReason").to_owned(),
        ]
    };
    orders.iter().map(row).collect()
}

fn id(order: &Value) -> &str {
    text(order, "id")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
