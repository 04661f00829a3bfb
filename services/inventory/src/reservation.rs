//! Stock set aside for one order: its states and what may be done in each (INV-03, INV-04, INV-16). Pure.

use ids::{FulfillmentId, OrderId, ReservationId};
use jiff::Timestamp;

use crate::stock::{Demand, Take};

/// State of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Set aside until it expires.
    Held,
    /// Set aside for good.
    Confirmed,
    /// Part or all left the warehouse.
    Consumed,
    /// Given back.
    Released,
    /// Not confirmed in time and given back.
    Expired,
    /// Set aside for good, and every unit belongs to a fulfillment.
    Allocated,
}

impl State {
    /// Number in the contract and the database.
    pub const fn code(self) -> i16 {
        match self {
            Self::Held => 1,
            Self::Confirmed => 2,
            Self::Consumed => 3,
            Self::Released => 4,
            Self::Expired => 5,
            Self::Allocated => 6,
        }
    }

    /// Word for error details.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Confirmed => "CONFIRMED",
            Self::Consumed => "CONSUMED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
            Self::Allocated => "ALLOCATED",
        }
    }

    /// The state of a number.
    pub fn of(code: i16) -> Option<Self> {
        [Self::Held, Self::Confirmed, Self::Consumed, Self::Released, Self::Expired, Self::Allocated]
            .into_iter()
            .find(|state| state.code() == code)
    }
}

/// Units of one product in one warehouse that belong to a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The product.
    pub sku: String,
    /// The warehouse.
    pub warehouse: String,
    /// Units set aside.
    pub quantity: i32,
    /// Units of them that left; never above `quantity`.
    pub consumed: i32,
    /// The fulfillment that works on them.
    pub fulfillment: Option<FulfillmentId>,
}

impl From<Take> for Allocation {
    fn from(take: Take) -> Self {
        Self { sku: take.sku, warehouse: take.warehouse, quantity: take.quantity, consumed: 0, fulfillment: None }
    }
}

/// Stock set aside for one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its id, and its stream of events.
    pub id: ReservationId,
    /// The order.
    pub order: OrderId,
    /// State.
    pub state: State,
    /// Events of the stream so far.
    pub version: i32,
    /// Which round of paying the order it belongs to, from 1.
    pub round: i32,
    /// When a held one ends.
    pub expires_at: Timestamp,
    /// What is set aside where, by SKU and warehouse.
    pub allocations: Vec<Allocation>,
    /// Fulfillments that were called off; none of them works on it again.
    pub called_off: Vec<FulfillmentId>,
}

/// What a reservation answers to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Do it.
    Go,
    /// It is so already; nothing to do.
    Stay,
    /// Its state forbids it.
    Refuse,
}

/// What a wish to reserve finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing is set aside: it may be.
    Nothing,
    /// It is set aside already.
    Same,
    /// What was set aside for this round was given back; nothing is again.
    Over,
    /// An earlier round has not given back yet.
    Earlier,
}

/// What releasing a reservation means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Units go back.
    GiveBack,
    /// The units are back already, but a late attempt to reserve must be refused from now on.
    Mark,
    /// Nothing is left to do.
    Nothing,
}

/// Why units cannot belong to a fulfillment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllocated {
    /// The reservation is only held.
    #[error("the reservation is not confirmed yet")]
    Held,
    /// It was given back.
    #[error("what was set aside for this order was given back")]
    Ended,
    /// Nothing is set aside there.
    #[error("nothing is set aside in this warehouse for this order")]
    Nothing,
    /// The fulfillment was called off.
    #[error("the fulfillment was called off")]
    CalledOff,
    /// Another fulfillment works on them.
    #[error("another fulfillment works on these units")]
    Taken,
}

/// Units leave that were not set aside there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("more units of {} leave than are set aside there", skus.join(", "))]
pub struct Overdrawn {
    /// The products, sorted.
    pub skus: Vec<String>,
}

impl Reservation {
    /// May it be kept for good?
    pub fn confirm(&self) -> Step {
        match self.state {
            State::Held => Step::Go,
            State::Confirmed | State::Allocated | State::Consumed => Step::Stay,
            State::Released | State::Expired => Step::Refuse,
        }
    }

    /// What an order that is paid in a round finds: this reservation, its end, or nothing so that stock is set aside.
    pub fn seen_by(&self, round: i32) -> Seen {
        match self.state {
            _ if self.round > round => Seen::Over,
            State::Released if self.round == round => Seen::Over,
            // A hold that ran out may be tried again (domain.md 4.5, step 4), and so may what an earlier round gave back.
            State::Released | State::Expired => Seen::Nothing,
            _ if self.round < round => Seen::Earlier,
            _ => Seen::Same,
        }
    }

    /// What is there to give back?
    pub fn release(&self) -> Release {
        match self.state {
            State::Held | State::Confirmed | State::Allocated => Release::GiveBack,
            State::Consumed if self.allocations.iter().any(|a| a.consumed < a.quantity) => Release::GiveBack,
            State::Consumed | State::Released => Release::Nothing,
            State::Expired => Release::Mark,
        }
    }

    /// May it end later?
    pub fn extend(&self, until: Timestamp) -> Step {
        match self.state {
            State::Held if until > self.expires_at => Step::Go,
            State::Held | State::Confirmed | State::Allocated | State::Consumed => Step::Stay,
            State::Released | State::Expired => Step::Refuse,
        }
    }

    /// The same when a fulfillment works on the units of a warehouse; none when that is so already.
    ///
    /// What has left stays consumed: a shipment may be told of before its fulfillment.
    ///
    /// # Errors
    /// What forbids it.
    pub fn allocate(&self, warehouse: &str, to: FulfillmentId) -> Result<Option<Self>, NotAllocated> {
        match self.state {
            State::Held => return Err(NotAllocated::Held),
            State::Released | State::Expired => return Err(NotAllocated::Ended),
            State::Confirmed | State::Allocated | State::Consumed => {}
        }
        if self.called_off.contains(&to) {
            return Err(NotAllocated::CalledOff);
        }
        let mut next = self.clone();
        let here: Vec<&mut Allocation> = next.allocations.iter_mut().filter(|a| a.warehouse == warehouse).collect();
        if here.is_empty() {
            return Err(NotAllocated::Nothing);
        }
        if here.iter().any(|a| a.fulfillment.is_some_and(|owner| owner != to)) {
            return Err(NotAllocated::Taken);
        }
        if here.iter().all(|a| a.fulfillment == Some(to)) {
            return Ok(None);
        }
        for allocation in here {
            allocation.fulfillment = Some(to);
        }
        if next.state == State::Confirmed && next.allocations.iter().all(|a| a.fulfillment.is_some()) {
            next.state = State::Allocated;
        }
        next.version += 1;
        Ok(Some(next))
    }

    /// The same when a fulfillment was called off: what it worked on waits for another one. None when that is so already.
    ///
    /// It is remembered whatever the state: its wish may come later than its end, and later than another reservation.
    pub fn call_off(&self, gone: FulfillmentId) -> Option<Self> {
        if self.called_off.contains(&gone) {
            return None;
        }
        let mut next = self.clone();
        for allocation in next.allocations.iter_mut().filter(|a| a.fulfillment == Some(gone)) {
            allocation.fulfillment = None;
        }
        if next.state == State::Allocated && next.allocations.iter().any(|a| a.fulfillment.is_none()) {
            next.state = State::Confirmed;
        }
        next.called_off.push(gone);
        Some(next)
    }

    /// May units leave the warehouse?
    pub fn consume(&self) -> Step {
        match self.state {
            State::Confirmed | State::Allocated | State::Consumed => Step::Go,
            State::Held | State::Released | State::Expired => Step::Refuse,
        }
    }

    /// Checks that what leaves a warehouse is set aside there and has not left yet.
    ///
    /// # Errors
    /// Every product of which too much would leave.
    pub fn leave(&self, warehouse: &str, lines: &[Demand]) -> Result<(), Overdrawn> {
        let left = |sku: &str| {
            let here = self.allocations.iter().find(|a| a.sku == sku && a.warehouse == warehouse);
            here.map_or(0, |a| a.quantity - a.consumed)
        };
        let skus: Vec<String> =
            lines.iter().filter(|line| line.quantity > left(&line.sku)).map(|line| line.sku.clone()).collect();
        if skus.is_empty() { Ok(()) } else { Err(Overdrawn { skus }) }
    }

    /// The same after units left.
    #[must_use]
    pub fn after_leaving(mut self, warehouse: &str, lines: &[Demand]) -> Self {
        for line in lines {
            let here = self.allocations.iter_mut().filter(|a| a.sku == line.sku && a.warehouse == warehouse);
            for allocation in here {
                allocation.consumed += line.quantity;
            }
        }
        self.state = State::Consumed;
        self.version += 1;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(state: State) -> Reservation {
        let allocation = |sku: &str, warehouse: &str, quantity, consumed| Allocation {
            sku: sku.to_owned(),
            warehouse: warehouse.to_owned(),
            quantity,
            consumed,
            fulfillment: None,
        };
        Reservation {
            id: ReservationId::new(),
            order: OrderId::new(),
            state,
            version: 1,
            round: 2,
            expires_at: Timestamp::UNIX_EPOCH,
            allocations: vec![allocation("A", "W1", 3, 1), allocation("A", "W2", 2, 0), allocation("B", "W1", 1, 1)],
            called_off: Vec::new(),
        }
    }

    fn lines(lines: &[(&str, i32)]) -> Vec<Demand> {
        lines.iter().map(|(sku, quantity)| Demand { sku: (*sku).to_owned(), quantity: *quantity }).collect()
    }

    #[test]
    fn inv_04_every_state_knows_what_may_follow() {
        let table = [
            (State::Held, Step::Go, Release::GiveBack, Step::Refuse),
            (State::Confirmed, Step::Stay, Release::GiveBack, Step::Go),
            (State::Allocated, Step::Stay, Release::GiveBack, Step::Go),
            (State::Consumed, Step::Stay, Release::GiveBack, Step::Go),
            (State::Released, Step::Refuse, Release::Nothing, Step::Refuse),
            (State::Expired, Step::Refuse, Release::Mark, Step::Refuse),
        ];
        for (state, confirm, release, consume) in table {
            let it = reservation(state);
            assert_eq!((it.confirm(), it.release(), it.consume()), (confirm, release, consume), "{state:?}");
            assert_eq!(State::of(state.code()), Some(state));
        }
    }

    #[test]
    fn inv_16_only_what_is_set_aside_in_a_warehouse_may_leave_it() {
        let it = reservation(State::Confirmed);
        assert_eq!(it.leave("W1", &lines(&[("A", 2)])), Ok(()));
        let too_much = it.leave("W1", &lines(&[("A", 3), ("B", 1), ("C", 1)]));
        assert_eq!(too_much, Err(Overdrawn { skus: vec!["A".into(), "B".into(), "C".into()] }));
        assert!(it.leave("W2", &lines(&[("B", 1)])).is_err());
    }

    #[test]
    fn inv_16_a_reservation_that_left_as_a_whole_has_nothing_to_release() {
        let it = reservation(State::Confirmed).after_leaving("W1", &lines(&[("A", 2)]));
        assert_eq!((it.state, it.release()), (State::Consumed, Release::GiveBack));
        assert_eq!(it.after_leaving("W2", &lines(&[("A", 2)])).release(), Release::Nothing);
    }

    #[test]
    fn inv_04_a_reservation_is_allocated_when_every_warehouse_has_its_fulfillment() {
        let (first, second) = (FulfillmentId::new(), FulfillmentId::new());
        let it = reservation(State::Confirmed);
        let half = it.allocate("W1", first).expect("allowed").expect("new");
        assert_eq!((half.state, half.version), (State::Confirmed, 2));
        assert_eq!(half.allocate("W1", first), Ok(None));
        assert_eq!(half.allocate("W1", second), Err(NotAllocated::Taken));
        assert_eq!(half.allocate("W9", second), Err(NotAllocated::Nothing));
        let whole = half.allocate("W2", second).expect("allowed").expect("new");
        assert_eq!(whole.state, State::Allocated);
        let left = whole.after_leaving("W1", &lines(&[("A", 2)]));
        assert_eq!((left.state, left.allocate("W1", first)), (State::Consumed, Ok(None)));
        assert_eq!(reservation(State::Held).allocate("W1", first), Err(NotAllocated::Held));
        assert_eq!(reservation(State::Expired).allocate("W1", first), Err(NotAllocated::Ended));
    }

    #[test]
    fn inv_04_what_a_fulfillment_worked_on_that_was_called_off_is_free_for_another_only() {
        let (first, second, third) = (FulfillmentId::new(), FulfillmentId::new(), FulfillmentId::new());
        let bind = |it: &Reservation, to, warehouse| it.allocate(warehouse, to).expect("allowed").expect("new");
        let whole = bind(&bind(&reservation(State::Confirmed), first, "W1"), second, "W2");
        let off = whole.call_off(first).expect("new");
        assert_eq!((off.state, off.version), (State::Confirmed, whole.version), "no event of the reservation");
        assert_eq!(off.call_off(first), None);
        assert_eq!(off.allocate("W1", first), Err(NotAllocated::CalledOff));
        assert_eq!(off.allocate("W2", third), Err(NotAllocated::Taken), "the other works on");
        assert_eq!(bind(&off, third, "W1").state, State::Allocated);
        let early = reservation(State::Held).call_off(first).expect("new");
        assert_eq!((early.state, early.called_off), (State::Held, vec![first]));
    }

    #[test]
    fn pay_18_a_later_round_of_paying_finds_nothing_set_aside_and_an_earlier_one_its_end() {
        use Seen::{Earlier, Nothing, Over, Same};
        let table = [
            (State::Held, Over, Same, Earlier),
            (State::Confirmed, Over, Same, Earlier),
            (State::Allocated, Over, Same, Earlier),
            (State::Consumed, Over, Same, Earlier),
            (State::Released, Over, Over, Nothing),
            (State::Expired, Over, Nothing, Nothing),
        ];
        for (state, before, same, later) in table {
            let it = reservation(state);
            assert_eq!((it.seen_by(1), it.seen_by(2), it.seen_by(3)), (before, same, later), "{state:?}");
        }
    }

    #[test]
    fn inv_04_only_a_held_reservation_ends_later_and_none_ends_earlier() {
        let later = Timestamp::UNIX_EPOCH.saturating_add(jiff::SignedDuration::from_secs(1)).expect("in range");
        assert_eq!(reservation(State::Held).extend(later), Step::Go);
        assert_eq!(reservation(State::Held).extend(Timestamp::UNIX_EPOCH), Step::Stay);
        assert_eq!(reservation(State::Allocated).extend(later), Step::Stay);
        assert_eq!(reservation(State::Released).extend(later), Step::Refuse);
    }
}
