//! The database refuses writes of every step: what was done outside is found again and done once.

use anyhow::{Context as _, Result};
use diesel_async::SimpleAsyncConnection as _;
use reqwest::Method;
use serde_json::json;
use testkit::order;

use crate::journey::world::{Faulty, World, rows, script, text};

/// A sequence does not go back with its transaction, so it counts refusals.
const SETUP: &str = "CREATE SCHEMA torture; GRANT USAGE ON SCHEMA torture TO PUBLIC; \
    CREATE FUNCTION torture.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
      IF NEW.tenant_id = TG_ARGV[0]::uuid THEN \
        IF nextval(TG_ARGV[1]::regclass) <= TG_ARGV[2]::bigint THEN \
          RAISE EXCEPTION 'torture: % of % is refused', TG_OP, TG_TABLE_NAME; \
        END IF; \
      END IF; \
      RETURN NEW; \
    END $$";
const TEARDOWN: &str = "DROP SCHEMA torture CASCADE";

/// Each write that moves an order forward: table, operation, and which rows.
const FORWARD: [(&str, &str, &str); 21] = [
    ("om_order.orders", "UPDATE", "true"),
    ("om_order.saga_log", "INSERT", "true"),
    ("om_order.inbox", "INSERT", "true"),
    ("om_inventory.reservations", "INSERT", "true"),
    ("om_inventory.reservations", "UPDATE", "NEW.state = 2"),
    ("om_inventory.consumptions", "INSERT", "true"),
    ("om_payment.payments", "INSERT", "true"),
    ("om_payment.payments", "UPDATE", "NEW.authorized > OLD.authorized"),
    ("om_payment.payments", "UPDATE", "NEW.captured > OLD.captured"),
    ("om_payment.captures", "INSERT", "true"),
    ("om_fulfillment.fulfillments", "INSERT", "true"),
    ("om_fulfillment.fulfillments", "UPDATE", "NEW.state = 2"),
    ("om_fulfillment.fulfillments", "UPDATE", "NEW.state = 4"),
    ("om_fulfillment.fulfillments", "UPDATE", "NEW.state = 5"),
    ("om_shipping.shipments", "INSERT", "true"),
    ("om_shipping.shipments", "UPDATE", "NEW.state = 2"),
    ("om_shipping.shipments", "UPDATE", "NEW.state = 3"),
    ("om_shipping.shipments", "UPDATE", "NEW.state = 6"),
    ("om_shipping.saga_log", "INSERT", "true"),
    ("om_shipping.inbox", "INSERT", "true"),
    ("om_shipping.carrier_events", "INSERT", "true"),
];
/// Each write that takes an order back.
const BACK: [(&str, &str, &str); 5] = [
    ("om_order.sagas", "UPDATE", "NEW.phase = 'undo'"),
    ("om_inventory.reservations", "UPDATE", "NEW.state = 4"),
    ("om_payment.payments", "UPDATE", "NEW.void_requested AND NOT OLD.void_requested"),
    ("om_payment.payments", "UPDATE", "NEW.voided > OLD.voided"),
    ("om_fulfillment.fulfillments", "UPDATE", "NEW.state = 6"),
];

/// Refuses the first writes of each kind for one tenant.
async fn refuse(world: &World, writes: &[(&str, &str, &str)], times: u32) -> Result<()> {
    let mut conn = world.system.db.admin().await?;
    conn.batch_execute(SETUP).await?;
    let tenant = world.tenant().uuid();
    for (index, (table, op, which)) in writes.iter().enumerate() {
        let sql = format!(
            "CREATE SEQUENCE torture.s{index}; \
             CREATE TRIGGER torture_{index} BEFORE {op} ON {table} FOR EACH ROW WHEN ({which}) \
             EXECUTE FUNCTION torture.refuse('{tenant}', 'torture.s{index}', '{times}')"
        );
        conn.batch_execute(&sql).await.with_context(|| format!("refuse {op} of {table}"))?;
    }
    Ok(())
}

/// Ends the refusals; every kind of write must have been refused as often as was said.
async fn pardon(world: &World, writes: &[(&str, &str, &str)], times: u32) -> Result<()> {
    let mut conn = world.system.db.admin().await?;
    let counted = "SELECT jsonb_build_array(sequencename, coalesce(last_value, 0)) AS row FROM pg_sequences \
        WHERE schemaname = 'torture' AND $1 IS NOT NULL";
    let counts = rows(&mut conn, counted, world.tenant().uuid()).await?;
    conn.batch_execute(TEARDOWN).await?;
    for (index, write) in writes.iter().enumerate() {
        let name = format!("s{index}");
        let count = counts.iter().find(|count| count[0] == name.as_str()).and_then(|count| count[1].as_i64());
        anyhow::ensure!(count > Some(times.into()), "{write:?} was tried {count:?} times only");
    }
    Ok(())
}

#[tokio::test]
async fn sag_05_a_write_that_is_refused_after_the_call_had_its_effect_has_it_once() -> Result<()> {
    let faulty = Faulty::open("refused-writes").await?;
    let world = &faulty.world;
    refuse(world, &FORWARD, 2).await?;
    let arrived = world.place_until(&order(&[("LAMP-DESK", 2)]), "DELIVERED").await;
    let agreed = world.books_agree().await;
    pardon(world, &FORWARD, 2).await?;
    let arrived = arrived?;
    agreed?;
    let moves = world.money_moves(text(&arrived, "id")).await?;
    let ops: Vec<&str> = moves.iter().map(|line| text(line, "op")).collect();
    assert_eq!(ops, ["authorize", "capture"]);
    Ok(())
}

#[tokio::test]
async fn sag_05_an_undo_whose_writes_are_refused_is_done_to_its_end() -> Result<()> {
    let faulty = Faulty::open("refused-undo").await?;
    let world = &faulty.world;
    let lost = json!([{"op": "CreateOrder", "kind": "reset", "times": 100_000}]);
    script(&world.system.wms(), &lost).await?;
    let paid = world.place_until(&order(&[("LAMP-DESK", 2)]), "PAYMENT_COMPLETED").await?;
    refuse(world, &BACK, 2).await?;
    let path = format!("/api/v1/orders/{}?reason=torture", text(&paid, "id"));
    let answer = world.customer.request(Method::DELETE, &path).send().await?;
    let accepted = answer.status().is_success();
    let ended = world.until(text(&paid, "id"), "CANCELLED").await;
    let agreed = world.books_agree().await;
    pardon(world, &BACK, 2).await?;
    assert!(accepted, "{}", answer.text().await?);
    ended?;
    agreed?;
    assert_eq!(world.stock("LAMP-DESK", "OAK").await?, (40, 0));
    Ok(())
}
