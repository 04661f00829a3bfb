//! Messages of stock and reservations to values and back; every wrong field of a request is named at once.

use contract::inventory::v1 as pb;
use fault::{Fault, Violations};
use ids::OrderId;
use jiff::Timestamp;

use super::check;
use crate::commands::{AdjustStock, ConsumeReservation, ReserveStock};
use crate::news::Availability;
use crate::queries::{ListMovements, Page};
use crate::reservation::{Allocation, Reservation, State};
use crate::stock::{self, Demand};
use crate::store::{Movement, Stock, StockLevel};

pub(super) const MAX_QUANTITY: i32 = 1_000_000;
const MAX_LINES: usize = 1_000;
const MAX_BATCH: usize = 100;
/// A week.
pub(super) const MAX_HOLD_S: i32 = 604_800;

/// The SKU of a request for stock.
///
/// # Errors
/// When it is none.
pub fn get_stock(request: pb::GetStockRequest) -> Result<String, Fault> {
    one_sku(request.sku)
}

pub(super) fn one_sku(sku: String) -> Result<String, Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &sku);
    check::done(wrong, || Some(sku))
}

pub(super) fn many_skus(skus: Vec<String>) -> Result<Vec<String>, Fault> {
    let mut wrong = Violations::default();
    if !(1..=MAX_BATCH).contains(&skus.len()) {
        wrong.add("skus", "OUT_OF_RANGE", format!("must be 1 to {MAX_BATCH}"));
    }
    for (at, sku) in skus.iter().enumerate().take(MAX_BATCH) {
        check::sku(&mut wrong, &format!("skus[{at}]"), sku);
    }
    check::done(wrong, || Some(skus))
}

/// The change of a request to adjust stock.
///
/// # Errors
/// Every wrong field.
pub fn adjust_stock(request: pb::AdjustStockRequest) -> Result<AdjustStock, Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &request.sku);
    check::warehouse(&mut wrong, "warehouse", &request.warehouse);
    check::range(&mut wrong, "on_hand_delta", request.on_hand_delta, -1_000_000, 1_000_000);
    if request.on_hand_delta == 0 {
        wrong.add("on_hand_delta", "REQUIRED", "must not be 0");
    }
    check::text(&mut wrong, "reason", &request.reason, 1, 200);
    let pb::AdjustStockRequest { sku, warehouse, on_hand_delta: delta, reason } = request;
    check::done(wrong, || Some(AdjustStock { sku, warehouse, delta, reason }))
}

/// The page of a request for a ledger.
///
/// # Errors
/// Every wrong field.
pub fn list_movements(request: pb::ListMovementsRequest) -> Result<ListMovements, Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &request.sku);
    let size = check::page_size(&mut wrong, request.page_size);
    let page = Page { size, token: request.page_token };
    check::done(wrong, || Some(ListMovements { sku: request.sku, page }))
}

/// The wish of a request to reserve.
///
/// # Errors
/// Every wrong field.
pub fn reserve_stock(request: pb::ReserveStockRequest) -> Result<ReserveStock, Fault> {
    let mut wrong = Violations::default();
    let order = check::id::<OrderId>(&mut wrong, "order_id", &request.order_id);
    check::range(&mut wrong, "hold_s", request.hold_s, 1, MAX_HOLD_S);
    let demand = demand(&mut wrong, request.lines);
    let pb::ReserveStockRequest { hold_s, split, round, .. } = request;
    check::done(wrong, || Some(ReserveStock { order: order?, demand: demand?, round: round.max(1), hold_s, split }))
}

/// The units of a request to consume.
///
/// # Errors
/// Every wrong field.
pub fn consume_reservation(request: pb::ConsumeReservationRequest) -> Result<ConsumeReservation, Fault> {
    let mut wrong = Violations::default();
    let order = check::id(&mut wrong, "order_id", &request.order_id);
    let shipment = check::id(&mut wrong, "shipment_id", &request.shipment_id);
    check::warehouse(&mut wrong, "warehouse", &request.warehouse);
    let lines = demand(&mut wrong, request.lines);
    let warehouse = request.warehouse;
    check::done(wrong, || Some(ConsumeReservation { order: order?, shipment: shipment?, warehouse, lines: lines? }))
}

pub(super) fn demand(wrong: &mut Violations, lines: Vec<pb::DemandLine>) -> Option<Vec<Demand>> {
    if !(1..=MAX_LINES).contains(&lines.len()) {
        wrong.add("lines", "OUT_OF_RANGE", format!("must be 1 to {MAX_LINES}"));
        return None;
    }
    for (at, line) in lines.iter().enumerate() {
        check::sku(wrong, &format!("lines[{at}].sku"), &line.sku);
        check::range(wrong, &format!("lines[{at}].quantity"), line.quantity, 1, MAX_QUANTITY);
        if !line.slot_id.is_empty() {
            check::sku(wrong, &format!("lines[{at}].slot_id"), &line.slot_id);
        }
    }
    if !wrong.is_empty() {
        return None;
    }
    let sums = stock::sum(lines.into_iter().map(|line| (stock::slot_key(&line.sku, &line.slot_id), line.quantity)));
    sums.map_err(|error| wrong.add("lines", "OUT_OF_RANGE", error.to_string())).ok()
}

/// The order of a request about a reservation.
///
/// # Errors
/// When it is none.
pub fn order_id(text: &str) -> Result<OrderId, Fault> {
    let mut wrong = Violations::default();
    let order = check::id(&mut wrong, "order_id", text);
    check::done(wrong, || order)
}

pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Whether it may be bought, as a message.
pub fn availability(availability: Availability) -> pb::Availability {
    match availability {
        Availability::InStock => pb::Availability::InStock,
        Availability::LowStock => pb::Availability::LowStock,
        Availability::OutOfStock => pb::Availability::OutOfStock,
    }
}

/// Stock of a product in one warehouse as a message.
pub fn level(sku: &str, level: StockLevel) -> pb::StockLevel {
    let available = level.available();
    let StockLevel { warehouse, on_hand, reserved, safety } = level;
    pb::StockLevel { sku: sku.to_owned(), warehouse, on_hand, reserved, available, safety }
}

/// Stock of a product as a message.
pub fn stock(stock: Stock) -> pb::Stock {
    let available = stock.available();
    let etag = figures(&stock);
    let availability = availability(Availability::of(available, stock.threshold)).into();
    let Stock { sku, levels, .. } = stock;
    let levels = levels.into_iter().map(|one| level(&sku, one)).collect();
    pb::Stock { sku, available, levels, availability, etag }
}

/// A short text that changes with the figures (FNV-1a).
fn figures(stock: &Stock) -> String {
    let text = format!("{} {} {:?}", stock.available(), stock.threshold, stock.levels);
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// A page of the ledger as a message.
pub fn movement_page(lines: Vec<Movement>, next_page_token: String) -> pb::ListMovementsResponse {
    let movement = |line: Movement| pb::StockMovement {
        id: line.movement_id.simple().to_string(),
        sku: line.sku,
        warehouse: line.warehouse,
        on_hand_delta: line.d_on_hand,
        reserved_delta: line.d_reserved,
        reason: line.reason,
        reference: line.reference,
        occur_time: Some(time(line.occurred_at)),
    };
    pb::ListMovementsResponse { movements: lines.into_iter().map(movement).collect(), next_page_token }
}

/// Units of a reservation as a message.
pub fn allocation(allocation: Allocation) -> pb::Allocation {
    let Allocation { sku: key, warehouse, quantity, consumed, fulfillment } = allocation;
    let (sku, slot) = stock::of_slot_key(&key);
    let fulfillment_id = fulfillment.map(|id| id.to_string()).unwrap_or_default();
    pb::Allocation { sku: sku.to_owned(), warehouse, quantity, consumed, slot_id: slot.to_owned(), fulfillment_id }
}

/// A reservation as a message.
pub fn reservation(reservation: Reservation) -> pb::Reservation {
    let state = match reservation.state {
        State::Held => pb::ReservationState::Held,
        State::Confirmed => pb::ReservationState::Confirmed,
        State::Consumed => pb::ReservationState::Consumed,
        State::Released => pb::ReservationState::Released,
        State::Expired => pb::ReservationState::Expired,
        State::Allocated => pb::ReservationState::Allocated,
    };
    pb::Reservation {
        id: reservation.id.to_string(),
        order_id: reservation.order.to_string(),
        state: state.into(),
        allocations: reservation.allocations.into_iter().map(allocation).collect(),
        expire_time: Some(time(reservation.expires_at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: std::fmt::Debug>(result: Result<T, Fault>) -> Vec<String> {
        let fault = result.expect_err("refused");
        fault.violations().iter().map(|wrong| wrong.field.clone()).collect()
    }

    fn line(sku: &str, quantity: i32) -> pb::DemandLine {
        pb::DemandLine { sku: sku.to_owned(), quantity, slot_id: String::new() }
    }

    #[test]
    fn inv_02_every_wrong_field_of_a_wish_is_named_at_once() {
        let wish = |order_id: String, lines, hold_s| pb::ReserveStockRequest {
            order_id,
            lines,
            hold_s,
            split: true,
            round: 1,
        };
        let lines = vec![line("A", 0), line("", 1), line("B", i32::MAX), line("C\0", -1), line("D", 1)];
        let wrong = names(reserve_stock(wish("ord_1".to_owned(), lines, 604_801)));
        let expected = ["order_id", "hold_s", "lines[0].quantity", "lines[1].sku", "lines[2].quantity", "lines[3].sku"];
        assert_eq!(wrong[..6], expected);
        assert_eq!(wrong[6..], ["lines[3].quantity"]);
        let order = OrderId::new().to_string();
        assert_eq!(names(reserve_stock(wish(order.clone(), Vec::new(), 0))), ["hold_s", "lines"]);
        let full = (0..1_000).map(|_| line("A", 1_000_000)).collect();
        assert!(reserve_stock(wish(order.clone(), full, 1)).is_ok());
        let good = reserve_stock(wish(order, vec![line("B", 1), line("A", 2), line("B", 3)], 1)).expect("passes");
        assert_eq!(good.demand.iter().map(|d| (d.sku.as_str(), d.quantity)).collect::<Vec<_>>(), [("A", 2), ("B", 4)]);
    }

    #[test]
    fn every_wrong_field_of_adjustments_and_pages_is_named_at_once() {
        let adjust = pb::AdjustStockRequest { on_hand_delta: i32::MIN, ..pb::AdjustStockRequest::default() };
        assert_eq!(names(adjust_stock(adjust)), ["sku", "warehouse", "on_hand_delta", "reason"]);
        assert_eq!(
            names(list_movements(pb::ListMovementsRequest { page_size: -1, ..Default::default() })),
            ["sku", "page_size"]
        );
        let consume = names(consume_reservation(pb::ConsumeReservationRequest::default()));
        assert_eq!(consume, ["order_id", "shipment_id", "warehouse", "lines"]);
    }
}
