//! The wire shapes of the warehouse system: SOAP 1.1, namespace `urn:legacy-wms:v1`.

use ids::{FulfillmentId, TenantId};

use super::client::{Counted, Order, Refusal, Report, StockPage};
use super::xml::{self, Element, Writer, XmlError};
use crate::state::WmsStatus;

const NAMESPACE: &str = "urn:legacy-wms:v1";
/// Longest word of the warehouse system that is kept.
const LONGEST_WORD: usize = 200;
/// Longest name of a snapshot: room is left for a part's number.
const LONGEST_SNAPSHOT: usize = 56;

/// An operation: name of its request element, and what its answer is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    CreateOrder,
    GetStatus,
    CancelOrder,
    ReleaseShipment,
    GetStock,
}

impl Operation {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CreateOrder => "CreateOrder",
            Self::GetStatus => "GetStatus",
            Self::CancelOrder => "CancelOrder",
            Self::ReleaseShipment => "ReleaseShipment",
            Self::GetStock => "GetStock",
        }
    }

    /// Value of the SOAPAction header (SOAP 1.1 section 6.1.1: quoted).
    pub(super) fn action(self) -> String {
        format!("\"{NAMESPACE}/{}\"", self.name())
    }
}

/// An answer that is neither what was asked for nor a refusal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SoapError {
    /// Not XML that we read.
    #[error("the answer is not XML that we read")]
    Xml(#[from] XmlError),
    /// XML, but not the answer.
    #[error("the answer is not a SOAP envelope with the expected body")]
    Unexpected,
}

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// The response element.
    Response(Element),
    /// A fault that blames our request.
    Refused(Refusal, String),
    /// A fault of the warehouse system itself.
    Broken(String),
}

fn request(operation: Operation, inner: impl FnOnce(&mut Writer)) -> String {
    let mut writer = Writer::default();
    writer.node(&format!("{}Request", operation.name()), inner);
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:w=\"{NAMESPACE}\">\
         <soap:Body>{}</soap:Body></soap:Envelope>",
        writer.finish()
    )
}

pub(super) fn create_order(tenant: TenantId, order: &Order<'_>) -> String {
    request(Operation::CreateOrder, |xml| {
        xml.leaf("Tenant", &tenant.to_string())
            .leaf("ClientReference", &order.reference.to_string())
            .leaf("Warehouse", order.warehouse)
            .node("Lines", |xml| {
                for line in order.lines {
                    xml.node("Line", |xml| {
                        xml.leaf("Sku", &line.sku).leaf("Quantity", &line.quantity.to_string());
                    });
                }
            });
        let to = order.ship_to;
        // Some countries have no postal codes; the warehouse system knows none without.
        let postal_code = if to.postal_code.is_empty() { "-" } else { &to.postal_code };
        xml.node("ShipTo", |xml| {
            xml.leaf("Name", &to.recipient)
                .leaf("Line1", &to.line1)
                .optional("Line2", &to.line2)
                .leaf("City", &to.city)
                .optional("Region", &to.region)
                .leaf("PostalCode", postal_code)
                .leaf("Country", &to.country_code);
        });
    })
}

pub(super) fn get_status(tenant: TenantId, references: &[FulfillmentId]) -> String {
    request(Operation::GetStatus, |xml| {
        xml.leaf("Tenant", &tenant.to_string());
        for reference in references {
            xml.leaf("ClientReference", &reference.to_string());
        }
    })
}

pub(super) fn cancel_order(tenant: TenantId, reference: FulfillmentId) -> String {
    request(Operation::CancelOrder, |xml| {
        xml.leaf("Tenant", &tenant.to_string()).leaf("ClientReference", &reference.to_string());
    })
}

pub(super) fn release_shipment(tenant: TenantId, reference: FulfillmentId, carrier: &str, tracking: &str) -> String {
    request(Operation::ReleaseShipment, |xml| {
        xml.leaf("Tenant", &tenant.to_string())
            .leaf("ClientReference", &reference.to_string())
            .leaf("Carrier", carrier)
            .leaf("TrackingNumber", tracking);
    })
}

pub(super) fn get_stock(tenant: TenantId, page: usize) -> String {
    request(Operation::GetStock, |xml| {
        xml.leaf("Tenant", &tenant.to_string()).leaf("Page", &page.to_string());
    })
}

/// Reads the answer to an operation.
pub(super) fn answer(operation: Operation, body: &[u8]) -> Result<Answer, SoapError> {
    let envelope = xml::parse(body)?;
    if envelope.name != "Envelope" {
        return Err(SoapError::Unexpected);
    }
    let body = take(envelope, "Body").ok_or(SoapError::Unexpected)?;
    if let Some(fault) = body.child("Fault") {
        return Ok(read_fault(fault));
    }
    let response = take(body, &format!("{}Response", operation.name())).ok_or(SoapError::Unexpected)?;
    Ok(Answer::Response(response))
}

fn take(element: Element, name: &str) -> Option<Element> {
    element.into_children().find(|child| child.name == name)
}

fn read_fault(fault: &Element) -> Answer {
    let code = fault.text_of("faultcode");
    let word: String = fault.text_of("faultstring").chars().take(LONGEST_WORD).collect();
    // The prefix of a faultcode is the sender's business (SOAP 1.1 section 4.4.1), and "Client.X" is a kind of "Client".
    let side = code.rsplit_once(':').map_or(code, |(_, local)| local);
    if side == "Client" || side.starts_with("Client.") {
        let refusal = Refusal::parse(&word);
        Answer::Refused(refusal, word)
    } else {
        Answer::Broken(word)
    }
}

/// The warehouse system's id in an answer to CreateOrder.
pub(super) fn wms_order_id(response: &Element) -> Result<String, SoapError> {
    let id = response.text_of("WmsOrderId");
    if id.is_empty() || id.len() > LONGEST_WORD { Err(SoapError::Unexpected) } else { Ok(id.to_owned()) }
}

/// A page of a snapshot of the stock. A line that cannot be read spoils it: of a snapshot without it the product would
/// count as not counted.
pub(super) fn stock_page(response: &Element) -> Result<StockPage, SoapError> {
    let snapshot = response.text_of("SnapshotId");
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=LONGEST_SNAPSHOT).contains(&snapshot.len()) || !snapshot.bytes().all(safe) {
        return Err(SoapError::Unexpected);
    }
    let counted = |count: &Element| {
        let (warehouse, sku) = (count.text_of("Warehouse"), count.text_of("Sku"));
        let on_hand = count.text_of("OnHand").parse::<i32>().ok().filter(|units| *units >= 0)?;
        let whole = !warehouse.is_empty() && !sku.is_empty();
        whole.then(|| Counted { warehouse: warehouse.to_owned(), sku: sku.to_owned(), on_hand })
    };
    let counts = response.children("Count").map(counted).collect::<Option<Vec<_>>>();
    Ok(StockPage {
        snapshot: snapshot.to_owned(),
        at: response.text_of("CountedAt").parse().map_err(|_| SoapError::Unexpected)?,
        pages: response.text_of("Pages").parse().map_err(|_| SoapError::Unexpected)?,
        counts: counts.ok_or(SoapError::Unexpected)?,
    })
}

/// The lines of an answer to GetStatus that can be read; others are left out, for the rest must not suffer from them.
pub(super) fn reports(response: &Element) -> Vec<Report> {
    let report = |order: &Element| {
        let reference = order.text_of("ClientReference").parse().ok()?;
        let status = WmsStatus::parse(order.text_of("Status"))?;
        Some(Report { reference, status })
    };
    response.children("Order").filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Line};

    fn envelope(body: &str) -> Vec<u8> {
        format!("<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body>{body}</s:Body></s:Envelope>")
            .into_bytes()
    }

    fn fault(code: &str, word: &str) -> Answer {
        let body =
            envelope(&format!("<s:Fault><faultcode>{code}</faultcode><faultstring>{word}</faultstring></s:Fault>"));
        answer(Operation::CreateOrder, &body).expect("a fault is an answer")
    }

    #[test]
    fn ful_01_a_request_carries_our_reference_and_escapes_what_customers_wrote() {
        let (tenant, reference) = (TenantId::new(), FulfillmentId::new());
        let ship_to = Address {
            recipient: "</w:Name><w:Name>Eve & \"Co\"".into(),
            line1: "1 <Main> St".into(),
            line2: String::new(),
            city: "Köln".into(),
            region: String::new(),
            postal_code: String::new(),
            country_code: "DE".into(),
        };
        let lines = [Line { line: 1, sku: "A&B".into(), quantity: 3 }];
        let sent = create_order(tenant, &Order { reference, warehouse: "W-1", lines: &lines, ship_to: &ship_to });
        let envelope = xml::parse(sent.as_bytes()).expect("well formed");
        let request = take(take(envelope, "Body").expect("a body"), "CreateOrderRequest").expect("a request");
        assert_eq!(request.text_of("ClientReference"), reference.to_string());
        assert_eq!(request.text_of("Tenant"), tenant.to_string());
        let to = request.child("ShipTo").expect("an address");
        assert_eq!(to.text_of("Name"), ship_to.recipient);
        assert_eq!(to.children("Name").count(), 1, "a customer's text cannot become an element");
        assert_eq!([to.text_of("Line1"), to.text_of("City"), to.text_of("PostalCode")], ["1 <Main> St", "Köln", "-"]);
        assert!(to.child("Line2").is_none() && to.child("Region").is_none());
        let line = request.child("Lines").and_then(|lines| lines.child("Line")).expect("a line");
        assert_eq!([line.text_of("Sku"), line.text_of("Quantity")], ["A&B", "3"]);
    }

    #[test]
    fn ful_01_a_fault_becomes_a_typed_refusal() {
        let refused = |word| match fault("soap:Client", word) {
            Answer::Refused(refusal, _) => refusal,
            other => panic!("not a refusal: {other:?}"),
        };
        assert_eq!(refused("ORDER_IN_PICKING"), Refusal::OrderInPicking);
        assert_eq!(refused("ORDER_CANCELLED"), Refusal::OrderCancelled);
        assert_eq!(refused("NOT_PACKED"), Refusal::NotPacked);
        assert_eq!(refused("UNKNOWN_ORDER"), Refusal::UnknownOrder);
        assert_eq!(refused("NEW_IN_2031"), Refusal::Other);
        assert!(matches!(fault("Client.Authentication", "X"), Answer::Refused(Refusal::Other, _)));
        assert!(matches!(fault("soap:Server", "INTERNAL"), Answer::Broken(_)));
        assert!(matches!(fault("", ""), Answer::Broken(_)));
    }

    #[test]
    fn ful_12_lines_that_cannot_be_read_do_not_spoil_the_others() {
        let reference = FulfillmentId::new();
        let body = envelope(&format!(
            "<GetStatusResponse><Order><ClientReference>{reference}</ClientReference><Status>PACKED</Status></Order>\
             <Order><ClientReference>{reference}</ClientReference><Status>VANISHED</Status></Order>\
             <Order><ClientReference>somebody else's</ClientReference><Status>PACKED</Status></Order>\
             <Order/></GetStatusResponse>"
        ));
        let Ok(Answer::Response(response)) = answer(Operation::GetStatus, &body) else { panic!("not read") };
        assert_eq!(reports(&response), [Report { reference, status: WmsStatus::Packed }]);
    }

    #[test]
    fn inv_11_a_snapshot_with_a_line_that_cannot_be_read_is_not_taken_in() {
        let page = |count: &str| {
            let head = "<SnapshotId>s-1</SnapshotId><CountedAt>2026-11-21T10:00:00Z</CountedAt><Pages>1</Pages>";
            let body = envelope(&format!("<GetStockResponse>{head}{count}</GetStockResponse>"));
            let Ok(Answer::Response(response)) = answer(Operation::GetStock, &body) else { panic!("not read") };
            stock_page(&response)
        };
        let count =
            |units: &str| format!("<Count><Warehouse>W1</Warehouse><Sku>A</Sku><OnHand>{units}</OnHand></Count>");
        let read = page(&count("7")).expect("whole");
        let counted = Counted { warehouse: "W1".into(), sku: "A".into(), on_hand: 7 };
        assert_eq!((read.snapshot.as_str(), read.pages, read.counts), ("s-1", 1, vec![counted]));
        for units in ["-1", "many", "", "4294967296"] {
            assert!(page(&count(units)).is_err(), "{units}");
        }
        assert!(page("<Count><Sku>A</Sku><OnHand>7</OnHand></Count>").is_err());
    }

    #[test]
    fn an_answer_to_something_else_is_an_error() {
        for body in ["<html><body>login</body></html>", "<x:Envelope xmlns:x='x'/>"] {
            assert!(answer(Operation::GetStatus, body.as_bytes()).is_err(), "{body}");
        }
        assert!(answer(Operation::GetStatus, &envelope("<CancelOrderResponse/>")).is_err());
        let Ok(Answer::Response(response)) = answer(Operation::CreateOrder, &envelope("<CreateOrderResponse/>")) else {
            panic!("not read")
        };
        assert!(wms_order_id(&response).is_err(), "an order without an id was not accepted");
    }
}
