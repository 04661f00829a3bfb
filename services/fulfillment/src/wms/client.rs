use std::time::Duration;

use ctx::Ctx;
use fault::Fault;
use ids::FulfillmentId;
use jiff::Timestamp;
use resilience::header::CONTENT_TYPE;
use resilience::{Http, HttpError};

use super::soap::{self, Answer, Operation, SoapError};
use super::xml::Element;
use crate::model::{Address, Line};
use crate::state::WmsStatus;

/// How long the warehouse system may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Work as the warehouse system is told of it.
pub(crate) struct Order<'a> {
    /// Our id: of any number of submissions with it one order is made.
    pub reference: FulfillmentId,
    pub warehouse: &'a str,
    pub lines: &'a [Line],
    pub ship_to: &'a Address,
}

/// A line of an answer to GetStatus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub reference: FulfillmentId,
    pub status: WmsStatus,
}

/// What a warehouse counted of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub warehouse: String,
    pub sku: String,
    pub on_hand: i32,
}

/// A page of a snapshot of all warehouses.
#[derive(Debug)]
pub(crate) struct StockPage {
    pub snapshot: String,
    pub at: Timestamp,
    /// How many pages the snapshot has.
    pub pages: usize,
    pub counts: Vec<Counted>,
}

/// Why the warehouse system refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    OrderInPicking,
    OrderCancelled,
    NotPacked,
    UnknownOrder,
    Malformed,
    /// A word that we do not know.
    Other,
}

impl Refusal {
    pub(super) fn parse(word: &str) -> Self {
        match word {
            "ORDER_IN_PICKING" => Self::OrderInPicking,
            "ORDER_CANCELLED" => Self::OrderCancelled,
            "NOT_PACKED" => Self::NotPacked,
            "UNKNOWN_ORDER" => Self::UnknownOrder,
            "MALFORMED" => Self::Malformed,
            _ => Self::Other,
        }
    }
}

/// Why a question to the warehouse system has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WmsError {
    /// It understood and refused.
    #[error("the warehouse system refused: {word}")]
    Refused { refusal: Refusal, word: String },
    /// It failed by its own word.
    #[error("the warehouse system failed: {word}")]
    Broken { word: String },
    /// It was not reached, or answered too late or not at all.
    #[error(transparent)]
    Unreachable(#[from] HttpError),
    /// It answered something else.
    #[error("the warehouse system answered HTTP {status} and what cannot be read")]
    Garbled { status: u16, source: SoapError },
}

impl From<WmsError> for Fault {
    fn from(error: WmsError) -> Self {
        match error {
            WmsError::Refused { word, .. } => {
                Self::precondition("WMS_REFUSED", "the warehouse system refused the request").with("code", word)
            }
            // Whether it happened is unknown; a repeat under the same reference is safe, so it may be tried again.
            WmsError::Broken { .. } | WmsError::Unreachable(_) | WmsError::Garbled { .. } => {
                Self::unavailable("WMS_UNAVAILABLE", "the warehouse system does not answer").caused_by(error)
            }
        }
    }
}

/// The way to the warehouse system.
#[derive(Debug, Clone)]
pub(crate) struct Wms {
    http: Http,
}

impl Wms {
    /// A client of the SOAP endpoint at `url`.
    ///
    /// # Errors
    /// Unavailable when `url` is not one.
    pub(crate) fn new(url: &str) -> Result<Self, Fault> {
        Ok(Self { http: Http::new("wms", url, PATIENCE)? })
    }

    /// Submits work and returns the warehouse system's id of it; safe to repeat.
    pub(crate) async fn create(&self, ctx: &Ctx, order: &Order<'_>) -> Result<String, WmsError> {
        let response = self.ask(ctx, Operation::CreateOrder, soap::create_order(ctx.tenant, order)).await?;
        soap::wms_order_id(&response).map_err(|source| WmsError::Garbled { status: 200, source })
    }

    /// Asks what became of up to 200 references; those that it does not know are left out.
    pub(crate) async fn status(&self, ctx: &Ctx, references: &[FulfillmentId]) -> Result<Vec<Report>, WmsError> {
        let response = self.ask(ctx, Operation::GetStatus, soap::get_status(ctx.tenant, references)).await?;
        Ok(soap::reports(&response))
    }

    /// Takes work back; also work that was never submitted, which is then refused.
    pub(crate) async fn cancel(&self, ctx: &Ctx, reference: FulfillmentId) -> Result<(), WmsError> {
        self.ask(ctx, Operation::CancelOrder, soap::cancel_order(ctx.tenant, reference)).await.map(drop)
    }

    /// Lets a packed parcel go; safe to repeat.
    pub(crate) async fn release(
        &self,
        ctx: &Ctx,
        reference: FulfillmentId,
        carrier: &str,
        tracking_number: &str,
    ) -> Result<(), WmsError> {
        let body = soap::release_shipment(ctx.tenant, reference, carrier, tracking_number);
        self.ask(ctx, Operation::ReleaseShipment, body).await.map(drop)
    }

    /// A page of what lies in the warehouses; the first takes a new snapshot.
    pub(crate) async fn stock(&self, ctx: &Ctx, page: usize) -> Result<StockPage, WmsError> {
        let response = self.ask(ctx, Operation::GetStock, soap::get_stock(ctx.tenant, page)).await?;
        soap::stock_page(&response).map_err(|source| WmsError::Garbled { status: 200, source })
    }

    async fn ask(&self, ctx: &Ctx, operation: Operation, body: String) -> Result<Element, WmsError> {
        let patience = ctx.remaining().map_or(PATIENCE, |left| left.min(PATIENCE));
        let request = self
            .http
            .post("")
            .timeout(patience)
            .header(CONTENT_TYPE, "text/xml; charset=utf-8")
            .header("SOAPAction", operation.action())
            .body(body);
        let answer = self.http.send(operation.name(), request).await?;
        let status = answer.status.as_u16();
        // Faults come with HTTP 500 (SOAP 1.1 section 6.2): the body decides, not the status.
        match soap::answer(operation, &answer.body) {
            Ok(Answer::Response(_)) if !answer.status.is_success() => {
                Err(WmsError::Garbled { status, source: SoapError::Unexpected })
            }
            Ok(Answer::Response(response)) => Ok(response),
            Ok(Answer::Refused(refusal, word)) => Err(WmsError::Refused { refusal, word }),
            Ok(Answer::Broken(word)) => Err(WmsError::Broken { word }),
            Err(source) => Err(WmsError::Garbled { status, source }),
        }
    }
}
