use std::io::Write;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use contract::payment::v1::PaymentState;
use ids::{OrderId, ShipmentId};
use serde_json::json;

use crate::world::{ASKED, World, amounts, minor, reason};

#[tokio::test]
async fn pay_13_every_change_is_in_the_audit_with_who_when_amount_before_and_after() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    world.capture(order, ShipmentId::new(), ASKED, true).await?;
    world.refund(&id, 1_500, "k1").await?;
    let events = world.history(&id).await?;
    let actions: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    let expected =
        ["AUTHORIZATION_REQUESTED", "AUTHORIZED", "CAPTURE_REQUESTED", "CAPTURED", "REFUND_REQUESTED", "REFUNDED"];
    assert_eq!(actions, expected);
    let mut before = None;
    for event in &events {
        assert_eq!(event.before, before, "{}", event.action);
        assert_eq!((event.actor_kind.as_str(), event.correlation_id.as_str()), ("service", "test"));
        assert!(event.occur_time.is_some() && !event.actor_id.is_empty());
        before.clone_from(&event.after);
    }
    assert_eq!(events[5].amount.as_ref().map(|amount| amount.amount_minor), Some(1_500));
    let last = before.expect("figures");
    assert_eq!((last.captured_minor, last.refunded_minor, last.refund_pending_minor), (ASKED, 1_500, 0));
    for change in ["UPDATE payment_log SET note = ''", "DELETE FROM payment_log"] {
        assert!(world.tamper(&format!("SET ROLE om_payment; {change}")).await.is_err(), "{change}");
    }
    assert_eq!(reason(world.history(&ids::PaymentId::new().to_string()).await), "PAYMENT_NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn pay_13_payments_changed_by_one_statement_are_audited_each_with_its_own_figures() -> Result<()> {
    let world = World::start().await?;
    for _ in 0..3 {
        world.authorize(OrderId::new(), "pm_sim_visa").await?;
    }
    world.tamper("UPDATE payments SET captured = 1 + (SELECT count(*) FROM payments o WHERE o.order_id < payments.order_id), revision = revision + 1").await?;
    // 1, 2 and 3 units were taken, of 0 before each.
    let told = "SELECT count(*) AS n FROM payment_log l JOIN payments p USING (payment_id) WHERE l.action = 'CAPTURED'
        AND l.seq = p.revision AND l.amount = p.captured AND l.before->>'captured' = '0'
        AND (l.after->>'captured')::bigint = p.captured AND (l.before - 'captured') = (l.after - 'captured')";
    assert_eq!(world.count(told).await?, 3);
    assert_eq!(world.count("SELECT count(*) AS n FROM payment_log WHERE action = 'CAPTURED'").await?, 3);
    Ok(())
}

#[tokio::test]
async fn pay_18_staff_marks_a_failed_payment_as_paid_with_a_reason_and_it_is_audited() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!(reason(world.mark_paid(&held.id, "cheque").await), "MARK_PAID_REFUSED", "money is held already");
    let declined = world.authorize(order, "pm_sim_declined").await?;
    assert_eq!(reason(world.mark_paid(&declined.id, " ").await), "LENGTH");
    for _ in 0..2 {
        let paid = world.mark_paid(&declined.id, "cheque 117").await?;
        assert_eq!((paid.state(), amounts(&paid)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)));
        assert!(paid.marked_paid);
    }
    assert_eq!((world.events("PaymentMarkedPaid").await?, world.events("PaymentAuthorized").await?), (1, 2));
    let last = world.history(&declined.id).await?.pop().expect("an entry");
    assert_eq!(
        (last.action.as_str(), last.note.as_str(), last.actor_kind.as_str()),
        ("MARKED_PAID", "cheque 117", "user")
    );
    world.capture(order, ShipmentId::new(), ASKED, true).await?;
    assert_eq!(reason(world.refund(&declined.id, 1, "k1").await), "PAID_OUTSIDE");
    assert_eq!(world.ledger("capture", order).await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn pay_04_a_refund_of_nothing_says_what_is_left_and_refunds_can_be_read() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    world.capture(order, ShipmentId::new(), ASKED, true).await?;
    let (refund, _) = world.refund(&id, 4_000, "k1").await?;
    for (minor, name) in [(0, "NOT_POSITIVE"), (-1, "NOT_POSITIVE"), (6_001, "REFUND_EXCEEDS_CAPTURE")] {
        let fault = world.refund(&id, minor, "k2").await.expect_err("must be refused");
        assert_eq!(fault.metadata()["remaining_minor"], "6000", "{minor}");
        assert!(fault.reason() == name || fault.violations()[0].reason == name, "{fault:?}");
    }
    assert_eq!(world.get_refund(&refund.id).await?, refund);
    assert_eq!(world.refunds(&id).await?, [refund]);
    assert_eq!(reason(world.get_refund(&ids::RefundId::new().to_string()).await), "REFUND_NOT_FOUND");
    Ok(())
}

/// Where a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn pay_05_a_scan_of_tables_and_logs_finds_no_card_number() -> Result<()> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // Beside a second one nobody caches that a line interests no one, whichever test came past it first.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.capture(order, ShipmentId::new(), ASKED, true).await?;
    for number in ["4242424242424242", "4242 4242 4242 4242", "5555-5555-5555-4444", "3782.822463.10005"] {
        let refused = [
            world.authorize(OrderId::new(), number).await.map(|_| ()),
            world.refund(number, 1, "k1").await.map(|_| ()),
            world.refund(&held.id, 1, number).await.map(|_| ()),
            world.reauthorize(&held.id, 2, number).await.map(|_| ()),
        ];
        for (at, refused) in refused.into_iter().enumerate() {
            assert_eq!(reason(refused), "CARD_NUMBER_REFUSED", "{at} {number}");
        }
        let said = String::from_utf8_lossy(&lines.0.lock().expect("no panic while locked")).into_owned();
        assert!(!said.contains(number), "a log line tells the number");
        assert!(!world.dump().await?.contains(number), "a table holds the number");
    }
    let said = lines.0.lock().expect("no panic while locked").len();
    assert!(said > 1_000, "the logs were looked at: {said}");
    Ok(())
}

#[tokio::test]
async fn pay_13_requests_refusals_and_switches_are_audited_with_amount_and_code() -> Result<()> {
    let (world, order) = (World::with_fallback().await?, OrderId::new());
    let told = async |id: &str, from: usize| -> Result<Vec<(String, i64, String)>> {
        let events = world.history(id).await?;
        Ok(events.into_iter().skip(from).map(|event| (event.action, minor(&event.amount), event.note)).collect())
    };
    let entry = |action: &str, minor: i64, note: &str| (action.to_owned(), minor, note.to_owned());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    // We believe in more than the provider holds, then in less: it refuses a capture, then an increment.
    world.tamper("UPDATE payments SET authorized = 12000, ceiling = 12000").await?;
    assert_eq!(reason(world.capture(order, ShipmentId::new(), 11_000, true).await), "CAPTURE_REFUSED");
    world.tamper("UPDATE payments SET authorized = 5000").await?;
    assert_eq!(reason(world.increment(order, 1_000, "k1").await), "INCREMENT_REFUSED");
    let expected = [
        entry("CAPTURE_REQUESTED", 11_000, ""),
        entry("CAPTURE_REFUSED", 11_000, "amount_too_large"),
        entry("INCREMENT_REQUESTED", 1_000, ""),
        entry("INCREMENT_REFUSED", 1_000, "parameter_invalid"),
    ];
    assert_eq!(told(&id, 2).await?, expected);
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let moved = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!(told(&moved.id, 1).await?[0], entry("PROVIDER_SWITCHED", ASKED, "stripe to adyen"));
    Ok(())
}
