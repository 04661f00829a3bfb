use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn begun(unit: IntervalUnit, count: i32, start: &str) -> Subscription {
    let interval = Some(wire::SubscriptionInterval { unit: unit.into(), count });
    let doc = wire::Subscription { id: "sub_1".to_owned(), interval, ..Default::default() };
    Subscription::of_doc(Subscription::begin(doc, at(start), at(start)).doc)
}

fn monthly() -> Subscription {
    begun(IntervalUnit::Month, 1, "2026-01-31T08:00:00Z")
}

fn then(next: Next) -> Subscription {
    Subscription::of_doc(next.doc)
}

fn next_time(subscription: &Subscription) -> Option<Timestamp> {
    read(subscription.doc.next_time.as_ref())
}

#[test]
fn ord_46_periods_are_counted_from_their_anchor_so_that_months_do_not_drift() {
    let monthly = monthly();
    let days = [(1, "2026-01-31T08:00:00Z"), (2, "2026-02-28T08:00:00Z"), (3, "2026-03-31T08:00:00Z")];
    for (period, day) in days {
        assert_eq!(monthly.time_of(period), Some(at(day)));
    }
    let fortnight = begun(IntervalUnit::Week, 2, "2026-03-20T08:00:00Z");
    assert_eq!(fortnight.time_of(3), Some(at("2026-04-17T08:00:00Z")));
    assert_eq!(begun(IntervalUnit::Day, 366, "2026-01-01T00:00:00Z").time_of(i32::MAX), None, "beyond any calendar");
}

#[test]
fn ord_46_a_period_is_begun_when_it_is_due_and_only_after_the_one_before_was_settled() {
    let (now, monthly) = (at("2026-01-31T08:00:00Z"), monthly());
    assert_eq!(monthly.todo(None, at("2026-01-30T08:00:00Z")), Todo::Wait(now));
    assert_eq!(monthly.todo(None, now), Todo::Begin);
    let order = OrderId::new();
    let next = monthly.order(order, now);
    assert_eq!(next.period, Some(true), "the period is new");
    let ordered = then(next);
    assert_eq!((ordered.doc.next_period, next_time(&ordered)), (2, Some(at("2026-02-28T08:00:00Z"))));
    let late = at("2026-05-01T00:00:00Z");
    assert_eq!(ordered.todo(None, late), Todo::Order, "it was begun and its order is not there");
    for state in [OrderState::Pending, OrderState::PaymentActionRequired, OrderState::CancellationPending] {
        assert!(matches!(ordered.todo(Some(state), late), Todo::Wait(_)), "{state:?}");
    }
    for state in [OrderState::PaymentCompleted, OrderState::FulfillmentPending, OrderState::Delivered] {
        assert_eq!(ordered.todo(Some(state), late), Todo::Paid, "{state:?}");
    }
    let paid = then(ordered.paid(now));
    assert!(
        matches!(ordered.paid(now).told, Told::Renewed(told) if (told.period, told.order_id == order.to_string()) == (1, true))
    );
    assert_eq!(paid.todo(Some(OrderState::Delivered), now), Todo::Wait(at("2026-02-28T08:00:00Z")));
    assert_eq!(paid.todo(None, late), Todo::Begin);
}

#[test]
fn ord_46_a_failed_period_is_tried_again_by_the_schedule_and_paused_at_its_end() {
    let now = at("2026-01-31T08:00:00Z");
    let mut subscription = monthly();
    for (attempt, day) in [(1, "2026-02-02T08:00:00Z"), (2, "2026-02-03T08:00:00Z")] {
        subscription = then(subscription.order(OrderId::new(), now));
        assert_eq!(subscription.todo(Some(OrderState::PaymentFailed), now), Todo::Failed);
        subscription = then(subscription.failed("insufficient_funds", &[2, 3], now));
        assert_eq!(subscription.doc.state(), SubscriptionState::PastDue);
        let renewal = subscription.doc.renewal.clone().expect("a period failed");
        assert_eq!((renewal.period, renewal.attempt, renewal.reason.as_str()), (1, attempt, "insufficient_funds"));
        assert_eq!(next_time(&subscription), Some(at(day)));
        assert_eq!(subscription.todo(None, at(day)), Todo::Begin);
    }
    let again = subscription.order(OrderId::new(), now);
    assert_eq!(again.period, Some(false), "the same period");
    let paid = then(then(again.clone()).paid(now));
    assert_eq!((paid.doc.state(), paid.doc.next_period), (SubscriptionState::Active, 2));
    let over = then(then(again).failed("insufficient_funds", &[2, 3], now));
    assert_eq!((over.doc.state(), over.doc.state_reason.as_str()), (SubscriptionState::Paused, "DUNNING_EXHAUSTED"));
    assert_eq!(over.todo(None, at("2030-01-01T00:00:00Z")), Todo::Rest);
    let seeds = then(then(monthly().order(OrderId::new(), now)).failed("declined", &[], now));
    assert_eq!(next_time(&seeds), Some(at("2026-02-01T08:00:00Z")), "a day unless the tenant says otherwise");
}

#[test]
fn ord_46_a_period_can_be_left_out_once_and_by_its_number_only() {
    let now = at("2026-01-30T08:00:00Z");
    let monthly = monthly();
    assert_eq!(monthly.skip(2, now), Err(Refusal::Period(1)));
    let skipped = then(monthly.skip(1, now).expect("the next one"));
    assert_eq!((skipped.doc.next_period, next_time(&skipped)), (2, Some(at("2026-02-28T08:00:00Z"))));
    assert_eq!(skipped.skip(1, now), Err(Refusal::Already), "a repeat leaves out nothing more");
    let ordered = then(skipped.order(OrderId::new(), now));
    assert_eq!(ordered.skip(3, now), Err(Refusal::State(SubscriptionState::Active)), "one is under way");
    let failed = then(ordered.failed("declined", &[2], now));
    assert_eq!(failed.skip(3, now), Err(Refusal::Period(2)));
    let given_up = then(failed.skip(2, now).expect("the one that failed"));
    assert_eq!((given_up.doc.state(), given_up.doc.next_period), (SubscriptionState::Active, 3));
    assert_eq!(next_time(&given_up), Some(at("2026-03-31T08:00:00Z")));
}

#[test]
fn ord_46_a_pause_makes_up_for_nothing_and_a_cancellation_is_for_good() {
    let now = at("2026-01-30T08:00:00Z");
    let paused = then(monthly().pause("holiday", now).expect("it is active"));
    assert_eq!(paused.todo(None, at("2026-06-01T00:00:00Z")), Todo::Rest);
    assert_eq!(paused.pause("again", now), Err(Refusal::Already));
    let early = then(paused.resume(now).expect("it is paused"));
    assert_eq!(next_time(&early), Some(at("2026-01-31T08:00:00Z")), "nothing was missed");
    let summer = at("2026-06-01T00:00:00Z");
    let resumed = then(paused.resume(summer).expect("it is paused"));
    assert_eq!((next_time(&resumed), resumed.doc.next_period), (Some(summer), 1));
    assert_eq!(resumed.time_of(2), Some(at("2026-07-01T00:00:00Z")));
    let ended = then(resumed.cancel("moved", summer).expect("it is active"));
    assert_eq!(ended.todo(None, summer), Todo::Rest);
    assert_eq!(ended.resume(summer), Err(Refusal::State(SubscriptionState::Cancelled)));
    assert_eq!(ended.cancel("moved", summer), Err(Refusal::Already));
    let under_way = then(monthly().order(OrderId::new(), summer));
    let ended = then(under_way.cancel("moved", summer).expect("it is active"));
    assert_eq!(ended.todo(Some(OrderState::PaymentCompleted), summer), Todo::Paid, "its last order is still settled");
    let failed = then(ended.failed("declined", &[2], summer));
    assert_eq!((failed.doc.state(), next_time(&failed)), (SubscriptionState::Cancelled, None));
}
