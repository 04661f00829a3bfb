//! Messages of products and warehouses to values and back; every wrong field of a request is named at once.

use std::collections::BTreeSet;

use contract::common::v1 as common;
use contract::inventory::v1 as pb;
use fault::{Fault, Violations};
use money::{Currency, Money};

use super::check;
use super::wire::{many_skus, one_sku, time};
use crate::commands::UpdateProduct;
use crate::product::{Address, NewProduct, Product, ProductKind, Restrictions, Warehouse};
use crate::queries::Page;

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
    let kind = check::known(wrong, "product.kind", product.kind, ProductKind::of);
    Some(NewProduct {
        kind,
        restrictions: restrictions(wrong, product.restrictions),
        prices: prices(wrong, &product.prices),
        sku: product.sku,
        display_name: product.display_name,
        tax_class,
        weight_grams: product.weight_grams,
    })
}

fn restrictions(wrong: &mut Violations, restrictions: Option<pb::ProductRestrictions>) -> Restrictions {
    const MAX_PLACES: usize = 300;
    let pb::ProductRestrictions { excluded_places, min_age, max_per_customer } = restrictions.unwrap_or_default();
    let field = |name: &str| format!("product.restrictions.{name}");
    if excluded_places.len() > MAX_PLACES {
        wrong.add(field("excluded_places"), "TOO_MANY", format!("at most {MAX_PLACES}"));
    }
    for (at, place) in excluded_places.iter().enumerate().take(MAX_PLACES) {
        let (country, region) = place.split_once('-').unwrap_or((place, "X"));
        let upper = |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if country.len() != 2 || !(1..=8).contains(&region.len()) || !upper(country) || !upper(region) {
            wrong.add(
                field(&format!("excluded_places[{at}]")),
                "INVALID_FORMAT",
                "a country or region, as DE or US-CA",
            );
        }
    }
    check::range(wrong, &field("min_age"), min_age, 0, 120);
    check::range(wrong, &field("max_per_customer"), max_per_customer, 0, 1_000_000);
    Restrictions { excluded_places, min_age, max_per_customer }
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
    many_skus(request.skus)
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
    if address.sealed.is_some() {
        wrong.add("warehouse.address.sealed", "SEALED_ADDRESS", "an address is sent as it is, not sealed");
    }
    let common::Address { recipient, line1, line2, city, region, postal_code, country_code, .. } = address;
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
        restrictions: restrictions_of(content.restrictions),
        kind: content.kind.map_or(0, |kind| kind.code().into()),
        ..pb::Product::default()
    }
}

fn restrictions_of(restrictions: Restrictions) -> Option<pb::ProductRestrictions> {
    let Restrictions { excluded_places, min_age, max_per_customer } = restrictions;
    let any = !excluded_places.is_empty() || min_age > 0 || max_per_customer > 0;
    any.then_some(pb::ProductRestrictions { excluded_places, min_age, max_per_customer })
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
    let sealed = Default::default();
    let address = common::Address { recipient, line1, line2, city, region, postal_code, country_code, sealed };
    let Warehouse { code, display_name, priority, .. } = warehouse;
    pb::Warehouse { code, display_name, address: Some(address), priority }
}

/// All warehouses as a message.
pub fn warehouse_list(warehouses: Vec<Warehouse>) -> pb::ListWarehousesResponse {
    pb::ListWarehousesResponse { warehouses: warehouses.into_iter().map(warehouse).collect() }
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
    fn every_wrong_field_of_warehouses_is_named_at_once() {
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
        let many = pb::BatchGetProductsRequest { skus: vec!["A".to_owned(); 101] };
        assert_eq!(names(batch_get_products(many)), ["skus"]);
    }
}
