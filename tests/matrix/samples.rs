//! One request per method of the contract, right for the shop whose names it is made with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use contract::common::v1::{Address, Money};
use contract::google::api::HttpBody;
use contract::{POLICIES, fulfillment, identity, inventory, notification, payment, shipping};
use ids::{OrderId, ShipmentId};
use prost::Message;

use super::world::{DAY, Known, PROVIDER};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Makes the request of a method.
pub(super) type Make = fn(&Known) -> Vec<u8>;

/// The request of a method, encoded.
///
/// # Panics
/// When there is none; `every_method_has_a_sample` says so by name.
pub(super) fn sample(path: &str, known: &Known) -> Bytes {
    let all = all();
    let make = all.get(path).unwrap_or_else(|| panic!("no sample for {path}: add one to tests/matrix/samples.rs"));
    make(known).into()
}

/// A number that no other sample of the process has.
pub(super) fn unique() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn money(amount_minor: i64) -> Option<Money> {
    Some(Money { currency_code: "USD".into(), amount_minor })
}

pub(super) fn address() -> Option<Address> {
    Some(Address {
        recipient: "Ada Lovelace".into(),
        line1: "500 Market Street".into(),
        line2: "Floor 3".into(),
        city: "San Francisco".into(),
        region: "CA".into(),
        postal_code: "94105".into(),
        country_code: "US".into(),
        ..Address::default()
    })
}

fn all() -> BTreeMap<String, Make> {
    let contexts: [(&str, &[(&str, Make)]); 8] = [
        ("identity.v1", IDENTITY),
        ("inventory.v1", INVENTORY),
        ("inventory.v1", super::samples_stock::STOCK),
        ("order.v1", super::samples_order::ORDER),
        ("payment.v1", PAYMENT),
        ("fulfillment.v1", FULFILLMENT),
        ("shipping.v1", SHIPPING),
        ("notification.v1", NOTIFICATION),
    ];
    let named = contexts.into_iter().flat_map(|(package, samples)| {
        samples.iter().map(move |(method, make)| (format!("/ordermesh.{package}.{method}"), *make))
    });
    named.collect()
}

const IDENTITY: &[(&str, Make)] = &[
    ("IdentityService/Login", |known| {
        let (tenant, email) = (known.slug.clone(), known.email.clone());
        identity::v1::LoginRequest { tenant, email, password: "ordermesh-demo".into() }.encode_to_vec()
    }),
    ("IdentityService/GetJwks", |_| identity::v1::GetJwksRequest {}.encode_to_vec()),
    ("IdentityService/RotateSigningKey", |_| identity::v1::RotateSigningKeyRequest {}.encode_to_vec()),
    ("IdentityService/CreateUser", |_| {
        let user = Some(person(&["customer"]));
        identity::v1::CreateUserRequest { user, password: "correct horse battery".into() }.encode_to_vec()
    }),
    ("IdentityService/GetUser", |known| {
        identity::v1::GetUserRequest { user_id: known.customer.clone() }.encode_to_vec()
    }),
    ("IdentityService/ListUsers", |_| {
        identity::v1::ListUsersRequest { page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("CustomerService/GetCustomer", |known| {
        identity::v1::GetCustomerRequest { user_id: known.customer.clone() }.encode_to_vec()
    }),
    ("CustomerService/SetCustomerStanding", |known| {
        let (user_id, birth_date) = (known.customer.clone(), "1985-12-10".into());
        let (email_verified, reason) = (true, "showed a passport".into());
        identity::v1::SetCustomerStandingRequest { user_id, blocked: false, email_verified, birth_date, reason }
            .encode_to_vec()
    }),
    ("TenantService/CreateTenant", |_| {
        let slug = format!("sample-{}", unique());
        let tenant = identity::v1::Tenant { slug, display_name: "A shop".into(), ..Default::default() };
        let (tenant, admin) = (Some(tenant), Some(person(&["tenant_admin"])));
        identity::v1::CreateTenantRequest { tenant, admin, admin_password: "correct horse battery".into() }
            .encode_to_vec()
    }),
    ("TenantService/GetTenant", |known| {
        identity::v1::GetTenantRequest { tenant_id: known.tenant.clone() }.encode_to_vec()
    }),
    ("TenantService/ListTenants", |_| {
        identity::v1::ListTenantsRequest { page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("PolicyService/GetPolicy", |_| identity::v1::GetPolicyRequest {}.encode_to_vec()),
    ("PolicyService/UpdatePolicy", |_| {
        identity::v1::UpdatePolicyRequest { policy: Some(policy()), etag: String::new() }.encode_to_vec()
    }),
];

const INVENTORY: &[(&str, Make)] = &[
    ("ProductService/CreateProduct", |_| {
        let product = Some(product(format!("SAMPLE-{}", unique())));
        inventory::v1::CreateProductRequest { product }.encode_to_vec()
    }),
    ("ProductService/UpdateProduct", |known| {
        let product = Some(product(known.sku.clone()));
        inventory::v1::UpdateProductRequest { product, etag: String::new() }.encode_to_vec()
    }),
    ("ProductService/GetProduct", |known| inventory::v1::GetProductRequest { sku: known.sku.clone() }.encode_to_vec()),
    ("ProductService/ListProducts", |_| {
        inventory::v1::ListProductsRequest { page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("ProductService/BatchGetProducts", |known| {
        let skus = vec![known.sku.clone(), "SHARED".into()];
        inventory::v1::BatchGetProductsRequest { skus }.encode_to_vec()
    }),
    ("WarehouseService/CreateWarehouse", |_| {
        // Last of all, so that no order of another test goes there.
        let (code, display_name) = (format!("W-{}", unique()), "A warehouse".into());
        let warehouse = Some(inventory::v1::Warehouse { code, display_name, address: address(), priority: 1000 });
        inventory::v1::CreateWarehouseRequest { warehouse }.encode_to_vec()
    }),
    ("WarehouseService/GetWarehouse", |known| {
        inventory::v1::GetWarehouseRequest { code: known.warehouse.clone() }.encode_to_vec()
    }),
    ("WarehouseService/ListWarehouses", |_| inventory::v1::ListWarehousesRequest {}.encode_to_vec()),
    ("InventoryService/GetStock", |known| inventory::v1::GetStockRequest { sku: known.sku.clone() }.encode_to_vec()),
    ("InventoryService/AdjustStock", |known| {
        let (sku, warehouse) = (known.sku.clone(), known.warehouse.clone());
        let reason = "counted".into();
        inventory::v1::AdjustStockRequest { sku, warehouse, on_hand_delta: 1, reason }.encode_to_vec()
    }),
    ("InventoryService/ListMovements", |known| {
        let sku = known.sku.clone();
        inventory::v1::ListMovementsRequest { sku, page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("ReservationService/ReserveStock", |known| {
        let order_id = OrderId::new().to_string();
        let lines = vec![demand(known, 1)];
        inventory::v1::ReserveStockRequest { order_id, lines, hold_s: 3600, split: true, round: 1 }.encode_to_vec()
    }),
    ("ReservationService/ConfirmReservation", |known| {
        inventory::v1::ConfirmReservationRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
    ("ReservationService/ReleaseReservation", |known| {
        inventory::v1::ReleaseReservationRequest { order_id: known.order.clone(), round: 1 }.encode_to_vec()
    }),
    ("ReservationService/ConsumeReservation", |known| {
        let (order_id, shipment_id) = (known.order.clone(), known.shipment.clone());
        let (warehouse, lines) = (known.warehouse.clone(), vec![demand(known, 2)]);
        inventory::v1::ConsumeReservationRequest { order_id, shipment_id, warehouse, lines }.encode_to_vec()
    }),
    ("ReservationService/GetReservation", |known| {
        inventory::v1::GetReservationRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
];

const PAYMENT: &[(&str, Make)] = &[
    ("PaymentService/AuthorizePayment", |_| {
        let (order_id, payment_method) = (OrderId::new().to_string(), "pm_sim_visa".into());
        let amount = money(1299);
        payment::v1::AuthorizePaymentRequest { order_id, amount, payment_method, ..Default::default() }.encode_to_vec()
    }),
    ("PaymentService/InquirePayment", |known| {
        payment::v1::InquirePaymentRequest { order_id: known.order.clone(), round: 1 }.encode_to_vec()
    }),
    ("PaymentService/CapturePayment", |known| {
        let (order_id, shipment_id) = (known.order.clone(), ShipmentId::new().to_string());
        payment::v1::CapturePaymentRequest { order_id, shipment_id, amount: money(1), r#final: false }.encode_to_vec()
    }),
    ("PaymentService/VoidPayment", |known| {
        payment::v1::VoidPaymentRequest { order_id: known.order.clone(), round: 1 }.encode_to_vec()
    }),
    ("PaymentService/RefundPayment", |known| {
        let (payment_id, reason) = (known.payment.clone(), "it was broken".into());
        payment::v1::RefundPaymentRequest { payment_id, amount: money(1), reason }.encode_to_vec()
    }),
    ("PaymentService/GetPayment", |known| {
        payment::v1::GetPaymentRequest { payment_id: known.payment.clone() }.encode_to_vec()
    }),
    ("PaymentService/ListPayments", |known| {
        let order_id = known.order.clone();
        payment::v1::ListPaymentsRequest { page_size: 10, page_token: String::new(), order_id }.encode_to_vec()
    }),
    ("PaymentService/IncrementAuthorization", |known| {
        let order_id = known.order.clone();
        payment::v1::IncrementAuthorizationRequest { order_id, amount: money(1) }.encode_to_vec()
    }),
    ("PaymentService/ReauthorizePayment", |known| {
        let payment_id = known.payment.clone();
        payment::v1::ReauthorizePaymentRequest { payment_id, attempt: 2, payment_method: String::new() }.encode_to_vec()
    }),
    ("PaymentService/CompletePaymentAction", |known| {
        payment::v1::CompletePaymentActionRequest { payment_id: known.payment.clone() }.encode_to_vec()
    }),
    ("PaymentService/MarkPaid", |known| {
        let (payment_id, reason) = (known.payment.clone(), "paid by cheque".into());
        payment::v1::MarkPaidRequest { payment_id, reason }.encode_to_vec()
    }),
    ("PaymentService/ListPaymentEvents", |known| {
        let payment_id = known.payment.clone();
        payment::v1::ListPaymentEventsRequest { payment_id, page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("PaymentService/GetRefund", |known| {
        payment::v1::GetRefundRequest { refund_id: known.refund.clone() }.encode_to_vec()
    }),
    ("PaymentService/ListRefunds", |known| {
        payment::v1::ListRefundsRequest { payment_id: known.payment.clone() }.encode_to_vec()
    }),
    ("FraudService/EvaluateRisk", |known| {
        payment::v1::EvaluateRiskRequest {
            order_id: OrderId::new().to_string(),
            stage: payment::v1::RiskStage::Placed.into(),
            customer_id: known.customer.clone(),
            amount: money(1299),
            payment_method: "pm_sim_visa".into(),
            client_ip: "203.0.113.7".into(),
            shipping_address: address(),
            policy: None,
            round: 1,
        }
        .encode_to_vec()
    }),
    ("FraudService/CloseReview", |known| {
        let state = payment::v1::ReviewState::Withdrawn.into();
        payment::v1::CloseReviewRequest { order_id: known.order.clone(), state }.encode_to_vec()
    }),
    ("FraudService/ListRiskAssessments", |known| {
        payment::v1::ListRiskAssessmentsRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
    ("FraudService/ListReviewQueue", |_| {
        payment::v1::ListReviewQueueRequest { page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("FraudService/ApproveReview", |known| {
        let (order_id, reason) = (known.order.clone(), "called the customer".into());
        payment::v1::ApproveReviewRequest { order_id, reason }.encode_to_vec()
    }),
    ("FraudService/RejectReview", |known| {
        let (order_id, reason) = (known.order.clone(), "nobody there".into());
        payment::v1::RejectReviewRequest { order_id, reason }.encode_to_vec()
    }),
    ("ReconciliationService/RunReconciliation", |_| {
        let (provider, day) = (PROVIDER.into(), DAY.into());
        payment::v1::RunReconciliationRequest { provider, day }.encode_to_vec()
    }),
    ("ReconciliationService/GetReconciliationReport", |_| {
        let (provider, day) = (PROVIDER.into(), DAY.into());
        payment::v1::GetReconciliationReportRequest { provider, day }.encode_to_vec()
    }),
    ("ReconciliationService/ListDiscrepancies", |_| {
        payment::v1::ListDiscrepanciesRequest { page_size: 10, ..Default::default() }.encode_to_vec()
    }),
    ("ReconciliationService/ResolveDiscrepancy", |_| {
        let discrepancy_id = "dsc_00112233445566778899aabbccddeeff".into();
        payment::v1::ResolveDiscrepancyRequest { discrepancy_id, reason: "seen".into(), accept: true }.encode_to_vec()
    }),
    // Nobody has the provider's secret here, so these two get no further than the signature; that signed ones pass
    // is proved by every delivered order.
    ("PaymentWebhookService/IngestProviderWebhook", |known| {
        let (provider, tenant_id) = ("stripe".into(), known.tenant.clone());
        payment::v1::IngestProviderWebhookRequest { provider, tenant_id, payload: payload() }.encode_to_vec()
    }),
];

const FULFILLMENT: &[(&str, Make)] = &[
    ("FulfillmentService/CreateFulfillment", |known| {
        let line = fulfillment::v1::FulfillmentLine { line: 1, sku: known.sku.clone(), quantity: 2 };
        fulfillment::v1::CreateFulfillmentRequest {
            order_id: OrderId::new().to_string(),
            warehouse: known.warehouse.clone(),
            lines: vec![line],
            ship_to: address(),
            shipping_service: "STANDARD".into(),
            capture_amount: money(1299),
            final_capture: true,
            weight_grams: 700,
            revision: 0,
        }
        .encode_to_vec()
    }),
    ("FulfillmentService/CancelFulfillment", |known| {
        fulfillment::v1::CancelFulfillmentRequest { order_id: known.order.clone(), revision: 0 }.encode_to_vec()
    }),
    ("FulfillmentService/ShipFulfillment", |known| {
        let (fulfillment_id, carrier) = (known.fulfillment.clone(), "fedex".into());
        fulfillment::v1::ShipFulfillmentRequest { fulfillment_id, carrier, tracking_number: "794600000001".into() }
            .encode_to_vec()
    }),
    ("FulfillmentQueryService/GetFulfillment", |known| {
        fulfillment::v1::GetFulfillmentRequest { fulfillment_id: known.fulfillment.clone() }.encode_to_vec()
    }),
    ("FulfillmentQueryService/ListFulfillments", |known| {
        let order_id = known.order.clone();
        fulfillment::v1::ListFulfillmentsRequest { page_size: 10, page_token: String::new(), order_id }.encode_to_vec()
    }),
];

const NOTIFICATION: &[(&str, Make)] = &[
    ("NotificationService/GetMessage", |known| {
        notification::v1::GetMessageRequest { message_id: known.message.clone() }.encode_to_vec()
    }),
    ("NotificationService/ListMessages", |known| {
        let (order_id, customer_id) = (known.order.clone(), known.customer.clone());
        notification::v1::ListMessagesRequest { page_size: 10, order_id, customer_id, ..Default::default() }
            .encode_to_vec()
    }),
    ("NotificationService/RetryMessage", |known| {
        notification::v1::RetryMessageRequest { message_id: known.message.clone() }.encode_to_vec()
    }),
];

const SHIPPING: &[(&str, Make)] = &[
    ("ShippingService/GetShipment", |known| {
        shipping::v1::GetShipmentRequest { shipment_id: known.shipment.clone() }.encode_to_vec()
    }),
    ("ShippingService/ListShipments", |known| {
        let order_id = known.order.clone();
        shipping::v1::ListShipmentsRequest { page_size: 10, page_token: String::new(), order_id }.encode_to_vec()
    }),
    ("ShippingService/GetLabel", |known| {
        shipping::v1::GetLabelRequest { shipment_id: known.shipment.clone() }.encode_to_vec()
    }),
    ("CarrierWebhookService/IngestCarrierWebhook", |known| {
        let (carrier, tenant_id) = ("fedex".into(), known.tenant.clone());
        shipping::v1::IngestCarrierWebhookRequest { carrier, tenant_id, payload: payload() }.encode_to_vec()
    }),
];

fn person(roles: &[&str]) -> identity::v1::User {
    let email = format!("sample-{}@shop.example", unique());
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    identity::v1::User { email, display_name: "A Person".into(), roles, ..Default::default() }
}

/// The seeds' figures for the United States.
fn policy() -> identity::v1::TenantPolicy {
    let rate = |service: &str, amount| identity::v1::ShippingRate { service: service.into(), price: money(amount) };
    identity::v1::TenantPolicy {
        min_order_value_minor: 500,
        max_order_value_minor: 1_000_000,
        min_total_exclusive_minor: 500,
        max_units: 50,
        tax_rounding: identity::v1::TaxRounding::Line.into(),
        tax_rules: vec![identity::v1::TaxRule {
            country_code: "US".into(),
            region: "CA".into(),
            tax_class: "standard".into(),
            rate_ppm: 82_500,
        }],
        shipping_rates: vec![rate("STANDARD", 499), rate("EXPRESS", 1499), rate("OVERNIGHT", 2999)],
        reservation_hold_s: 900,
        split_lines: true,
        currencies: vec!["USD".into()],
        // How often orders come is not counted: those of all tests come from one customer.
        risk: Some(identity::v1::RiskPolicy {
            fail_mode: identity::v1::RiskFailMode::Review.into(),
            ..Default::default()
        }),
        inventory_outage: identity::v1::InventoryOutage::Accept.into(),
        capture_mode: identity::v1::CaptureMode::OnShipment.into(),
        promotions: vec![identity::v1::Promotion { code: "TENTH".into(), rate_ppm: 100_000, ..Default::default() }],
        ..Default::default()
    }
}

fn product(sku: String) -> inventory::v1::Product {
    let prices = vec![Money { currency_code: "USD".into(), amount_minor: 1299 }];
    let (display_name, tax_class) = ("A thing".into(), "standard".into());
    inventory::v1::Product { sku, display_name, prices, tax_class, weight_grams: 350, ..Default::default() }
}

pub(super) fn demand(known: &Known, quantity: i32) -> inventory::v1::DemandLine {
    inventory::v1::DemandLine { sku: known.sku.clone(), quantity, slot_id: String::new() }
}

fn payload() -> Option<HttpBody> {
    let data = Bytes::from_static(br#"{"id":"evt_sample","type":"sample"}"#);
    Some(HttpBody { content_type: "application/json".into(), data, ..Default::default() })
}

#[test]
fn every_method_has_a_sample() {
    let all = all();
    let missing: Vec<_> = POLICIES.iter().map(|policy| policy.path).filter(|path| !all.contains_key(*path)).collect();
    assert!(missing.is_empty(), "methods without a request in tests/matrix/samples.rs: {missing:#?}");
    let unknown: Vec<_> = all.keys().filter(|path| contract::policy(path).is_none()).collect();
    assert!(unknown.is_empty(), "samples of methods that the contract does not have: {unknown:#?}");
}
