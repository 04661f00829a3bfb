//! Messages to commands, all wrong fields named at once, and results to messages.

use std::str::FromStr;

use contract::common::v1::Money as WireMoney;
use contract::payment::v1::{
    AuthorizePaymentRequest, CapturePaymentRequest, IncrementAuthorizationRequest, IngestProviderWebhookRequest,
    ListPaymentEventsRequest, ListPaymentEventsResponse, ListPaymentsRequest, ListPaymentsResponse, MarkPaidRequest,
    Payment as WirePayment, PaymentEvent, PaymentFigures, PaymentState, ReauthorizePaymentRequest,
    Refund as WireRefund, RefundPaymentRequest,
};
use fault::{Fault, Violations};
use ids::{OrderId, PaymentId, RefundId};
use jiff::Timestamp;
use money::{Currency, Money};
use serve::card;
use tonic::Request;

use crate::logic::hooks;
use crate::logic::state::{Check, Payment, State};
use crate::logic::{
    Authorize, BeginAgain, CaptureShipment, Entry, EventPage, Figures, GiveBack, HoldMore, Ingest, Instrument,
    ListEvents, ListPage, ListPayments, MarkPaid, Refund,
};

/// Longest token of a payment method, bytes.
const LONGEST_METHOD: usize = 255;
/// Longest reason of a refund, characters.
const LONGEST_REASON: usize = 200;

pub(super) fn authorize(request: AuthorizePaymentRequest) -> Result<Authorize, Fault> {
    let mut wrong = Violations::default();
    let order = id(&mut wrong, "order_id", &request.order_id);
    let amount = amount(&mut wrong, request.amount.as_ref());
    check_method(&mut wrong, &request.payment_method);
    if !request.mandate.is_empty() {
        check_token(&mut wrong, "mandate", &request.mandate);
    }
    let customer =
        if request.customer_id.is_empty() { None } else { id(&mut wrong, "customer_id", &request.customer_id) };
    let round = round(&mut wrong, request.round);
    wrong.finish()?;
    let (Some(order), Some(amount)) = (order, amount) else { return Err(unnamed()) };
    Ok(Authorize {
        order,
        round,
        amount,
        instrument: Instrument { method: request.payment_method, mandate: request.mandate },
        customer,
        immediate: request.capture_now,
        challenge: request.challenge,
    })
}

pub(super) fn increment(request: &IncrementAuthorizationRequest) -> Result<HoldMore, Fault> {
    let mut wrong = Violations::default();
    let order = id(&mut wrong, "order_id", &request.order_id);
    let amount = amount(&mut wrong, request.amount.as_ref());
    wrong.finish()?;
    let (Some(order), Some(amount)) = (order, amount) else { return Err(unnamed()) };
    Ok(HoldMore { order, amount })
}

pub(super) fn again(request: ReauthorizePaymentRequest) -> Result<BeginAgain, Fault> {
    let mut wrong = Violations::default();
    let payment = id(&mut wrong, "payment_id", &request.payment_id);
    let attempt = i16::try_from(request.attempt).ok().filter(|attempt| *attempt >= 2);
    if attempt.is_none() {
        wrong.add("attempt", "OUT_OF_RANGE", "must be the number of the next attempt, from 2");
    }
    if !request.payment_method.is_empty() {
        check_method(&mut wrong, &request.payment_method);
    }
    wrong.finish()?;
    let (Some(payment), Some(attempt)) = (payment, attempt) else { return Err(unnamed()) };
    Ok(BeginAgain { payment, attempt, method: Some(request.payment_method).filter(|method| !method.is_empty()) })
}

pub(super) fn mark_paid(request: MarkPaidRequest) -> Result<MarkPaid, Fault> {
    let mut wrong = Violations::default();
    let payment = id(&mut wrong, "payment_id", &request.payment_id);
    check_reason(&mut wrong, &request.reason);
    wrong.finish()?;
    let Some(payment) = payment else { return Err(unnamed()) };
    Ok(MarkPaid { payment, reason: request.reason })
}

pub(super) fn list_events(request: ListPaymentEventsRequest) -> Result<ListEvents, Fault> {
    let mut wrong = Violations::default();
    let payment = id(&mut wrong, "payment_id", &request.payment_id);
    let size = size(&mut wrong, request.page_size);
    wrong.finish()?;
    let Some(payment) = payment else { return Err(unnamed()) };
    Ok(ListEvents { payment, size, token: request.page_token })
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
    check_reason(&mut wrong, &request.reason);
    let nothing = request.amount.as_ref().filter(|sent| sent.amount_minor <= 0);
    if let (true, Some(payment), Some(sent)) = (wrong.is_empty(), payment, nothing)
        && let Ok(currency) = sent.currency_code.parse()
    {
        // The only thing wrong: the answer shall say what is left, which is not known here.
        let amount = Money::new(currency, sent.amount_minor);
        return Ok(GiveBack { payment, amount, reason: request.reason });
    }
    let amount = amount(&mut wrong, request.amount.as_ref());
    wrong.finish()?;
    let (Some(payment), Some(amount)) = (payment, amount) else { return Err(unnamed()) };
    Ok(GiveBack { payment, amount, reason: request.reason })
}

pub(super) fn list(request: ListPaymentsRequest) -> Result<ListPayments, Fault> {
    let mut wrong = Violations::default();
    let order = if request.order_id.is_empty() { None } else { id(&mut wrong, "order_id", &request.order_id) };
    let size = size(&mut wrong, request.page_size);
    wrong.finish()?;
    Ok(ListPayments { size, token: request.page_token, order })
}

pub(super) fn ingest(request: Request<IngestProviderWebhookRequest>) -> Result<Ingest, Fault> {
    let header = hooks::of(&request.get_ref().provider).map(|hooks| hooks.header);
    let signature =
        header.and_then(|header| request.metadata().get(header)?.to_str().ok()).unwrap_or_default().to_owned();
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

pub(super) fn order_in_round(order: &str, sent: i32) -> Result<(OrderId, i32), Fault> {
    let mut wrong = Violations::default();
    let order = id(&mut wrong, "order_id", order);
    let round = round(&mut wrong, sent);
    wrong.finish()?;
    order.map(|order| (order, round)).ok_or_else(unnamed)
}

pub(super) fn payment_id(text: &str) -> Result<PaymentId, Fault> {
    one("payment_id", text)
}

pub(super) fn refund_id(text: &str) -> Result<RefundId, Fault> {
    one("refund_id", text)
}

pub(super) fn payment(payment: &Payment) -> WirePayment {
    let amount = |minor| payment.asked.map(|asked| money(asked.currency, minor));
    WirePayment {
        avs_result: payment.avs.map_or("", Check::as_str).to_owned(),
        cvv_result: payment.cvv.map_or("", Check::as_str).to_owned(),
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
        attempt: payment.attempt.into(),
        refund_pending: amount(payment.refund_pending),
        disputed: amount(payment.disputed()),
        hold_expire_time: payment.hold_ends().map(time),
        marked_paid: payment.manual,
        round: payment.round,
    }
}

pub(super) fn events(page: EventPage) -> ListPaymentEventsResponse {
    ListPaymentEventsResponse { events: page.events.into_iter().map(event).collect(), next_page_token: page.next }
}

fn event(entry: Entry) -> PaymentEvent {
    let amount = entry.currency.zip(entry.amount);
    PaymentEvent {
        sequence: entry.seq,
        action: entry.action,
        actor_kind: entry.actor_kind,
        actor_id: entry.actor_id,
        correlation_id: entry.correlation_id,
        amount: amount.map(|(currency_code, amount_minor)| WireMoney { currency_code, amount_minor }),
        before: entry.before.map(figures),
        after: Some(figures(entry.after)),
        note: entry.note,
        occur_time: Some(time(entry.occurred_at)),
    }
}

fn figures(figures: Figures) -> PaymentFigures {
    PaymentFigures {
        state: figures.state,
        authorized_minor: figures.authorized,
        captured_minor: figures.captured,
        voided_minor: figures.voided,
        refunded_minor: figures.refunded,
        refund_pending_minor: figures.refund_pending,
        disputed_minor: figures.disputed,
        attempt: figures.attempt,
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
        State::Expired => PaymentState::Expired,
        State::Disputed => PaymentState::Disputed,
    }
}

pub(super) fn size(wrong: &mut Violations, asked: i32) -> i64 {
    match serve::page::size(asked) {
        Ok(size) => size,
        Err(fault) => {
            for violation in fault.violations() {
                wrong.add(violation.field.clone(), violation.reason.clone(), violation.description.clone());
            }
            0
        }
    }
}

fn money(currency: Currency, minor: i64) -> WireMoney {
    WireMoney { currency_code: currency.code().to_owned(), amount_minor: minor }
}

pub(super) fn time(at: Timestamp) -> prost_types::Timestamp {
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

/// Which round of paying is meant; who says nothing means the first.
pub(crate) fn round(wrong: &mut Violations, sent: i32) -> i32 {
    if sent < 0 {
        wrong.add("round", "OUT_OF_RANGE", "must be the number of the round, from 1");
    }
    sent.max(1)
}

pub(crate) fn amount(wrong: &mut Violations, sent: Option<&WireMoney>) -> Option<Money> {
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
    } else {
        check_token(wrong, "payment_method", method);
    }
}

fn check_token(wrong: &mut Violations, field: &str, token: &str) {
    if card::in_text(token) {
        wrong.add(field, "CARD_NUMBER_REFUSED", "card numbers are not accepted, only tokens");
    } else if token.len() > LONGEST_METHOD || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong.add(field, "INVALID_TOKEN", "must be 1 to 255 visible ASCII characters");
    }
}

pub(super) fn check_reason(wrong: &mut Violations, reason: &str) {
    if reason.trim().is_empty() || reason.chars().count() > LONGEST_REASON {
        wrong.add("reason", "LENGTH", "must be 1 to 200 characters");
    } else if reason.chars().any(char::is_control) {
        wrong.add("reason", "CONTROL_CHARACTER", "must not hold control characters");
    } else if card::in_text(reason) {
        wrong.add("reason", "CARD_NUMBER_REFUSED", "card numbers are not accepted anywhere");
    }
}

/// A value is missing although nothing was found wrong.
fn unnamed() -> Fault {
    Fault::internal("a wrong field was not named")
}
