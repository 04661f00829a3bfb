//! Messages to values and back; every wrong field of a request is named at once.

use std::collections::BTreeSet;

use contract::common::v1 as common;
use contract::inventory::v1 as pb;
use fault::{Fault, Violations};
use ids::OrderId;
use jiff::Timestamp;
use money::{Currency, Money};

use super::check;
use crate::commands::{AdjustStock, ConsumeReservation, ReserveStock, UpdateProduct};
use crate::product::{Address, NewProduct, Product, Warehouse};
use crate::queries::{ListMovements, Page};
use crate::reservation::{Allocation, Reservation, State};
use crate::stock::{self, Demand};
use crate::store::{Movement, StockLevel};

const MAX_QUANTITY: i32 = 1_000_000;
const MAX_LINES: usize = 1_000;
const MAX_BATCH: usize = 100;
/// A week.
const MAX_HOLD_S: i32 = 604_800;

/// The product of a request to create one.
///
/// # Errors
/// Every wrong field.
pub fn create_product(request: pb::CreateProductRequest) -> Result<NewProduct, Fault> {
    let mut wrong = Violations::default();
    let product = new_product(&mut wrong, request.product);
    check::done(wrong, || product)
}

/// The change of a request to update a product.
///
/// # Errors
/// Every wrong field.
pub fn update_product(request: pb::UpdateProductRequest) -> Result<UpdateProduct, Fault> {
    let mut wrong = Violations::default();
    let product = new_product(&mut wrong, request.product);
    let based_on = check::etag(&mut wrong, "etag", &request.etag);
    check::done(wrong, || Some(UpdateProduct { product: product?, based_on }))
}

fn new_product(wrong: &mut Violations, product: Option<pb::Product>) -> Option<NewProduct> {
    let Some(product) = product else {
        wrong.add("product", "REQUIRED", "must be given");
        return None;
    };
    check::sku(wrong, "product.sku", &product.sku);
    check::text(wrong, "product.display_name", &product.display_name, 1, 200);
    let tax_class = if product.tax_class.is_empty() { "standard".to_owned() } else { product.tax_class };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    check::code(wrong, "product.tax_class", &tax_class, 40, lower, "a-z, 0-9, hyphen and underscore");
    check::range(wrong, "product.weight_grams", product.weight_grams, 0, 1_000_000);
    Some(NewProduct {
        prices: prices(wrong, &product.prices),
        sku: product.sku,
        display_name: product.display_name,
        tax_class,
        weight_grams: product.weight_grams,
    })
}

fn prices(wrong: &mut Violations, prices: &[common::Money]) -> Vec<Money> {
    if prices.is_empty() {
        wrong.add("product.prices", "REQUIRED", "at least one price");
    }
    let mut seen = BTreeSet::new();
    let mut good = Vec::with_capacity(prices.len());
    for (at, price) in prices.iter().enumerate() {
        let field = |name: &str| format!("product.prices[{at}].{name}");
        if price.amount_minor <= 0 {
            wrong.add(field("amount_minor"), "OUT_OF_RANGE", "must be above zero");
        }
        match price.currency_code.parse::<Currency>() {
            Err(error) => wrong.add(field("currency_code"), "UNKNOWN_CURRENCY", error.to_string()),
            Ok(currency) if !seen.insert(currency.code()) => {
                wrong.add(field("currency_code"), "DUPLICATE_CURRENCY", "one price per currency");
            }
            Ok(currency) => good.push(Money::new(currency, price.amount_minor)),
        }
    }
    good
}

/// The SKU of a request for a product.
///
/// # Errors
/// When it is none.
pub fn get_product(request: pb::GetProductRequest) -> Result<String, Fault> {
    one_sku(request.sku)
}

/// The SKU of a request for stock.
///
/// # Errors
/// When it is none.
pub fn get_stock(request: pb::GetStockRequest) -> Result<String, Fault> {
    one_sku(request.sku)
}

fn one_sku(sku: String) -> Result<String, Fault> {
    let mut wrong = Violations::default();
    check::sku(&mut wrong, "sku", &sku);
    check::done(wrong, || Some(sku))
}

/// The page of a request for the catalog.
///
/// # Errors
/// Every wrong field.
pub fn list_products(request: pb::ListProductsRequest) -> Result<Page, Fault> {
    let mut wrong = Violations::default();
    let size = check::page_size(&mut wrong, request.page_size);
    check::done(wrong, || Some(Page { size, token: request.page_token }))
}

/// The SKUs of a request for many products.
///
/// # Errors
/// Every wrong field.
pub fn batch_get_products(request: pb::BatchGetProductsRequest) -> Result<Vec<String>, Fault> {
    let mut wrong = Violations::default();
    if !(1..=MAX_BATCH).contains(&request.skus.len()) {
        wrong.add("skus", "OUT_OF_RANGE", format!("must be 1 to {MAX_BATCH}"));
    }
    for (at, sku) in request.skus.iter().enumerate().take(MAX_BATCH) {
        check::sku(&mut wrong, &format!("skus[{at}]"), sku);
    }
    check::done(wrong, || Some(request.skus))
}

/// The warehouse of a request to create one.
///
/// # Errors
/// Every wrong field.
pub fn create_warehouse(request: pb::CreateWarehouseRequest) -> Result<Warehouse, Fault> {
    let mut wrong = Violations::default();
    let warehouse = request.warehouse;
    if warehouse.is_none() {
        wrong.add("warehouse", "REQUIRED", "must be given");
    }
    let warehouse = warehouse.map(|warehouse| {
        check::warehouse(&mut wrong, "warehouse.code", &warehouse.code);
        check::text(&mut wrong, "warehouse.display_name", &warehouse.display_name, 1, 120);
        check::range(&mut wrong, "warehouse.priority", warehouse.priority, 0, 1_000);
        let address = address(&mut wrong, warehouse.address);
        let pb::Warehouse { code, display_name, priority, .. } = warehouse;
        address.map(|address| Warehouse { code, display_name, address, priority })
    });
    check::done(wrong, || warehouse.flatten())
}

fn address(wrong: &mut Violations, address: Option<common::Address>) -> Option<Address> {
    let Some(address) = address else {
        wrong.add("warehouse.address", "REQUIRED", "must be given");
        return None;
    };
    let fields = [
        ("recipient", &address.recipient, 1, 200),
        ("line1", &address.line1, 1, 200),
        ("line2", &address.line2, 0, 200),
        ("city", &address.city, 1, 100),
        ("region", &address.region, 0, 10),
        ("postal_code", &address.postal_code, 0, 20),
    ];
    for (name, value, min, max) in fields {
        check::text(wrong, &format!("warehouse.address.{name}"), value, min, max);
    }
    let country = &address.country_code;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        wrong.add("warehouse.address.country_code", "INVALID_FORMAT", "two capital letters (ISO 3166-1)");
    }
    let common::Address { recipient, line1, line2, city, region, postal_code, country_code } = address;
    Some(Address { recipient, line1, line2, city, region, postal_code, country_code })
}

/// The code of a request for a warehouse.
///
/// # Errors
/// When it is none.
pub fn get_warehouse(request: pb::GetWarehouseRequest) -> Result<String, Fault> {
    let mut wrong = Violations::default();
    check::warehouse(&mut wrong, "code", &request.code);
    check::done(wrong, || Some(request.code))
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
    let pb::ReserveStockRequest { hold_s, split, .. } = request;
    check::done(wrong, || Some(ReserveStock { order: order?, demand: demand?, hold_s, split }))
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

fn demand(wrong: &mut Violations, lines: Vec<pb::DemandLine>) -> Option<Vec<Demand>> {
    if !(1..=MAX_LINES).contains(&lines.len()) {
        wrong.add("lines", "OUT_OF_RANGE", format!("must be 1 to {MAX_LINES}"));
        return None;
    }
    for (at, line) in lines.iter().enumerate() {
        check::sku(wrong, &format!("lines[{at}].sku"), &line.sku);
        check::range(wrong, &format!("lines[{at}].quantity"), line.quantity, 1, MAX_QUANTITY);
    }
    if !wrong.is_empty() {
        return None;
    }
    let sums = stock::sum(lines.into_iter().map(|line| (line.sku, line.quantity)));
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

fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// A product as a message.
pub fn product(product: Product) -> pb::Product {
    let price =
        |price: Money| common::Money { currency_code: price.currency.code().to_owned(), amount_minor: price.minor };
    let Product { content, version, created_at } = product;
    pb::Product {
        sku: content.sku,
        display_name: content.display_name,
        prices: content.prices.into_iter().map(price).collect(),
        tax_class: content.tax_class,
        weight_grams: content.weight_grams,
        create_time: Some(time(created_at)),
        etag: version.to_string(),
    }
}

/// A page of products as a message.
pub fn product_page(products: Vec<Product>, next_page_token: String) -> pb::ListProductsResponse {
    pb::ListProductsResponse { products: products.into_iter().map(product).collect(), next_page_token }
}

/// Many products as a message.
pub fn product_batch(products: Vec<Product>) -> pb::BatchGetProductsResponse {
    pb::BatchGetProductsResponse { products: products.into_iter().map(product).collect() }
}

/// A warehouse as a message.
pub fn warehouse(warehouse: Warehouse) -> pb::Warehouse {
    let Address { recipient, line1, line2, city, region, postal_code, country_code } = warehouse.address;
    let address = common::Address { recipient, line1, line2, city, region, postal_code, country_code };
    let Warehouse { code, display_name, priority, .. } = warehouse;
    pb::Warehouse { code, display_name, address: Some(address), priority }
}

/// All warehouses as a message.
pub fn warehouse_list(warehouses: Vec<Warehouse>) -> pb::ListWarehousesResponse {
    pb::ListWarehousesResponse { warehouses: warehouses.into_iter().map(warehouse).collect() }
}

/// Stock of a product as a message; the sum over warehouses stops at the largest figure there is.
pub fn stock(sku: String, levels: Vec<StockLevel>) -> pb::Stock {
    let level = |level: StockLevel| pb::StockLevel {
        sku: sku.clone(),
        warehouse: level.warehouse,
        on_hand: level.on_hand,
        reserved: level.reserved,
        available: level.on_hand - level.reserved,
    };
    let levels: Vec<_> = levels.into_iter().map(level).collect();
    let available = levels.iter().fold(0_i32, |sum, level| sum.saturating_add(level.available));
    pb::Stock { sku, available, levels }
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
    let Allocation { sku, warehouse, quantity, consumed } = allocation;
    pb::Allocation { sku, warehouse, quantity, consumed }
}

/// A reservation as a message.
pub fn reservation(reservation: Reservation) -> pb::Reservation {
    let state = match reservation.state {
        State::Held => pb::ReservationState::Held,
        State::Confirmed => pb::ReservationState::Confirmed,
        State::Consumed => pb::ReservationState::Consumed,
        State::Released => pb::ReservationState::Released,
        State::Expired => pb::ReservationState::Expired,
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

    fn fields<T: std::fmt::Debug>(result: Result<T, Fault>) -> Vec<(String, String)> {
        let fault = result.expect_err("refused");
        fault.violations().iter().map(|wrong| (wrong.field.clone(), wrong.reason.to_string())).collect()
    }

    fn names<T: std::fmt::Debug>(result: Result<T, Fault>) -> Vec<String> {
        fields(result).into_iter().map(|(field, _)| field).collect()
    }

    fn line(sku: &str, quantity: i32) -> pb::DemandLine {
        pb::DemandLine { sku: sku.to_owned(), quantity }
    }

    #[test]
    fn inv_02_every_wrong_field_of_a_wish_is_named_at_once() {
        let wish = |order_id: String, lines, hold_s| pb::ReserveStockRequest { order_id, lines, hold_s, split: true };
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
    fn inv_13_every_wrong_field_of_a_product_is_named_at_once() {
        let price = |code: &str, amount_minor| common::Money { currency_code: code.to_owned(), amount_minor };
        let product = pb::Product {
            sku: "no spaces".to_owned(),
            display_name: " ".to_owned(),
            prices: vec![price("USD", 1), price("usd", 1), price("USD", 2), price("EUR", 0)],
            tax_class: "Loud".to_owned(),
            weight_grams: -1,
            ..pb::Product::default()
        };
        let request = pb::UpdateProductRequest { product: Some(product), etag: "abc".to_owned() };
        let expected = [
            ("product.sku", "INVALID_FORMAT"),
            ("product.display_name", "REQUIRED"),
            ("product.tax_class", "INVALID_FORMAT"),
            ("product.weight_grams", "OUT_OF_RANGE"),
            ("product.prices[1].currency_code", "UNKNOWN_CURRENCY"),
            ("product.prices[2].currency_code", "DUPLICATE_CURRENCY"),
            ("product.prices[3].amount_minor", "OUT_OF_RANGE"),
            ("etag", "INVALID_ETAG"),
        ];
        assert_eq!(fields(update_product(request)), expected.map(|(f, r)| (f.to_owned(), r.to_owned())));
        assert_eq!(names(create_product(pb::CreateProductRequest::default())), ["product"]);
        let bare = pb::Product {
            sku: "A".to_owned(),
            display_name: "A".to_owned(),
            prices: vec![price("USD", 1)],
            ..pb::Product::default()
        };
        let good = create_product(pb::CreateProductRequest { product: Some(bare) }).expect("passes");
        assert_eq!(good.tax_class, "standard");
    }

    #[test]
    fn every_wrong_field_of_warehouses_and_adjustments_is_named_at_once() {
        let warehouse = pb::Warehouse {
            code: "w1".to_owned(),
            address: Some(common::Address { country_code: "usa".to_owned(), ..common::Address::default() }),
            priority: 1_001,
            ..pb::Warehouse::default()
        };
        let wrong = names(create_warehouse(pb::CreateWarehouseRequest { warehouse: Some(warehouse) }));
        let address = ["recipient", "line1", "city", "country_code"].map(|name| format!("warehouse.address.{name}"));
        assert_eq!(wrong[..3], ["warehouse.code", "warehouse.display_name", "warehouse.priority"]);
        assert_eq!(wrong[3..], address);
        let adjust = pb::AdjustStockRequest { on_hand_delta: i32::MIN, ..pb::AdjustStockRequest::default() };
        assert_eq!(names(adjust_stock(adjust)), ["sku", "warehouse", "on_hand_delta", "reason"]);
        assert_eq!(
            names(list_movements(pb::ListMovementsRequest { page_size: -1, ..Default::default() })),
            ["sku", "page_size"]
        );
        let many = pb::BatchGetProductsRequest { skus: vec!["A".to_owned(); 101] };
        assert_eq!(names(batch_get_products(many)), ["skus"]);
        let consume = names(consume_reservation(pb::ConsumeReservationRequest::default()));
        assert_eq!(consume, ["order_id", "shipment_id", "warehouse", "lines"]);
    }
}
