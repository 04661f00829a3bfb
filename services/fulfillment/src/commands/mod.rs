//! What callers may have done.

pub(crate) mod cancel;
pub(crate) mod create;
pub(crate) mod ship;

use fault::Fault;

/// How often a decision is made again because somebody else moved the same row.
const TURNS: usize = 5;

fn cancelled() -> Fault {
    Fault::precondition("FULFILLMENT_CANCELLED", "the work was cancelled")
}

fn in_picking() -> Fault {
    Fault::precondition("ORDER_IN_PICKING", "the warehouse has begun to pick")
}

fn raced() -> Fault {
    Fault::aborted("VERSION_CONFLICT", "somebody else changed it at the same moment")
}
