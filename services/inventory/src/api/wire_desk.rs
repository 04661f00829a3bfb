//! Messages of stock, storefront, slots and the reservation desk to values and back.

use contract::inventory::v1 as pb;
use fault::{Fault, Violations};
use jiff::SignedDuration;
use money::{Currency, Money};

use super::check;
use super::wire::{self, MAX_HOLD_S, MAX_QUANTITY, time};
use super::wire_catalog;
use crate::commands::{AllocateReservation, CreateSlot, ResizeReservation, TransferStock};
use crate::news::Settings;
use crate::queries::{ListReservations, ListSlots, ListStock, Page};
use crate::reservation::{Reservation, State};
use crate::store::{Shown, Slot, Stock};

/// Longest slot.
const MONTH: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Product, warehouse and units of a request for safety stock.
///
/// # Errors
/// Every wrong field.
pub fn set_safety_stock(request: pb::SetSafetyStockRequest) -> Result<(String, String, i32), Fault> {
    let mut wrong = Violations::default();
    let pb::SetSafetyStockRequest { sku, warehouse, safety } = request;
    check::sku(&mut wrong, "sku", &sku);
    check::warehouse(&mut wrong, "warehouse", &warehouse);
    check::range(&mut wrong, "safety", safety, 0, MAX_QUANTITY);
    check::done(wrong, || Some((sku, warehouse, safety)))
}

/// The transfer of a request.
///
/// # Errors
/// Every wrong field.
pub fn transfer_stock(request: pb::TransferStockRequest) -> Result<TransferStock, Fault> {
    let mut wrong = Violations::default();
    let pb::TransferStockRequest { sku, from_warehouse: from, to_warehouse: to, quantity, reason } = request;
    check::sku(&mut wrong, "sku", &sku);
    check::warehouse(&mut wrong, "from_warehouse", &from);
    check::warehouse(&mut wrong, "to_warehouse", &to);
    if !to.is_empty() && from == to {
        wrong.add("to_warehouse", "SAME_WAREHOUSE", "must be another warehouse");
    }
    check::range(&mut wrong, "quantity", quantity, 1, MAX_QUANTITY);
    check::text(&mut wrong, "reason", &reason, 1, 200);
    check::done(wrong, || Some(TransferStock { sku, from, to, quantity, reason }))
}

/// The SKUs of a request for the stock of many products.
///
/// # Errors
/// Every wrong field.
pub fn batch_get_stock(request: pb::BatchGetStockRequest) -> Result<Vec<String>, Fault> {
    wire::many_skus(request.skus)
}

/// The page of a request for stock.
///
/// # Errors
/// Every wrong field.
pub fn list_stock(request: pb::ListStockRequest) -> Result<ListStock, Fault> {
    let mut wrong = Violations::default();
    let size = check::page_size(&mut wrong, request.page_size);
    let page = Page { size, token: request.page_token };
    check::done(wrong, || Some(ListStock { page, low: request.low }))
}

/// The settings of a request to change them.
///
/// # Errors
/// Every wrong field.
pub fn update_settings(request: pb::UpdateInventorySettingsRequest) -> Result<Settings, Fault> {
    let mut wrong = Violations::default();
    let Some(pb::InventorySettings { low_stock_threshold, reorder_up_to }) = request.settings else {
        wrong.add("settings", "REQUIRED", "must be given");
        return check::done(wrong, || None);
    };
    check::range(&mut wrong, "settings.low_stock_threshold", low_stock_threshold, 0, MAX_QUANTITY);
    check::range(&mut wrong, "settings.reorder_up_to", reorder_up_to, 0, 10 * MAX_QUANTITY);
    check::done(wrong, || Some(Settings { low_stock_threshold, reorder_up_to }))
}

/// Product, price and version of a request for a price.
///
/// # Errors
/// Every wrong field.
pub fn set_price(request: pb::SetPriceRequest) -> Result<(String, Money, Option<i32>), Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &request.sku);
    let mut price = None;
    match request.price {
        None => wrong.add("price", "REQUIRED", "must be given"),
        Some(given) => {
            if given.amount_minor <= 0 {
                wrong.add("price.amount_minor", "OUT_OF_RANGE", "must be above zero");
            }
            match given.currency_code.parse::<Currency>() {
                Ok(currency) => price = Some(Money::new(currency, given.amount_minor)),
                Err(error) => wrong.add("price.currency_code", "UNKNOWN_CURRENCY", error.to_string()),
            }
        }
    }
    let based_on = check::etag(&mut wrong, "etag", &request.etag);
    check::done(wrong, || Some((request.sku, price?, based_on)))
}

/// Product and version of a request to end it.
///
/// # Errors
/// Every wrong field.
pub fn delete_product(request: pb::DeleteProductRequest) -> Result<(String, Option<i32>), Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &request.sku);
    let based_on = check::etag(&mut wrong, "etag", &request.etag);
    check::done(wrong, || Some((request.sku, based_on)))
}

/// The page of a request for the storefront.
///
/// # Errors
/// Every wrong field.
pub fn list_catalog(request: pb::ListStorefrontProductsRequest) -> Result<Page, Fault> {
    let mut wrong = Violations::default();
    let size = check::page_size(&mut wrong, request.page_size);
    check::done(wrong, || Some(Page { size, token: request.page_token }))
}

/// The units of a request to allocate.
///
/// # Errors
/// Every wrong field.
pub fn allocate_reservation(request: pb::AllocateReservationRequest) -> Result<AllocateReservation, Fault> {
    let mut wrong = Violations::default();
    let order = check::id(&mut wrong, "order_id", &request.order_id);
    check::warehouse(&mut wrong, "warehouse", &request.warehouse);
    let fulfillment = check::id(&mut wrong, "fulfillment_id", &request.fulfillment_id);
    let warehouse = request.warehouse;
    check::done(wrong, || Some(AllocateReservation { order: order?, warehouse, fulfillment: fulfillment? }))
}

/// Order and seconds of a request to hold longer.
///
/// # Errors
/// Every wrong field.
pub fn extend_reservation(request: &pb::ExtendReservationRequest) -> Result<(ids::OrderId, i32), Fault> {
    let mut wrong = Violations::default();
    let order = check::id(&mut wrong, "order_id", &request.order_id);
    check::range(&mut wrong, "hold_s", request.hold_s, 1, MAX_HOLD_S);
    check::done(wrong, || Some((order?, request.hold_s)))
}

/// The wish of a request to resize.
///
/// # Errors
/// Every wrong field.
pub fn resize_reservation(request: pb::ResizeReservationRequest) -> Result<ResizeReservation, Fault> {
    let mut wrong = Violations::default();
    let order = check::id(&mut wrong, "order_id", &request.order_id);
    check::range(&mut wrong, "revision", request.revision, 1, i32::MAX);
    let demand = wire::demand(&mut wrong, request.lines);
    let pb::ResizeReservationRequest { split, revision, .. } = request;
    check::done(wrong, || Some(ResizeReservation { order: order?, demand: demand?, split, revision }))
}

/// The page of a request for reservations.
///
/// # Errors
/// Every wrong field.
pub fn list_reservations(request: pb::ListReservationsRequest) -> Result<ListReservations, Fault> {
    let mut wrong = Violations::default();
    let size = check::page_size(&mut wrong, request.page_size);
    let state = check::known(&mut wrong, "state", request.state, State::of);
    if !request.sku.is_empty() {
        check::sku(&mut wrong, "sku", &request.sku);
    }
    let page = Page { size, token: request.page_token };
    check::done(wrong, || Some(ListReservations { page, state, sku: request.sku }))
}

/// The slot of a request to open one.
///
/// # Errors
/// Every wrong field.
pub fn create_slot(request: pb::CreateSlotRequest) -> Result<CreateSlot, Fault> {
    let mut wrong = Violations::default();
    let Some(slot) = request.slot else {
        wrong.add("slot", "REQUIRED", "must be given");
        return check::done(wrong, || None);
    };
    check::sku(&mut wrong, "slot.sku", &slot.sku);
    check::warehouse(&mut wrong, "slot.warehouse", &slot.warehouse);
    let start = check::moment(&mut wrong, "slot.start_time", slot.start_time);
    let end = check::moment(&mut wrong, "slot.end_time", slot.end_time);
    for (name, moment) in [("slot.start_time", start), ("slot.end_time", end)] {
        if moment.is_some_and(|moment| moment.subsec_nanosecond() != 0) {
            wrong.add(name, "INVALID_FORMAT", "must be whole seconds");
        }
    }
    if let (Some(start), Some(end)) = (start, end)
        && (end <= start || end.duration_since(start) > MONTH)
    {
        wrong.add("slot.end_time", "OUT_OF_RANGE", "must be after the start, by 31 days at most");
    }
    check::range(&mut wrong, "slot.capacity", slot.capacity, 1, 10_000);
    let pb::Slot { sku, warehouse, capacity, .. } = slot;
    check::done(wrong, || Some(CreateSlot { sku, warehouse, starts_at: start?, ends_at: end?, capacity }))
}

/// The page of a request for slots.
///
/// # Errors
/// Every wrong field.
pub fn list_slots(request: pb::ListSlotsRequest) -> Result<ListSlots, Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &request.sku);
    let size = check::page_size(&mut wrong, request.page_size);
    let page = Page { size, token: request.page_token };
    check::done(wrong, || Some(ListSlots { sku: request.sku, page, free: request.free }))
}

/// Stock of many products as a message.
pub fn stock_batch(stocks: Vec<Stock>) -> pb::BatchGetStockResponse {
    pb::BatchGetStockResponse { stocks: stocks.into_iter().map(wire::stock).collect() }
}

/// A page of stock as a message.
pub fn stock_page(stocks: Vec<Stock>, next_page_token: String) -> pb::ListStockResponse {
    pb::ListStockResponse { stocks: stocks.into_iter().map(wire::stock).collect(), next_page_token }
}

/// Settings as a message.
pub fn settings(settings: Settings) -> pb::InventorySettings {
    let Settings { low_stock_threshold, reorder_up_to } = settings;
    pb::InventorySettings { low_stock_threshold, reorder_up_to }
}

/// A product with its availability as a message.
pub fn shown(shown: Shown) -> pb::Product {
    let availability = wire::availability(shown.availability).into();
    pb::Product { availability, ..wire_catalog::product(shown.product) }
}

/// A page of the storefront as a message.
pub fn catalog_page(products: Vec<Shown>, next_page_token: String) -> pb::ListStorefrontProductsResponse {
    let products = products.into_iter().map(shown).collect();
    pb::ListStorefrontProductsResponse { products, next_page_token }
}

/// A page of reservations as a message.
pub fn reservation_page(found: Vec<Reservation>, next_page_token: String) -> pb::ListReservationsResponse {
    let reservations = found.into_iter().map(wire::reservation).collect();
    pb::ListReservationsResponse { reservations, next_page_token }
}

/// A slot as a message.
pub fn slot(slot: Slot) -> pb::Slot {
    let Slot { slot_id: id, sku, warehouse, starts_at, ends_at, capacity, available } = slot;
    let (start_time, end_time) = (Some(time(starts_at)), Some(time(ends_at)));
    pb::Slot { id, sku, warehouse, start_time, end_time, capacity, available }
}

/// A page of slots as a message.
pub fn slot_page(slots: Vec<Slot>, next_page_token: String) -> pb::ListSlotsResponse {
    pb::ListSlotsResponse { slots: slots.into_iter().map(slot).collect(), next_page_token }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: std::fmt::Debug>(result: Result<T, Fault>) -> Vec<String> {
        result.expect_err("refused").violations().iter().map(|wrong| wrong.field.clone()).collect()
    }

    #[test]
    fn inv_05_every_wrong_field_of_a_transfer_is_named_at_once() {
        let all = ["sku", "from_warehouse", "to_warehouse", "quantity", "reason"];
        assert_eq!(names(transfer_stock(pb::TransferStockRequest::default())), all);
        let same = pb::TransferStockRequest {
            sku: "A".into(),
            from_warehouse: "W1".into(),
            to_warehouse: "W1".into(),
            quantity: 1,
            reason: "r".into(),
        };
        assert_eq!(names(transfer_stock(same)), ["to_warehouse"]);
    }

    #[test]
    fn inv_17_every_wrong_field_of_a_slot_is_named_at_once() {
        let moment = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        assert_eq!(names(create_slot(pb::CreateSlotRequest::default())), ["slot"]);
        let slot = pb::Slot {
            sku: "a b".into(),
            start_time: moment(2_000_000_000, 5),
            end_time: moment(2_000_000_000, 0),
            ..pb::Slot::default()
        };
        let wrong = names(create_slot(pb::CreateSlotRequest { slot: Some(slot) }));
        assert_eq!(wrong, ["slot.sku", "slot.warehouse", "slot.start_time", "slot.end_time", "slot.capacity"]);
        let far = pb::Slot { start_time: moment(i64::MAX, 0), end_time: moment(0, -1), ..pb::Slot::default() };
        let wrong = names(create_slot(pb::CreateSlotRequest { slot: Some(far) }));
        assert_eq!(wrong[2..], ["slot.start_time", "slot.end_time", "slot.capacity"]);
    }

    #[test]
    fn inv_13_a_price_is_above_zero_and_of_a_known_currency() {
        let price = contract::common::v1::Money { currency_code: "XXQ".into(), amount_minor: 0 };
        let request = pb::SetPriceRequest { sku: "A".into(), price: Some(price), etag: "x".into() };
        assert_eq!(names(set_price(request)), ["price.amount_minor", "price.currency_code", "etag"]);
    }

    #[test]
    fn inv_04_wrong_fields_of_the_desk_are_named() {
        let wrong = names(allocate_reservation(pb::AllocateReservationRequest::default()));
        assert_eq!(wrong, ["order_id", "warehouse", "fulfillment_id"]);
        assert_eq!(names(extend_reservation(&pb::ExtendReservationRequest::default())), ["order_id", "hold_s"]);
        let list = pb::ListReservationsRequest { state: 99, sku: "a b".into(), ..Default::default() };
        assert_eq!(names(list_reservations(list)), ["state", "sku"]);
    }
}
