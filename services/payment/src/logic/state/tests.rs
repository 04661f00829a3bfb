use proptest::prelude::*;

use super::*;

const ASKED: i64 = 10_000;

fn usd(minor: i64) -> Money {
    Money::new("USD".parse().expect("a currency"), minor)
}

fn payment() -> Payment {
    Payment::begun(PaymentId::new(), (OrderId::new(), 1), usd(ASKED), "stripe", Timestamp::UNIX_EPOCH)
}

fn seen(phase: Phase, received: i64, refunded: i64) -> Snapshot {
    Snapshot {
        reference: "pi_1".to_owned(),
        amount: usd(ASKED),
        phase,
        received,
        refunded,
        decline_reason: (phase == Phase::Failed).then(|| "insufficient_funds".to_owned()),
        action_url: (phase == Phase::RequiresAction).then(|| "https://bank.example/3ds".to_owned()),
        avs: None,
        cvv: None,
    }
}

fn after(reports: &[Snapshot]) -> Payment {
    reports.iter().fold(payment(), |payment, seen| payment.observe(seen).expect("a fitting report"))
}

/// What a provider may do with one intent.
#[derive(Debug, Clone, Copy)]
enum Op {
    Challenge,
    Fail,
    Hold,
    Capture(i64, bool),
    Cancel,
    Refund(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Challenge),
        1 => Just(Op::Fail),
        4 => Just(Op::Hold),
        6 => (1..=ASKED, any::<bool>()).prop_map(|(minor, last)| Op::Capture(minor, last)),
        1 => Just(Op::Cancel),
        4 => (1..=ASKED).prop_map(Op::Refund),
    ]
}

/// The reports of a provider that does what it can of `ops`, in order.
fn reports(ops: &[Op]) -> Vec<Snapshot> {
    let (mut phase, mut received, mut refunded) = (Phase::Processing, 0, 0);
    let mut reports = vec![seen(phase, 0, 0)];
    for op in ops {
        let open = matches!(phase, Phase::Processing | Phase::RequiresAction | Phase::Failed);
        match *op {
            Op::Challenge if phase == Phase::Processing => phase = Phase::RequiresAction,
            Op::Fail if open => phase = Phase::Failed,
            Op::Hold if open => phase = Phase::Held,
            Op::Capture(minor, last) if phase == Phase::Held && minor <= ASKED - received => {
                received += minor;
                if last || received == ASKED {
                    phase = Phase::Done;
                }
            }
            Op::Cancel if phase != Phase::Done && phase != Phase::Canceled => phase = Phase::Canceled,
            Op::Refund(minor) if minor <= received - refunded => refunded += minor,
            _ => continue,
        }
        reports.push(seen(phase, received, refunded));
    }
    reports
}

/// A history, and the same reports some of them twice, in any order.
fn history() -> impl Strategy<Value = (Vec<Snapshot>, Vec<Snapshot>)> {
    prop::collection::vec(op(), 0..12).prop_map(|ops| reports(&ops)).prop_flat_map(|told| {
        let again = prop::collection::vec(prop::sample::select(told.clone()), 0..8);
        let once = told.clone();
        let shuffled = again.prop_map(move |again| [once.clone(), again].concat()).prop_shuffle();
        (Just(told), shuffled)
    })
}

fn held_together(payment: &Payment) -> bool {
    payment.refunded <= payment.captured
        && payment.captured + payment.voided() <= payment.authorized
        && payment.refunded_own <= payment.refunded
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn pay_10_reports_in_any_order_and_number_end_in_the_same_payment((told, received) in history()) {
        let in_order = after(&told);
        let mut payment = payment();
        payment.id = in_order.id;
        payment.order = in_order.order;
        for report in &received {
            let next = payment.observe(report).expect("a fitting report");
            prop_assert!(held_together(&next), "{next:?}");
            prop_assert!(next.authorized >= payment.authorized && next.captured >= payment.captured);
            prop_assert!(next.refunded >= payment.refunded);
            payment = next;
        }
        prop_assert_eq!(&payment, &in_order);
        let last = told.last().expect("at least one report");
        prop_assert_eq!((payment.captured, payment.refunded), (last.received, last.refunded));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn pay_10_what_happened_is_told_once_however_often_it_is_reported((told, received) in history()) {
        let mut payment = payment();
        let mut changes = Vec::new();
        for report in &received {
            let next = payment.observe(report).expect("a fitting report");
            changes.extend(payment.changes(&next));
            payment = next;
        }
        let count = |change: &Change| changes.iter().filter(|c| *c == change).count();
        prop_assert!(count(&Change::Authorized) <= 1 && count(&Change::Declined) <= 1);
        let voided: i64 = changes.iter().map(|c| if let Change::Voided(minor) = c { *minor } else { 0 }).sum();
        // An early report of the end may tell of more than was left once all is known, never of less.
        prop_assert!(voided >= after(&told).voided());
    }

    #[test]
    fn pay_04_losing_track_and_refunds_of_ours_never_break_the_limits((_, received) in history(), ours in 0..ASKED) {
        let mut payment = payment();
        for report in &received {
            payment = payment.lost_track().observe(report).expect("a fitting report").not_found();
            prop_assert!(held_together(&payment), "{payment:?}");
        }
        let ours = ours.min(payment.captured);
        if ours > 0 {
            let once = payment.gave_back(ours);
            prop_assert!(held_together(&once), "{once:?}");
            prop_assert_eq!(once.refunded, payment.refunded.max(ours));
        }
    }
}

/// What happens to a payment from outside and from our own refunds.
#[derive(Debug, Clone)]
enum Step {
    Report(Snapshot),
    Dispute(String, Dispute),
    /// We begin to give back as much of this as is left.
    Begin(i64),
    /// The oldest refund of ours that is under way ends well, or not.
    End(bool),
    Void,
    Age(Hold),
}

fn step(told: Vec<Snapshot>) -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![Just(Outcome::Open), Just(Outcome::Won), Just(Outcome::Lost)];
    let dispute = ("dp_[1-3]", 1..=2 * ASKED, outcome);
    prop_oneof![
        5 => prop::sample::select(told).prop_map(Step::Report),
        2 => dispute.prop_map(|(id, amount, outcome)| Step::Dispute(id, Dispute { amount, outcome })),
        2 => (1..=ASKED).prop_map(Step::Begin),
        2 => any::<bool>().prop_map(Step::End),
        1 => Just(Step::Void),
        1 => prop_oneof![Just(Hold::Expiring), Just(Hold::Expired)].prop_map(Step::Age),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(op(), 0..12)
        .prop_map(|ops| reports(&ops))
        .prop_flat_map(|told| prop::collection::vec(step(told), 0..30))
}

/// What `refund_begin` does, and ends do.
fn stepped(payment: &Payment, open: &mut Vec<i64>, step: &Step) -> Payment {
    match step {
        Step::Report(seen) => payment.observe(seen).expect("a fitting report"),
        Step::Dispute(id, dispute) => payment.observe_dispute(id, *dispute),
        Step::Begin(minor) => {
            let minor = (*minor).min(payment.refundable());
            if minor == 0 {
                return payment.clone();
            }
            open.push(minor);
            Payment { refund_pending: payment.refund_pending + minor, ..payment.clone() }
        }
        Step::End(well) if !open.is_empty() => {
            let minor = open.remove(0);
            if *well { payment.gave_back(minor) } else { payment.kept(minor) }
        }
        Step::End(_) => payment.clone(),
        Step::Void => Payment { void_requested: true, ..payment.clone() },
        Step::Age(hold) => Payment { hold: payment.hold.max(*hold), ..payment.clone() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn pay_04_refunded_pending_and_disputed_stay_within_captured_within_authorized(steps in steps()) {
        let (mut payment, mut open) = (payment(), Vec::new());
        for step in &steps {
            payment = stepped(&payment, &mut open, step);
            // The CHECK of the table, and the provider's own sum when every refund of ours under way succeeds.
            let back = payment.refunded.max(payment.refunded_own + payment.refund_pending);
            prop_assert!(back + payment.disputed() <= payment.captured, "{step:?}: {payment:?}");
            prop_assert!(payment.captured + payment.voided() <= payment.authorized, "{step:?}: {payment:?}");
            prop_assert!(payment.refunded_own <= payment.refunded && payment.disputed() >= 0);
            prop_assert_eq!(payment.refund_pending, open.iter().sum::<i64>());
            prop_assert!(payment.refundable() <= payment.captured - back - payment.disputed());
            // Once more changes nothing.
            if matches!(step, Step::Report(_) | Step::Dispute(..)) {
                prop_assert_eq!(&stepped(&payment, &mut open, step), &payment);
            }
        }
    }
}

#[test]
fn pay_02_a_hold_is_old_after_six_days_and_over_after_seven() {
    let mut held = after(&[seen(Phase::Held, 0, 0)]);
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    held.authorized_at = Some(start);
    let at = |hours| held.aged(start + SignedDuration::from_hours(hours)).map(|aged| aged.hold);
    assert_eq!((at(0), at(143)), (None, None));
    assert_eq!((at(144), at(167)), (Some(Hold::Expiring), Some(Hold::Expiring)));
    assert_eq!(at(168), Some(Hold::Expired));
    let over = Payment { hold: Hold::Expired, ..held.clone() };
    assert_eq!((over.state(), over.must_release()), (State::Expired, true));
    let taken = after(&[seen(Phase::Done, ASKED, 0)]);
    assert_eq!(taken.aged(start + SignedDuration::from_hours(1_000)), None, "what was taken does not end");
}

#[test]
fn a_late_failure_does_not_take_an_authorization_back() {
    let held = after(&[seen(Phase::Held, 0, 0)]);
    let late = held.observe(&seen(Phase::Failed, 0, 0)).expect("a fitting report");
    assert_eq!((held.state(), late.state()), (State::Authorized, State::Authorized));
    assert_eq!(held.changes(&late), []);
}

#[test]
fn pay_06_a_challenge_ends_in_a_hold_or_a_decline() {
    let challenged = after(&[seen(Phase::RequiresAction, 0, 0)]);
    assert_eq!(challenged.state(), State::RequiresAction);
    let passed = challenged.observe(&seen(Phase::Held, 0, 0)).expect("a fitting report");
    assert_eq!((passed.state(), challenged.changes(&passed)), (State::Authorized, vec![Change::Authorized]));
    let failed = challenged.observe(&seen(Phase::Failed, 0, 0)).expect("a fitting report");
    assert_eq!((failed.state(), challenged.changes(&failed)), (State::Declined, vec![Change::Declined]));
}

#[test]
fn states_follow_the_amounts() {
    let state = |reports: &[Snapshot]| after(reports).state();
    assert_eq!(state(&[]), State::Processing);
    assert_eq!(state(&[seen(Phase::Held, 4_000, 0)]), State::PartiallyCaptured);
    assert_eq!(state(&[seen(Phase::Done, ASKED, 0)]), State::Captured);
    assert_eq!(state(&[seen(Phase::Done, 4_000, 0)]), State::Captured);
    assert_eq!(after(&[seen(Phase::Done, 4_000, 0)]).voided(), 6_000);
    assert_eq!(state(&[seen(Phase::Done, ASKED, 1)]), State::PartiallyRefunded);
    assert_eq!(state(&[seen(Phase::Held, 4_000, 4_000)]), State::PartiallyRefunded);
    assert_eq!(state(&[seen(Phase::Canceled, 4_000, 4_000)]), State::Refunded);
    assert_eq!(state(&[seen(Phase::Held, 0, 0), seen(Phase::Canceled, 0, 0)]), State::Voided);
    assert_eq!(payment().lost_track().state(), State::Unknown);
    assert_eq!(payment().refused("resource_missing").state(), State::Declined);
}

#[test]
fn reports_of_another_amount_currency_or_intent_are_not_taken_in() {
    let held = after(&[seen(Phase::Held, 0, 0)]);
    let other = |change: fn(&mut Snapshot)| {
        let mut report = seen(Phase::Held, 0, 0);
        change(&mut report);
        held.observe(&report)
    };
    assert_eq!(other(|r| r.amount = usd(1)), Err(Mismatch::Amount));
    assert_eq!(other(|r| r.amount = Money::new("EUR".parse().expect("a currency"), ASKED)), Err(Mismatch::Amount));
    assert_eq!(other(|r| r.refunded = 1), Err(Mismatch::Amount));
    assert_eq!(other(|r| r.received = ASKED + 1), Err(Mismatch::Amount));
    assert_eq!(other(|r| r.reference = "pi_2".to_owned()), Err(Mismatch::Reference));
}

#[test]
fn money_that_turns_up_after_a_void_must_be_let_go_and_is_not_announced() {
    let mut voided = payment();
    voided.void_requested = true;
    assert_eq!(voided.state(), State::Voided);
    assert!(!voided.must_release() && voided.unresolved(), "a late authorization is still looked for");
    let late = voided.observe(&seen(Phase::Held, 0, 0)).expect("a fitting report");
    assert!(late.must_release() && late.unresolved());
    assert_eq!(voided.changes(&late), []);
    let gone = late.observe(&seen(Phase::Canceled, 0, 0)).expect("a fitting report");
    assert_eq!(
        (gone.state(), gone.unresolved(), late.changes(&gone)),
        (State::Voided, false, vec![Change::Voided(ASKED)])
    );
}

#[test]
fn pay_04_a_refund_that_came_back_frees_its_sum_and_older_counts_do_not_take_it_again() {
    let counted = seen(Phase::Done, ASKED, 4_000);
    let back = after(&[seen(Phase::Done, ASKED, 0)]);
    let back = Payment { refund_pending: 4_000, ..back }.observe(&counted).expect("a fitting report").gave_back(4_000);
    assert_eq!((back.refunded, back.refundable()), (4_000, 6_000));
    let failed = back.came_back(4_000);
    assert_eq!((failed.refunded, failed.refundable(), failed.state()), (0, ASKED, State::Captured));
    let late = failed.observe(&counted).expect("a fitting report");
    assert_eq!((late.refunded, late.refundable()), (0, ASKED));
    let again = Payment { refund_pending: 3_000, ..late }.gave_back(3_000);
    assert_eq!((again.refunded, again.refundable(), again.refunded_own), (3_000, 7_000, 3_000));
    assert_eq!(again.differs(&seen(Phase::Done, ASKED, 3_000)), None);
}
