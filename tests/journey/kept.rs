//! What was promised to an order is kept: its stock while somebody may act, its money when a warehouse gives up.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::change::paid_and_held;
use super::payment::{finish_challenge, intent_of};
use super::world::{Faulty, PATIENCE, World, list, number, order_by, speed, state_of, text, unique};

#[tokio::test]
async fn inv_02_pay_06_stock_is_kept_while_the_customer_may_act_and_set_aside_again_when_it_ran_out() -> Result<()> {
    let world = World::open("kept").await?;
    world.policy(|policy| policy["reservationHoldS"] = json!(60)).await?;
    world.product("KEPT-1", 900, &[("OAK", 2)]).await?;
    let waiting =
        world.place_until(&order_by("pm_sim_3ds_required", &[("KEPT-1", 2)]), "PAYMENT_ACTION_REQUIRED").await?;
    let left = "SELECT to_jsonb(extract(epoch FROM expires_at - now())) AS row FROM om_inventory.reservations \
                WHERE tenant_id = $1 AND state = 1";
    let seconds = world.rows(left).await?.first().and_then(Value::as_f64).context("it is held")?;
    assert!(seconds > 900.0, "the customer has 15 minutes, the stock {seconds} s");

    // As if all of that had passed while the bank was thinking.
    let expire = "UPDATE om_inventory.reservations SET expires_at = now() WHERE tenant_id = $1 AND state = 1 \
                  RETURNING to_jsonb(1) AS row";
    assert_eq!(world.rows(expire).await?.len(), 1);
    eventually(PATIENCE, || async { Ok((world.stock("KEPT-1", "OAK").await? == (2, 0)).then_some(())) }).await?;
    finish_challenge(&world.system.payments(), &intent_of(&world, &waiting).await?, "succeed").await?;
    world.until(text(&waiting, "id"), "DELIVERED").await?;
    assert_eq!(world.stock("KEPT-1", "OAK").await?, (0, 0));
    world.books_agree().await
}

#[tokio::test]
async fn inv_02_ord_05_a_change_that_the_bank_refuses_gives_no_stock_away_meanwhile() -> Result<()> {
    let world = World::open("kept-change").await?;
    world.product("LAST-A", 900, &[("OAK", 2)]).await?;
    let order = paid_and_held(&world, &[("LAST-A", 2)]).await?;
    let id = text(&order, "id");
    // The bank has let the money go, so that it refuses more.
    let cancel = format!("/v1/payment_intents/{}/cancel", intent_of(&world, &order).await?);
    let payments = world.system.payments();
    let answer = payments.request(reqwest::Method::POST, &cancel).bearer_auth("sk_test").send().await?;
    anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
    let edits = json!({"edits": [{"line": 1, "quantity": 0}, {"sku": "CHAIR-OAK", "quantity": 2}]});
    let path = format!("/api/v1/orders/{id}/changes");
    let change = world.customer.post(&path, &edits, Some(&unique())).await?;
    let confirm = format!("{path}/{}:confirm", text(&change, "id"));
    world.customer.post(&confirm, &json!({}), Some(&unique())).await?;
    let failed = eventually(PATIENCE, || async {
        let order = world.order(id).await?;
        let over = text(&order["changes"][0], "state") == "ORDER_CHANGE_STATE_FAILED";
        Ok((over && state_of(&order) == "PAYMENT_COMPLETED").then_some(order))
    });
    assert_eq!(failed.await?["lines"], order["lines"]);
    assert_eq!(world.stock("LAST-A", "OAK").await?, (2, 2));
    // At no moment could anybody else have had one.
    let given = "SELECT to_jsonb(d_reserved) AS row FROM om_inventory.stock_ledger \
                 WHERE tenant_id = $1 AND sku = 'LAST-A' AND d_reserved < 0";
    assert_eq!(world.rows(given).await?, Vec::<Value>::new());
    let chairs = "SELECT to_jsonb(d_reserved) AS row FROM om_inventory.stock_ledger \
                  WHERE tenant_id = $1 AND sku = 'CHAIR-OAK' AND d_reserved <> 0 ORDER BY seq";
    let chairs: Vec<i64> = world.rows(chairs).await?.iter().map(number).collect();
    assert_eq!(chairs, [2, -2], "what was to come was set aside and given back");
    Ok(())
}

/// The warehouse takes an order off its list without being asked.
pub(super) async fn warehouse_cancels(world: &World, fulfillment: &str) -> Result<()> {
    let body = format!(
        "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><CancelOrderRequest>\
         <Tenant>{}</Tenant><ClientReference>{fulfillment}</ClientReference>\
         </CancelOrderRequest></s:Body></s:Envelope>",
        world.tenant()
    );
    let request = world.system.wms().request(reqwest::Method::POST, "/wms").header("content-type", "text/xml");
    let answer = request.body(body).send().await?;
    anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

pub(super) async fn fulfillments(world: &World, order: &str) -> Result<Vec<Value>> {
    Ok(list(&world.admin.get(&format!("/api/v1/fulfillments?orderId={order}")).await?, "fulfillments"))
}

#[tokio::test]
async fn sag_01_an_order_that_its_warehouse_cancels_by_itself_gives_stock_and_money_back() -> Result<()> {
    let faulty = Faulty::open("given-up").await?;
    let (world, wms) = (&faulty.world, faulty.world.system.wms());
    speed(&wms, 0.001).await?;
    let outcome = async {
        let accepted = world.place_until(&order(&[("CHAIR-OAK", 1)]), "FULFILLMENT_PENDING").await?;
        let id = text(&accepted, "id").to_owned();
        let work = fulfillments(world, &id).await?;
        warehouse_cancels(world, text(&work[0], "id")).await?;
        let cancelled = world.until(&id, "CANCELLED").await?;
        assert_eq!(text(&cancelled, "stateReason"), "WAREHOUSE_CANCELLED");
        anyhow::Ok(id)
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    let id = outcome?;
    world.books_agree().await?;
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 0));
    let moves = world.money_moves(&id).await?;
    assert_eq!(moves.iter().map(|line| text(line, "op")).collect::<Vec<_>>(), ["authorize", "void"]);
    Ok(())
}
