//! Subscriptions: when something is ordered, what becomes of a period, and what people may do about it (ORD-46).

use contract::order::v1 as wire;
use contract::order::v1::{IntervalUnit, OrderState, RenewalState, SubscriptionState};
use ids::OrderId;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

/// Days from a failed order to the next try, unless the tenant says otherwise.
const DUNNING: [i32; 3] = [1, 3, 5];
/// An order that was just made is looked at again after this, and later at longer ease.
const SOON: SignedDuration = SignedDuration::from_secs(2);
const LATER: SignedDuration = SignedDuration::from_secs(60);

/// Why a decision was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state does not allow it.
    #[error("a subscription in state {} does not allow this", .0.as_str_name())]
    State(SubscriptionState),
    /// It was decided before and stands.
    #[error("this was decided before")]
    Already,
    /// The period is not the one that can be left out now.
    #[error("the next period is {0}")]
    Period(i32),
}

/// A subscription at a version.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subscription {
    /// Changes so far.
    pub version: i32,
    /// What the world sees, with address and payment sealed.
    pub doc: wire::Subscription,
}

/// What is told of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Anything but a payment.
    Changed(wire::SubscriptionChanged),
    /// A period is paid.
    Renewed(wire::SubscriptionRenewed),
}

/// A decision: the subscription after it, what is told, and whether it begins its period.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// After the decision.
    pub doc: wire::Subscription,
    /// The event.
    pub told: Told,
    /// The period of `doc.renewal` is written, and was not there before.
    pub period: Option<bool>,
}

/// What the renewal job does about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Nothing; it need not be looked at any more.
    Rest,
    /// Nothing before this.
    Wait(Timestamp),
    /// The next period, or another try of one that failed, is begun.
    Begin,
    /// The order of the begun period is made: it is not there yet.
    Order,
    /// The order's payment is secured.
    Paid,
    /// The order failed.
    Failed,
    /// Somebody cancelled the order.
    GivenUp,
}

fn time(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

fn read(at: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    at.and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
}

impl Subscription {
    /// Reads what is stored.
    pub fn of_doc(doc: wire::Subscription) -> Self {
        Self { version: doc.etag.parse().unwrap_or(0), doc }
    }

    /// Begins; the first period is ordered at `start`.
    pub fn begin(mut doc: wire::Subscription, start: Timestamp, now: Timestamp) -> Next {
        doc.set_state(SubscriptionState::Active);
        (doc.next_period, doc.anchor_period) = (1, 1);
        doc.anchor_time = time(start);
        doc.next_time = time(start);
        doc.create_time = time(now);
        Self::default().changed(doc, "CREATED", 0, now)
    }

    /// When a period begins; None when it is beyond what a calendar knows.
    pub fn time_of(&self, period: i32) -> Option<Timestamp> {
        let interval = self.doc.interval?;
        let anchor = read(self.doc.anchor_time.as_ref())?.to_zoned(TimeZone::UTC);
        let count = i64::from(period - self.doc.anchor_period) * i64::from(interval.count);
        let span = match interval.unit() {
            IntervalUnit::Month => Span::new().try_months(count),
            IntervalUnit::Week => Span::new().try_weeks(count),
            IntervalUnit::Day | IntervalUnit::Unspecified => Span::new().try_days(count),
        };
        Some(anchor.checked_add(span.ok()?).ok()?.timestamp())
    }

    /// When the renewal job looks next.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        if self.renewal_state() == RenewalState::Ordered {
            let since = read(self.doc.update_time.as_ref()).map_or(SignedDuration::ZERO, |at| now.duration_since(at));
            let pause = if since < LATER { SOON } else { LATER };
            return now.checked_add(pause).ok();
        }
        match self.doc.state() {
            SubscriptionState::Active | SubscriptionState::PastDue => read(self.doc.next_time.as_ref()),
            _ => None,
        }
    }

    /// What is to be done now; `order` is the state of the begun period's order, None when there is no such order.
    pub fn todo(&self, order: Option<OrderState>, now: Timestamp) -> Todo {
        use OrderState as S;
        if self.renewal_state() == RenewalState::Ordered {
            return match order {
                None => Todo::Order,
                Some(S::PaymentFailed | S::Failed) => Todo::Failed,
                Some(S::Cancelled) => Todo::GivenUp,
                Some(
                    S::Unspecified
                    | S::Draft
                    | S::Pending
                    | S::PaymentProcessing
                    | S::PaymentActionRequired
                    | S::PaymentReview
                    | S::CancellationPending,
                ) => self.due(now).map_or(Todo::Rest, Todo::Wait),
                Some(_) => Todo::Paid,
            };
        }
        match self.due(now) {
            None => Todo::Rest,
            Some(due) if due > now => Todo::Wait(due),
            Some(_) => Todo::Begin,
        }
    }

    /// Begins the next period, or another try of one that failed, with an order that is to be made.
    pub fn order(&self, order: OrderId, now: Timestamp) -> Next {
        let mut doc = self.doc.clone();
        let again = self.doc.renewal.as_ref().filter(|_| self.doc.state() == SubscriptionState::PastDue);
        let (period, attempt) = again.map_or((doc.next_period, 1), |failed| (failed.period, failed.attempt + 1));
        if again.is_none() {
            doc.next_period += 1;
        }
        doc.next_time = self.time_of(doc.next_period).and_then(time);
        doc.renewal = Some(renewal(period, RenewalState::Ordered, order.to_string(), attempt));
        Next { period: Some(attempt == 1), ..self.changed(doc, "ORDERED", period, now) }
    }

    /// The begun period is paid.
    pub fn paid(&self, now: Timestamp) -> Next {
        let mut doc = self.settled(RenewalState::Paid, "");
        if doc.state() == SubscriptionState::PastDue {
            doc.set_state(SubscriptionState::Active);
            doc.state_reason.clear();
        }
        let renewal = doc.renewal.clone().unwrap_or_default();
        let renewed = wire::SubscriptionRenewed {
            subscription_id: doc.id.clone(),
            customer_id: doc.customer_id.clone(),
            period: renewal.period,
            order_id: renewal.order_id,
        };
        let Next { doc, .. } = self.changed(doc, "", 0, now);
        Next { doc, told: Told::Renewed(renewed), period: Some(false) }
    }

    /// The order of the begun period failed: another try by the schedule, or a pause when it is at its end.
    pub fn failed(&self, reason: &str, schedule: &[i32], now: Timestamp) -> Next {
        let schedule = if schedule.is_empty() { &DUNNING[..] } else { schedule };
        let mut doc = self.settled(RenewalState::Failed, reason);
        let (period, attempt) = doc.renewal.as_ref().map_or((0, 0), |renewal| (renewal.period, renewal.attempt));
        let days = usize::try_from(attempt - 1).ok().and_then(|at| schedule.get(at));
        // One that was paused or cancelled meanwhile stays so.
        if matches!(doc.state(), SubscriptionState::Active | SubscriptionState::PastDue) {
            match days {
                Some(days) => {
                    doc.set_state(SubscriptionState::PastDue);
                    doc.next_time =
                        now.checked_add(SignedDuration::from_hours(i64::from(*days) * 24)).ok().and_then(time);
                    doc.state_reason = reason.to_owned();
                }
                None => {
                    doc.set_state(SubscriptionState::Paused);
                    doc.next_time = None;
                    doc.state_reason = "DUNNING_EXHAUSTED".to_owned();
                }
            }
        }
        Next { period: Some(false), ..self.changed(doc, "FAILED", period, now) }
    }

    /// Somebody cancelled the order of the begun period: it is left out.
    pub fn given_up(&self, now: Timestamp) -> Next {
        let mut doc = self.settled(RenewalState::Skipped, "ORDER_CANCELLED");
        if doc.state() == SubscriptionState::PastDue {
            doc.set_state(SubscriptionState::Active);
            doc.state_reason.clear();
        }
        let period = doc.renewal.as_ref().map_or(0, |renewal| renewal.period);
        Next { period: Some(false), ..self.changed(doc, "SKIPPED", period, now) }
    }

    /// Something else is ordered, elsewhere, or paid in another way, from the next order on.
    ///
    /// # Errors
    /// [`Refusal::State`] once it is cancelled; [`Refusal::Already`] when it is so.
    pub fn update(&self, doc: wire::Subscription, now: Timestamp) -> Result<Next, Refusal> {
        self.alive()?;
        if doc == self.doc { Err(Refusal::Already) } else { Ok(self.changed(doc, "UPDATED", 0, now)) }
    }

    /// No renewals until it is resumed.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn pause(&self, reason: &str, now: Timestamp) -> Result<Next, Refusal> {
        self.alive()?;
        if self.doc.state() == SubscriptionState::Paused {
            return Err(Refusal::Already);
        }
        let mut doc = self.doc.clone();
        doc.set_state(SubscriptionState::Paused);
        doc.next_time = None;
        doc.state_reason = reason.to_owned();
        Ok(self.changed(doc, "PAUSED", 0, now))
    }

    /// Renewals go on; when the next period has begun meanwhile, it begins now instead.
    ///
    /// # Errors
    /// [`Refusal::Already`], [`Refusal::State`].
    pub fn resume(&self, now: Timestamp) -> Result<Next, Refusal> {
        self.alive()?;
        if self.doc.state() != SubscriptionState::Paused {
            return Err(Refusal::Already);
        }
        let mut doc = self.doc.clone();
        doc.set_state(SubscriptionState::Active);
        doc.state_reason.clear();
        let planned = self.time_of(doc.next_period).filter(|planned| *planned > now);
        if planned.is_none() {
            (doc.anchor_time, doc.anchor_period) = (time(now), doc.next_period);
        }
        doc.next_time = time(planned.unwrap_or(now));
        Ok(self.changed(doc, "RESUMED", 0, now))
    }

    /// Leaves the next period out, or gives up the one that failed.
    ///
    /// # Errors
    /// [`Refusal::Already`] when it was left out before; [`Refusal::Period`] for another period; [`Refusal::State`].
    pub fn skip(&self, period: i32, now: Timestamp) -> Result<Next, Refusal> {
        self.alive()?;
        let mut doc = self.doc.clone();
        let last = self.doc.renewal.clone().unwrap_or_default();
        if last.period == period && last.state() == RenewalState::Skipped {
            return Err(Refusal::Already);
        }
        let failed = self.doc.state() == SubscriptionState::PastDue && last.state() == RenewalState::Failed;
        if last.state() == RenewalState::Ordered {
            return Err(Refusal::State(self.doc.state()));
        }
        if failed && last.period == period {
            doc.renewal = Some(wire::SubscriptionRenewal { state: RenewalState::Skipped.into(), ..last });
            doc.set_state(SubscriptionState::Active);
            doc.state_reason.clear();
            doc.next_time = self.time_of(doc.next_period).and_then(time);
            return Ok(Next { period: Some(false), ..self.changed(doc, "SKIPPED", period, now) });
        }
        if failed || period != doc.next_period {
            return Err(Refusal::Period(if failed { last.period } else { doc.next_period }));
        }
        doc.next_period += 1;
        doc.renewal = Some(renewal(period, RenewalState::Skipped, String::new(), 0));
        if doc.state() == SubscriptionState::Active {
            doc.next_time = self.time_of(doc.next_period).and_then(time);
        }
        Ok(Next { period: Some(true), ..self.changed(doc, "SKIPPED", period, now) })
    }

    /// It ends for good.
    ///
    /// # Errors
    /// [`Refusal::Already`].
    pub fn cancel(&self, reason: &str, now: Timestamp) -> Result<Next, Refusal> {
        self.alive().map_err(|_| Refusal::Already)?;
        let mut doc = self.doc.clone();
        doc.set_state(SubscriptionState::Cancelled);
        doc.next_time = None;
        doc.state_reason = reason.to_owned();
        Ok(self.changed(doc, "CANCELLED", 0, now))
    }

    fn alive(&self) -> Result<(), Refusal> {
        match self.doc.state() {
            SubscriptionState::Cancelled => Err(Refusal::State(SubscriptionState::Cancelled)),
            _ => Ok(()),
        }
    }

    fn renewal_state(&self) -> RenewalState {
        self.doc.renewal.as_ref().map_or(RenewalState::Unspecified, wire::SubscriptionRenewal::state)
    }

    fn settled(&self, state: RenewalState, reason: &str) -> wire::Subscription {
        let mut doc = self.doc.clone();
        if let Some(renewal) = &mut doc.renewal {
            renewal.set_state(state);
            reason.clone_into(&mut renewal.reason);
        }
        doc
    }

    fn changed(&self, mut doc: wire::Subscription, change: &str, period: i32, now: Timestamp) -> Next {
        doc.update_time = time(now);
        doc.etag = (self.version + 1).to_string();
        let renewal = doc.renewal.as_ref().filter(|renewal| period > 0 && renewal.period == period);
        let told = wire::SubscriptionChanged {
            subscription_id: doc.id.clone(),
            customer_id: doc.customer_id.clone(),
            change: change.to_owned(),
            state: doc.state().as_str_name().trim_start_matches("SUBSCRIPTION_STATE_").to_owned(),
            period,
            order_id: renewal.map(|renewal| renewal.order_id.clone()).unwrap_or_default(),
            reason: renewal.map_or_else(|| doc.state_reason.clone(), |renewal| renewal.reason.clone()),
        };
        Next { doc, told: Told::Changed(told), period: None }
    }
}

fn renewal(period: i32, state: RenewalState, order_id: String, attempt: i32) -> wire::SubscriptionRenewal {
    wire::SubscriptionRenewal { period, state: state.into(), order_id, attempt, reason: String::new() }
}

#[cfg(test)]
mod tests;
