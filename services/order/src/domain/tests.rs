use std::collections::BTreeMap;
use std::sync::Arc;

use contract::common::v1::{Address, Money};
use contract::fulfillment::v1::FulfillmentLine;
use contract::identity::v1::{ShippingRate, TaxRounding, TaxRule, TenantPolicy};
use contract::inventory::v1::Product;
use contract::order::v1 as wire;
use contract::order::v1::{OrderChangeState as C, OrderItem, OrderState as S};
use fault::Violations;
use proptest::prelude::*;
use prost_types::Timestamp;

use super::basket::{Basket, Quote, Stage, quote};
use super::change::edit;
use super::draft::ItemChange;
use super::event::OrderEvent;
use super::order::{Order, Refusal};
use super::promotion::Wanted;
use super::state::{is_lock, lifecycle, may, retail};

const AT: Timestamp = Timestamp { seconds: 1_900_000_000, nanos: 0 };

fn states() -> impl Iterator<Item = S> + Clone {
    (0..=18).map(|number| S::try_from(number).expect("states are numbered without gaps"))
}

fn changed(to: S) -> OrderEvent {
    OrderEvent::StatusChanged(wire::OrderStatusChanged { to: to.into(), ..Default::default() })
}

/// An order of two units in a state.
fn order_in(state: S) -> Order {
    let lines = vec![wire::OrderLine { line: 1, quantity: 2, ..Default::default() }];
    let created = wire::OrderCreated { order_id: "ord_1".to_owned(), lines, ..Default::default() };
    let mut order = Order::default().after(&Order::place(created), AT);
    order.apply(&changed(state), AT);
    order
}

#[test]
fn ord_28_a_legal_step_is_one_event_and_an_illegal_one_is_refused_for_all_pairs() {
    for (from, to) in states().flat_map(|from| states().map(move |to| (from, to))) {
        let order = order_in(from);
        let locked = from == S::CancellationPending && to != S::Cancelled;
        match order.to(to, "WHY") {
            Ok(OrderEvent::StatusChanged(said)) => {
                assert!(may(from, to) && !locked, "{from:?} -> {to:?}");
                assert_eq!((said.from(), said.to(), said.reason.as_str()), (from, to, "WHY"));
                assert_eq!(order.after(&[OrderEvent::StatusChanged(said)], AT).state(), to);
            }
            Ok(other) => panic!("{from:?} -> {to:?}: {other:?}"),
            Err(Refusal::Already) => assert_eq!(from, to),
            Err(Refusal::State(state)) => {
                assert_eq!(state, from);
                assert!(!may(from, to) || locked, "{from:?} -> {to:?}");
            }
            Err(other) => panic!("{from:?} -> {to:?}: {other:?}"),
        }
    }
}

/// Every decision of the aggregate, on an order of two units with one parcel of one unit.
fn decisions(order: &Order) -> Vec<(&'static str, Result<Vec<OrderEvent>, Refusal>)> {
    let part = [FulfillmentLine { line: 1, sku: String::new(), quantity: 1 }];
    let parcel = wire::ShipmentSummary { shipment_id: "shp_2".to_owned(), ..Default::default() };
    let money = Money { currency_code: "USD".to_owned(), amount_minor: 1 };
    vec![
        ("start_payment", order.start_payment()),
        ("require_action", order.require_action("pay_1", "url")),
        ("complete_payment", order.complete_payment("pay_1", Some(money.clone()))),
        ("fail_payment", order.fail_payment("declined", Timestamp::default())),
        ("confirm", order.confirm()),
        ("fail", order.fail("OUT_OF_STOCK")),
        ("request_cancellation", order.request_cancellation("why")),
        ("cancel", order.cancel()),
        ("reject_cancellation", order.reject_cancellation("late", S::FulfillmentPending)),
        ("start_fulfillment", order.start_fulfillment()),
        ("ship", order.ship(parcel, &part)),
        ("deliver", order.deliver("shp_1", &part)),
        ("note_refund", Ok(order.note_refund(&money))),
        ("note_returned_refund", Ok(order.note_returned_refund(&money))),
        ("place_draft", order.place_draft(wire::OrderCreated::default())),
        ("hold", order.hold("why")),
        ("release", order.release()),
        ("rate", order.rate(5, "", AT)),
        ("update", order.update(None, Some("note".to_owned()))),
        ("request_change", order.request_change(wire::OrderChange::default())),
    ]
}

#[test]
fn ord_28_no_decision_leads_where_the_table_does_not() {
    let mut steps = 0;
    for state in states().skip(1) {
        let mut order = order_in(state);
        let shipment = Some(wire::ShipmentSummary { shipment_id: "shp_1".to_owned(), ..Default::default() });
        let lines = vec![wire::LineQuantity { line: 1, quantity: 1 }];
        order.apply(&OrderEvent::Shipped(wire::OrderShipped { shipment, lines, ..Default::default() }), AT);
        for (name, events) in decisions(&order) {
            let mut at = order.clone();
            for event in events.unwrap_or_default() {
                if let OrderEvent::StatusChanged(said) = &event {
                    assert_eq!(said.from(), at.state(), "{name} in {state:?}");
                    assert!(may(said.from(), said.to()), "{name}: {:?} -> {:?}", said.from(), said.to());
                    steps += 1;
                }
                at.apply(&event, AT);
            }
        }
    }
    assert!(steps > 30, "{steps} steps were looked at");
}

#[test]
fn ord_31_a_lock_keeps_the_words_of_the_state_before_it() {
    for (before, lock) in
        states().skip(1).flat_map(|before| states().filter(|state| is_lock(*state)).map(move |lock| (before, lock)))
    {
        if is_lock(before) || !may(before, lock) {
            continue;
        }
        let mut order = order_in(before);
        order.apply(&changed(lock), AT);
        assert_eq!(order.state(), lock);
        assert_eq!(
            (order.doc.status_retail.as_str(), order.doc.status_lifecycle.as_str()),
            (retail(before, order.doc.payment.as_ref()), lifecycle(before))
        );
    }
}

#[test]
fn ord_31_the_alternate_ends_are_reached_and_have_their_words_in_all_three_vocabularies() {
    let money = |minor| Money { currency_code: "USD".to_owned(), amount_minor: minor };
    let after = |order: &Order, events: Result<Vec<OrderEvent>, Refusal>| order.after(&events.expect("legal"), AT);
    let paying = order_in(S::PaymentProcessing);
    let declined = after(&paying, paying.fail_payment("declined", Timestamp::default()));
    let locked = after(&paying, paying.request_cancellation("why"));
    let cancelled = after(&locked, locked.cancel());
    let given_up = after(&declined, declined.request_cancellation("why"));
    let failed = after(&paying, paying.fail("OUT_OF_STOCK"));
    let mut delivered = order_in(S::Delivered);
    delivered = delivered.after(&delivered.note_capture(money(500)), AT);
    let part = delivered.after(&delivered.note_refund(&money(200)), AT);
    assert_eq!(part.state(), S::Delivered, "a part does not end it");
    let refunded = part.after(&part.note_refund(&money(300)), AT);
    let words = |order: &Order| (order.state(), order.doc.status_retail.clone(), order.doc.status_lifecycle.clone());
    let said = |state, retail: &str, lifecycle: &str| (state, retail.to_owned(), lifecycle.to_owned());
    assert_eq!(words(&declined), said(S::PaymentFailed, "Pending Payment", "Failed"));
    assert_eq!(words(&cancelled), said(S::Cancelled, "Cancelled", "Cancelled"));
    assert_eq!(words(&given_up), said(S::Cancelled, "Cancelled", "Cancelled"));
    assert_eq!(words(&failed), said(S::Failed, "Cancelled", "Failed"));
    assert_eq!(words(&delivered), said(S::Delivered, "Delivered", "Completed"));
    assert_eq!(words(&refunded), said(S::Refunded, "Delivered", "Completed"));
}

// === the aggregate itself ===

fn of_lines(lines: &[(i32, i32)]) -> Order {
    let line = |(line, quantity): &(i32, i32)| wire::OrderLine {
        line: *line,
        sku: format!("P{line}"),
        quantity: *quantity,
        ..wire::OrderLine::default()
    };
    let lines = lines.iter().map(line).collect();
    Order::default().after(&Order::draft(wire::OrderDrafted { lines, ..Default::default() }), AT)
}

#[test]
fn ord_14_the_aggregate_keeps_its_lines_and_says_every_change_as_one_event() {
    let order = of_lines(&[(1, 2), (2, 1)]);
    assert_eq!((order.version, order.doc.etag.as_str()), (2, "2"));
    let add = ItemChange::Add(OrderItem { sku: "P9".to_owned(), quantity: 4, ..OrderItem::default() });
    let named = |items: BTreeMap<i32, OrderItem>| {
        items.into_iter().map(|(line, item)| (line, item.sku, item.quantity)).collect::<Vec<_>>()
    };
    let p = |line: i32, sku: &str, quantity| (line, sku.to_owned(), quantity);
    let added = order.items_after(&add).map(named);
    assert_eq!(added, Ok(vec![p(1, "P1", 2), p(2, "P2", 1), p(3, "P9", 4)]));
    let set = ItemChange::Set { line: 1, quantity: 7 };
    assert_eq!(order.items_after(&set).map(named), Ok(vec![p(1, "P1", 7), p(2, "P2", 1)]));
    let removed = order.items_after(&ItemChange::Remove { line: 1 }).map(named);
    assert_eq!(removed, Ok(vec![p(2, "P2", 1)]), "lines keep their numbers");
    for line in [0, 3, -1, i32::MAX] {
        assert_eq!(order.items_after(&ItemChange::Remove { line }), Err(Refusal::Line(line)));
        assert_eq!(order.items_after(&ItemChange::Set { line, quantity: 1 }), Err(Refusal::Line(line)));
    }
    let lines = vec![wire::OrderLine { line: 2, quantity: 1, ..Default::default() }];
    let total = Some(Money { currency_code: "USD".to_owned(), amount_minor: 5 });
    let totals = wire::OrderTotals { total, ..Default::default() };
    let event = order.change_items(&ItemChange::Remove { line: 1 }, lines.clone(), totals.clone());
    assert!(matches!(&event, OrderEvent::ItemRemoved(removed) if removed.line == 1));
    let after = order.after(&[event], AT);
    assert_eq!((after.version, after.doc.lines, after.doc.totals), (3, lines, Some(totals)));
    assert_eq!(order.version, 2, "a decision changes nothing by itself");
}

#[test]
fn ord_14_units_never_leave_or_arrive_that_are_not_there() {
    let units = |line, quantity| [FulfillmentLine { line, sku: String::new(), quantity }];
    let parcel = |id: &str| wire::ShipmentSummary { shipment_id: id.to_owned(), ..Default::default() };
    let mut order = of_lines(&[(1, 2)]);
    order.apply(&changed(S::FulfillmentInProgress), AT);
    for quantity in [3, 0, -1, i32::MAX] {
        assert_eq!(order.ship(parcel("a"), &units(1, quantity)), Err(Refusal::Quantity(1)), "{quantity}");
    }
    assert_eq!(order.ship(parcel("a"), &units(9, 1)), Err(Refusal::Quantity(9)));
    let order = order.after(&order.ship(parcel("a"), &units(1, 1)).expect("one of two"), AT);
    assert_eq!((order.state(), order.doc.lines[0].shipped), (S::PartiallyShipped, 1));
    assert_eq!(order.ship(parcel("a"), &units(1, 1)), Err(Refusal::Already), "a parcel leaves once");
    assert_eq!(order.ship(parcel("b"), &units(1, 2)), Err(Refusal::Quantity(1)));
    assert_eq!(order.deliver("b", &units(1, 1)), Err(Refusal::State(S::PartiallyShipped)));
    assert_eq!(order.deliver("a", &units(1, 2)), Err(Refusal::Quantity(1)));
    let order = order.after(&order.ship(parcel("b"), &units(1, 1)).expect("the other"), AT);
    let order = order.after(&order.deliver("b", &units(1, 1)).expect("it left"), AT);
    assert_eq!(order.state(), S::PartiallyDelivered);
    let order = order.after(&order.deliver("a", &units(1, 1)).expect("it left"), AT);
    assert_eq!((order.state(), order.doc.lines[0].delivered), (S::Delivered, 2));
    assert_eq!(order.deliver("a", &units(1, 1)), Err(Refusal::Already));
}

#[test]
fn ord_44_a_change_is_decided_once_and_only_what_was_agreed_to_is_applied() {
    let mut order = of_lines(&[(1, 2)]);
    order.apply(&changed(S::PaymentCompleted), AT);
    let wish = wire::OrderChange { id: "chg_1".to_owned(), ..Default::default() };
    let asked = order.after(&order.request_change(wish.clone()).expect("it is paid"), AT);
    assert_eq!(asked.state(), S::ChangePending);
    assert_eq!(asked.request_change(wish), Err(Refusal::State(S::ChangePending)));
    assert_eq!(asked.apply_change("chg_1", None, 0), Err(Refusal::Change(C::Requested)));
    assert_eq!(asked.confirm_change("chg_2", AT), Err(Refusal::NoChange));
    let agreed = asked.after(&asked.confirm_change("chg_1", AT).expect("it waits"), AT);
    assert_eq!(agreed.confirm_change("chg_1", AT), Err(Refusal::Already));
    for no in [C::Declined, C::Expired] {
        assert_eq!(agreed.decline_change("chg_1", no, "", 0), Err(Refusal::Change(C::Confirmed)));
        let over = asked.after(&asked.decline_change("chg_1", no, "", 0).expect("it waits"), AT);
        assert_eq!((over.state(), over.confirm_change("chg_1", AT)), (S::PaymentCompleted, Err(Refusal::Change(no))));
        assert_eq!(over.apply_change("chg_1", None, 0), Err(Refusal::Change(no)));
        assert_eq!(over.decline_change("chg_1", no, "", 0), Err(Refusal::Already));
    }
    let applied = agreed.after(&agreed.apply_change("chg_1", None, 0).expect("agreed"), AT);
    assert_eq!(applied.apply_change("chg_1", None, 0), Err(Refusal::Already));
    assert_eq!(applied.decline_change("chg_1", C::Failed, "", 0), Err(Refusal::Change(C::Applied)));
    for state in states().filter(|state| *state != S::PaymentCompleted) {
        let mut elsewhere = order.clone();
        // What is booked does not change once it is confirmed; goods do until somebody begins to pick them.
        if state == S::FulfillmentPending {
            elsewhere.doc.set_kind(wire::OrderKind::ServiceRequest);
        }
        elsewhere.apply(&changed(state), AT);
        assert_eq!(elsewhere.request_change(wire::OrderChange::default()), Err(Refusal::State(state)));
        assert_eq!(elsewhere.items_edited(&[]), Err(Refusal::State(state)));
    }
}

// === the total, after every change of a draft ===

fn policy(whole: bool, inclusive: bool, tax_shipping: bool) -> TenantPolicy {
    let rule = |region: &str, class: &str, rate_ppm| TaxRule {
        country_code: "US".to_owned(),
        region: region.to_owned(),
        tax_class: class.to_owned(),
        rate_ppm,
    };
    let price = Some(Money { currency_code: "USD".to_owned(), amount_minor: 499 });
    TenantPolicy {
        max_units: 1_000,
        tax_rounding: if whole { TaxRounding::Order } else { TaxRounding::Line }.into(),
        prices_include_tax: inclusive,
        tax_rules: vec![rule("CA", "", 82_500), rule("NY", "c1", 40_000), rule("", "shipping", 19_000)],
        shipping_rates: vec![ShippingRate { service: "STANDARD".to_owned(), price }],
        tax_shipping,
        currencies: vec!["USD".to_owned()],
        ..TenantPolicy::default()
    }
}

fn products() -> BTreeMap<String, Arc<Product>> {
    let product = |(n, minor): (usize, &i64)| {
        let sku = format!("P{n}");
        let prices = vec![Money { currency_code: "USD".to_owned(), amount_minor: *minor }];
        let product = Product { sku: sku.clone(), prices, tax_class: format!("c{}", n % 2), ..Product::default() };
        (sku, Arc::new(product))
    };
    [1, 7, 33, 999, 1_299, 123_457].iter().enumerate().map(product).collect()
}

fn priced(order: &Order, items: &BTreeMap<i32, OrderItem>, region: &str, policy: &TenantPolicy) -> Option<Quote> {
    let address = Address { country_code: "US".to_owned(), region: region.to_owned(), ..Address::default() };
    let basket = Basket {
        items: items.values().cloned().collect(),
        currency_code: "USD".to_owned(),
        address: Some(address),
        service: "STANDARD".to_owned(),
        agreed: BTreeMap::new(),
        kind: Some(wire::OrderKind::Purchase),
        promotion: Wanted::agreed(order.doc.promotion.as_ref()),
    };
    let mut quote = quote(&basket, Stage::Draft, policy, &products(), 0, Violations::default()).ok()?;
    for (line, number) in quote.lines.iter_mut().zip(items.keys()) {
        line.line = *number;
    }
    assert_eq!(order.state(), S::Draft);
    Some(quote)
}

fn check_total(order: &Order) -> Result<(), TestCaseError> {
    let minor = |money: &Option<Money>| money.as_ref().map_or(0, |money| money.amount_minor);
    let totals = order.doc.totals.clone().unwrap_or_default();
    let net: i64 = order.doc.lines.iter().map(|line| minor(&line.net)).sum();
    let line_tax: i64 = order.doc.lines.iter().map(|line| minor(&line.tax)).sum();
    let discount: i64 = order.doc.lines.iter().map(|line| minor(&line.discount)).sum();
    prop_assert_eq!((minor(&totals.items_net), minor(&totals.discount)), (net, discount));
    prop_assert!(minor(&totals.tax) >= line_tax);
    prop_assert_eq!(minor(&totals.total), net + minor(&totals.shipping) + minor(&totals.tax));
    for line in &order.doc.lines {
        let gross = minor(&line.unit_price) * i64::from(line.quantity) - minor(&line.discount);
        prop_assert!(gross >= 0, "a discount is never more than its line");
        let (net, tax) = (minor(&line.net), minor(&line.tax));
        prop_assert!(net == gross || net + tax == gross, "a line costs its units less its discount");
    }
    Ok(())
}

fn item_change() -> impl Strategy<Value = ItemChange> {
    prop_oneof![
        3 => (0..7_usize, 1..9_i32).prop_map(|(n, quantity)| {
            ItemChange::Add(OrderItem { sku: format!("P{n}"), quantity, expected_unit_price: None, slot_id: String::new() })
        }),
        2 => (1..6_i32, 1..60_i32).prop_map(|(line, quantity)| ItemChange::Set { line, quantity }),
        2 => (1..6_i32).prop_map(|line| ItemChange::Remove { line }),
    ]
}

/// The same after a change of the paid order: while it waits nothing is another, then all adds up again.
fn check_change(mut order: Order, change: ItemChange, policy: &TenantPolicy) -> Result<(), TestCaseError> {
    order.apply(&changed(S::PaymentCompleted), AT);
    let edits = [edit(&change)];
    let Ok(items) = order.items_edited(&edits) else { return Ok(()) };
    let mut unplaced = order.clone();
    unplaced.apply(&changed(S::Draft), AT);
    let Some(quote) = priced(&unplaced, &items, "CA", policy).filter(|_| !items.is_empty()) else { return Ok(()) };
    let wish = wire::OrderChange { id: "chg_1".to_owned(), ..order.change_to(&edits, quote.lines, quote.totals) };
    let authorized = wish.totals.as_ref().and_then(|totals| totals.total.clone());
    let events = order.request_change(wish).expect("it is paid");
    let asked = order.after(&events, AT);
    prop_assert_eq!((&asked.doc.lines, &asked.doc.totals), (&order.doc.lines, &order.doc.totals));
    let agreed = asked.after(&asked.confirm_change("chg_1", AT).expect("it waits"), AT);
    let failed = agreed.after(&agreed.decline_change("chg_1", C::Failed, "OUT_OF_STOCK", 0).expect("it may fail"), AT);
    prop_assert_eq!(
        (&failed.doc.lines, &failed.doc.totals, failed.state()),
        (&order.doc.lines, &order.doc.totals, S::PaymentCompleted)
    );
    let applied = agreed.after(&agreed.apply_change("chg_1", authorized, 0).expect("agreed"), AT);
    prop_assert_eq!(applied.state(), S::PaymentCompleted);
    check_total(&applied)
}

/// An order of two lines that is paid, with so much taken.
fn paid(captured: i64) -> Order {
    let line = |line| wire::OrderLine { line, quantity: 1, ..Default::default() };
    let usd = |amount_minor| Some(Money { currency_code: "USD".to_owned(), amount_minor });
    let payment = wire::PaymentSummary { captured: usd(captured), ..Default::default() };
    let mut order = order_in(S::PaymentCompleted);
    order.doc.lines = vec![line(1), line(2)];
    order.doc.payment = Some(payment);
    order
}

fn sent(order: &Order, line: i32) -> Order {
    let parcel = wire::ShipmentSummary { shipment_id: format!("shp_{line}"), ..Default::default() };
    order.after(&order.ship(parcel, &part(line)).expect("it may leave"), AT)
}

fn part(line: i32) -> Vec<FulfillmentLine> {
    vec![FulfillmentLine { line, quantity: 1, ..Default::default() }]
}

#[test]
fn a_warehouse_that_begins_before_the_last_one_has_accepted_is_heard() {
    let begun = paid(0).after(&paid(0).start_fulfillment().expect("it may begin"), AT);
    assert_eq!(begun.state(), S::FulfillmentInProgress);
    assert_eq!(begun.start_fulfillment(), Err(Refusal::Already));
    for early in [begun, sent(&paid(0), 1)] {
        let events = early.confirm().expect("the last one has accepted");
        assert!(matches!(events[..], [OrderEvent::Confirmed(_)]), "the state stays: {events:?}");
        let all = sent(&sent_unless_known(&early), 2);
        assert_eq!(all.state(), S::Shipped);
    }
}

fn sent_unless_known(order: &Order) -> Order {
    if order.doc.shipments.is_empty() { sent(order, 1) } else { order.clone() }
}

#[test]
fn ord_31_an_order_that_is_given_back_is_refunded_whenever_its_parcels_leave_and_arrive() {
    let all = Money { currency_code: "USD".to_owned(), amount_minor: 500 };
    // While its last parcel is still to leave, and when all are under way.
    let early = sent(&paid(500), 1);
    let early = sent(&early.after(&early.note_refund(&all), AT), 2);
    let late = sent(&sent(&paid(500), 1), 2);
    let late = late.after(&late.note_refund(&all), AT);
    for order in [early, late] {
        assert_eq!(order.state(), S::Refunded);
        let arrived = order.after(&order.deliver("shp_1", &part(1)).expect("it arrives all the same"), AT);
        assert_eq!((arrived.state(), arrived.doc.lines[0].delivered), (S::Refunded, 1));
        assert_eq!(arrived.doc.shipments[0].state, "DELIVERED");
    }
}

#[test]
fn pay_04_an_order_whose_refund_came_back_is_where_its_parcels_are_and_may_be_refunded_again() {
    let usd = |amount_minor| Money { currency_code: "USD".to_owned(), amount_minor };
    let sum = |order: &Order| order.doc.payment.clone().unwrap_or_default().refunded.map(|sum| sum.amount_minor);
    let refunded = |order: Order| order.after(&order.note_refund(&usd(500)), AT);
    let sent_all = sent(&sent(&paid(500), 1), 2);
    let arrived = |order: &Order, parcel: &str, line| {
        order.after(&order.deliver(parcel, &part(line)).expect("it is under way"), AT)
    };
    let one = arrived(&sent_all, "shp_1", 1);
    let both = arrived(&one, "shp_2", 2);
    for (before, state) in [(sent_all, S::Shipped), (one, S::PartiallyDelivered), (both, S::Delivered)] {
        let given = refunded(before);
        assert_eq!((given.state(), sum(&given)), (S::Refunded, Some(500)));
        let back = given.after(&given.note_returned_refund(&usd(200)), AT);
        assert_eq!((back.state(), sum(&back)), (state, Some(300)));
        let again = back.after(&back.note_refund(&usd(200)), AT);
        assert_eq!((again.state(), sum(&again)), (S::Refunded, Some(500)));
    }
    let part_of_it = paid(500).after(&paid(500).note_refund(&usd(200)), AT);
    let back = part_of_it.after(&part_of_it.note_returned_refund(&usd(200)), AT);
    assert_eq!((back.state(), sum(&back)), (paid(500).state(), Some(0)), "the state stays");
}

fn reduction() -> impl Strategy<Value = Option<wire::OrderPromotion>> {
    let usd = |amount_minor| Some(Money { currency_code: "USD".to_owned(), amount_minor });
    let share = (1..=1_000_000_i32).prop_map(|rate_ppm| wire::OrderPromotion { rate_ppm, ..Default::default() });
    let amount =
        (1..200_000_i64).prop_map(move |minor| wire::OrderPromotion { amount: usd(minor), ..Default::default() });
    prop::option::of(prop_oneof![share, amount])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn ord_15_the_total_adds_up_for_every_order_and_after_every_change(
        changes in prop::collection::vec((item_change(), prop::sample::select(vec!["CA", "NY", "TX"])), 1..12),
        whole: bool, inclusive: bool, tax_shipping: bool, grown in item_change(), off in reduction(),
    ) {
        let policy = policy(whole, inclusive, tax_shipping);
        let first = BTreeMap::from([(1, OrderItem { sku: "P3".to_owned(), quantity: 3, expected_unit_price: None, slot_id: String::new() })]);
        let mut blank = order_in(S::Draft);
        blank.doc.promotion.clone_from(&off);
        let quote = priced(&blank, &first, "CA", &policy).expect("a price");
        let drafted = wire::OrderDrafted { lines: quote.lines, totals: Some(quote.totals), promotion: off, ..Default::default() };
        let mut order = Order::default().after(&Order::draft(drafted), AT);
        check_total(&order)?;
        for (change, region) in changes {
            let before: Vec<i32> = order.doc.lines.iter().map(|line| line.line).collect();
            let Ok(items) = order.items_after(&change) else {
                let (ItemChange::Set { line, .. } | ItemChange::Remove { line }) = change else {
                    return Err(TestCaseError::fail("a draft takes items"));
                };
                prop_assert!(!before.contains(&line));
                continue;
            };
            if items.is_empty() {
                continue;
            }
            let Some(quote) = priced(&order, &items, region, &policy) else { continue };
            let event = order.change_items(&change, quote.lines, quote.totals);
            order = order.after(&[event], AT);
            check_total(&order)?;
            let numbers: Vec<i32> = order.doc.lines.iter().map(|line| line.line).collect();
            prop_assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "lines keep their numbers: {:?}", numbers);
        }
        let lines = order.doc.lines.clone();
        let promotion = order.doc.promotion.clone();
        let created = wire::OrderCreated { lines, totals: order.doc.totals.clone(), promotion, ..Default::default() };
        let placed = order.after(&order.place_draft(created).expect("a draft"), AT);
        prop_assert_eq!(placed.state(), S::Pending);
        prop_assert_eq!(placed.items_after(&ItemChange::Remove { line: 1 }), Err(Refusal::State(S::Pending)));
        check_total(&placed)?;
        check_change(placed, grown, &policy)?;
    }
}
