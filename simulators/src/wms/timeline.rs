//! The life of one warehouse order: its status is computed from time, never from timers.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Simulated time from one step to the next.
const STEP: Duration = Duration::from_secs(2);

/// Where the warehouse is with an order; ordered as time goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Status {
    Accepted,
    Picking,
    Packed,
    Shipped,
    Cancelled,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Accepted => "ACCEPTED",
            Status::Picking => "PICKING",
            Status::Packed => "PACKED",
            Status::Shipped => "SHIPPED",
            Status::Cancelled => "CANCELLED",
        }
    }
}

/// One line of a warehouse order.
pub(super) struct Line {
    pub(super) sku: String,
    pub(super) quantity: u64,
}

/// An order the warehouse took.
pub(super) struct WarehouseOrder {
    pub(super) id: String,
    pub(super) warehouse: String,
    pub(super) lines: Vec<Line>,
    status: Status,
    updated_at: Timestamp,
}

impl WarehouseOrder {
    pub(super) fn new(id: String, warehouse: String, lines: Vec<Line>, now: Timestamp) -> Self {
        Self { id, warehouse, lines, status: Status::Accepted, updated_at: now }
    }

    pub(super) fn status(&self) -> Status {
        self.status
    }

    pub(super) fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    /// Brings the status up to `now`; it only moves forward, whatever happens to the speed.
    pub(super) fn advance(&mut self, now: Timestamp, factor: f64) {
        let step = if factor > 0.0 {
            let seconds = STEP.as_secs_f64() / factor;
            SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX)
        } else {
            SignedDuration::ZERO
        };
        for next in [Status::Picking, Status::Packed] {
            if self.status >= next {
                continue;
            }
            match self.updated_at.checked_add(step) {
                Ok(due) if due <= now => self.become_at(next, due),
                _ => return,
            }
        }
    }

    /// Picked units of a line: all of them once packed.
    pub(super) fn picked(&self, line: &Line) -> u64 {
        match self.status {
            Status::Packed | Status::Shipped => line.quantity,
            Status::Accepted | Status::Picking | Status::Cancelled => 0,
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp) {
        self.become_at(Status::Cancelled, now);
    }

    pub(super) fn ship(&mut self, now: Timestamp) {
        self.become_at(Status::Shipped, now);
    }

    fn become_at(&mut self, status: Status, at: Timestamp) {
        self.status = status;
        self.updated_at = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000 + seconds).unwrap()
    }

    #[test]
    fn an_order_is_picked_after_two_and_packed_after_four_seconds() {
        let seen: Vec<_> = [1, 2, 3, 4, 60]
            .into_iter()
            .map(|seconds| {
                let mut order = WarehouseOrder::new("w".into(), "W1".into(), vec![], after(0));
                order.advance(after(seconds), 1.0);
                (order.status(), order.updated_at())
            })
            .collect();
        assert_eq!(
            seen,
            [
                (Status::Accepted, after(0)),
                (Status::Picking, after(2)),
                (Status::Picking, after(2)),
                (Status::Packed, after(4)),
                (Status::Packed, after(4)),
            ]
        );
    }

    #[test]
    fn a_factor_of_zero_packs_at_once_and_slowing_down_never_goes_back() {
        let mut order = WarehouseOrder::new("w".into(), "W1".into(), vec![], after(0));
        order.advance(after(0), 0.0);
        order.advance(after(1), 1e-300);
        assert_eq!(order.status(), Status::Packed);
    }
}
