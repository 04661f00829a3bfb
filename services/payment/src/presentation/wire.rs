//! Messages to commands, all wrong fields named at once, and results to messages.

use std::str::FromStr;

use contract::common::v1::Money as WireMoney;
use contract::payment::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, IngestProviderWebhookRequest, ListPaymentsRequest,
    ListPaymentsResponse, Payment as WirePayment, PaymentState, Refund as WireRefund, RefundPaymentRequest,
};
use fault::{Fault, Violations};
use ids::{OrderId, PaymentId};
use jiff::Timestamp;
use money::{Currency, Money};
use tonic::Request;

use crate::logic::card::holds_card_number;
use crate::logic::state::{Payment, State};
use crate::logic::{Authorize, CaptureShipment, GiveBack, Ingest, ListPage, ListPayments, Refund};

/// Header that Stripe signs with.
const SIGNATURE: &str = "stripe-signature";
/// Longest token of a payment method, bytes.
const LONGEST_METHOD: usize = 255;
/// Longest reason of a refund, characters.
const LONGEST_REASON: usize = 200;

pub(super) fn authorize(request: AuthorizePaymentRequest) -> Result<Authorize, Fault> {
    let mut wrong = Violations::default();
    let order = id(&mut wrong, "order_id", &request.order_id);
    let amount = amount(&mut wrong, request.amount.as_ref());
    check_method(&mut wrong, &request.payment_method);
    wrong.finish()?;
    let (Some(order), Some(amount)) = (order, amount) else { return Err(unnamed()) };
    Ok(Authorize { order, amount, method: request.payment_method })
}

pub(super) fn capture(request: CapturePaymentRequest) -> Result<CaptureShipment, Fault> {
    let mut wrong = Violations::default();
    let order = id(&mut wrong, "order_id", &request.order_id);
    let shipment = id(&mut wrong, "shipment_id", &request.shipment_id);
    let amount = amount(&mut wrong, request.amount.as_ref());
    wrong.finish()?;
    let (Some(order), Some(shipment), Some(amount)) = (order, shipment, amount) else { return Err(unnamed()) };
    Ok(CaptureShipment { order, shipment, amount, last: request.r#final })
}

pub(super) fn refund_request(request: RefundPaymentRequest) -> Result<GiveBack, Fault> {
    let mut wrong = Violations::default();
    let payment = id(&mut wrong, "payment_id", &request.payment_id);
    let amount = amount(&mut wrong, request.amount.as_ref());
    check_reason(&mut wrong, &request.reason);
    wrong.finish()?;
    let (Some(payment), Some(amount)) = (payment, amount) else { return Err(unnamed()) };
    Ok(GiveBack { payment, amount, reason: request.reason })
}

pub(super) fn list(request: ListPaymentsRequest) -> Result<ListPayments, Fault> {
    let mut wrong = Violations::default();
    let order = if request.order_id.is_empty() { None } else { id(&mut wrong, "order_id", &request.order_id) };
    let size = match serve::page::size(request.page_size) {
        Ok(size) => size,
        Err(fault) => {
            for violation in fault.violations() {
                wrong.add(violation.field.clone(), violation.reason.clone(), violation.description.clone());
            }
            0
        }
    };
    wrong.finish()?;
    Ok(ListPayments { size, token: request.page_token, order })
}

pub(super) fn ingest(request: Request<IngestProviderWebhookRequest>) -> Result<Ingest, Fault> {
    let signature =
        request.metadata().get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let request = request.into_inner();
    let mut wrong = Violations::default();
    let tenant = id(&mut wrong, "tenant_id", &request.tenant_id);
    if request.provider.is_empty() {
        wrong.add("provider", "REQUIRED", "must name the payment provider");
    }
    let body = request.payload.map(|payload| payload.data.to_vec()).unwrap_or_default();
    if body.is_empty() {
        wrong.add("payload", "REQUIRED", "must be the event as it was sent");
    }
    wrong.finish()?;
    let Some(tenant) = tenant else { return Err(unnamed()) };
    Ok(Ingest { provider: request.provider, tenant, signature, body })
}

pub(super) fn order(text: &str) -> Result<OrderId, Fault> {
    one("order_id", text)
}

pub(super) fn payment_id(text: &str) -> Result<PaymentId, Fault> {
    one("payment_id", text)
}

pub(super) fn payment(payment: &Payment) -> WirePayment {
    let amount = |minor| payment.asked.map(|asked| money(asked.currency, minor));
    WirePayment {
        id: payment.id.to_string(),
        order_id: payment.order.to_string(),
        state: state(payment.state()).into(),
        amount: payment.asked.map(|asked| money(asked.currency, asked.minor)),
        authorized: amount(payment.authorized),
        captured: amount(payment.captured),
        voided: amount(payment.voided()),
        refunded: amount(payment.refunded),
        provider: payment.provider.clone(),
        provider_reference: payment.reference.clone().unwrap_or_default(),
        decline_reason: match payment.state() {
            State::Declined => payment.decline_reason.clone().unwrap_or_default(),
            _ => String::new(),
        },
        action_url: match payment.state() {
            State::RequiresAction => payment.action_url.clone().unwrap_or_default(),
            _ => String::new(),
        },
        create_time: Some(time(payment.created_at)),
    }
}

pub(super) fn refund(refund: &Refund) -> WireRefund {
    WireRefund {
        id: refund.id().to_string(),
        payment_id: refund.payment().to_string(),
        amount: Some(WireMoney { currency_code: refund.currency.clone(), amount_minor: refund.amount }),
        state: refund.state.as_str().to_owned(),
        reason: refund.reason.clone(),
        create_time: Some(time(refund.created_at)),
    }
}

pub(super) fn page(page: ListPage) -> ListPaymentsResponse {
    ListPaymentsResponse { payments: page.payments.iter().map(payment).collect(), next_page_token: page.next }
}

fn state(state: State) -> PaymentState {
    match state {
        State::Processing => PaymentState::Processing,
        State::RequiresAction => PaymentState::RequiresAction,
        State::Authorized => PaymentState::Authorized,
        State::PartiallyCaptured => PaymentState::PartiallyCaptured,
        State::Captured => PaymentState::Captured,
        State::Declined => PaymentState::Declined,
        State::Voided => PaymentState::Voided,
        State::Unknown => PaymentState::Unknown,
        State::PartiallyRefunded => PaymentState::PartiallyRefunded,
        State::Refunded => PaymentState::Refunded,
    }
}

fn money(currency: Currency, minor: i64) -> WireMoney {
    WireMoney { currency_code: currency.code().to_owned(), amount_minor: minor }
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn one<T: FromStr<Err = ids::IdError>>(field: &str, text: &str) -> Result<T, Fault> {
    let mut wrong = Violations::default();
    match id(&mut wrong, field, text) {
        Some(id) => Ok(id),
        None => Err(wrong.into()),
    }
}

fn id<T: FromStr<Err = ids::IdError>>(wrong: &mut Violations, field: &str, text: &str) -> Option<T> {
    match text.parse() {
        Ok(id) => Some(id),
        Err(_) if text.is_empty() => {
            wrong.add(field, "REQUIRED", "must be set");
            None
        }
        Err(error) => {
            wrong.add(field, "INVALID_ID", error.to_string());
            None
        }
    }
}

fn amount(wrong: &mut Violations, sent: Option<&WireMoney>) -> Option<Money> {
    let Some(sent) = sent else {
        wrong.add("amount", "REQUIRED", "must be set");
        return None;
    };
    let currency = sent.currency_code.parse::<Currency>();
    if let Err(error) = &currency {
        wrong.add("amount.currency_code", "UNKNOWN_CURRENCY", error.to_string());
    }
    if sent.amount_minor <= 0 {
        wrong.add("amount.amount_minor", "NOT_POSITIVE", "must be above zero");
        return None;
    }
    currency.ok().map(|currency| Money::new(currency, sent.amount_minor))
}

fn check_method(wrong: &mut Violations, method: &str) {
    if method.is_empty() {
        wrong.add("payment_method", "REQUIRED", "must be the provider's token");
    } else if holds_card_number(method) {
        wrong.add("payment_method", "CARD_NUMBER_REFUSED", "card numbers are not accepted, only tokens");
    } else if method.len() > LONGEST_METHOD || !method.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong.add("payment_method", "INVALID_TOKEN", "must be 1 to 255 visible ASCII characters");
    }
}

fn check_reason(wrong: &mut Violations, reason: &str) {
    if reason.trim().is_empty() || reason.chars().count() > LONGEST_REASON {
        wrong.add("reason", "LENGTH", "must be 1 to 200 characters");
    } else if reason.chars().any(char::is_control) {
        wrong.add("reason", "CONTROL_CHARACTER", "must not hold control characters");
    } else if holds_card_number(reason) {
        wrong.add("reason", "CARD_NUMBER_REFUSED", "card numbers are not accepted anywhere");
    }
}

/// A value is missing although nothing was found wrong.
fn unnamed() -> Fault {
    Fault::internal("a wrong field was not named")
}
