//! Use cases of payments. What a payment is and how it changes is pure (`state`); who asks the provider and when is
//! here. Nothing in here knows gRPC, SQL or the provider's JSON.

mod again;
mod authorize;
mod capture;
mod decline;
mod holds;
pub mod hooks;
mod increment;
mod ingest;
mod inquire;
mod mark_paid;
mod query;
mod reconcile;
mod refund;
mod refund_report;
mod release;
mod resolve;
mod settle;
pub mod signature;
pub mod state;

use std::sync::Arc;

use fault::Fault;
use serve::Settings;
use serve::page::Pages;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use state::Payment;

pub use again::BeginAgain;
pub use authorize::Authorize;
pub use capture::CaptureShipment;
pub use increment::HoldMore;
pub use ingest::Ingest;
pub use mark_paid::MarkPaid;
pub use query::{EventPage, ListEvents, ListPage, ListPayments};
pub use reconcile::Resolve;
pub use refund::GiveBack;

pub use crate::data::{Discrepancy, Entry, Figures, Instrument, Refund, ReportRow};
use crate::data::{Gateway, Provider, Store};

/// All that the use cases need; clones are cheap.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    gateway: Gateway,
    pages: Pages,
    settings: Settings,
    tasks: TaskTracker,
}

impl App {
    /// Puts the use cases together.
    pub fn new(store: Store, gateway: Gateway, pages: Pages, settings: Settings, tasks: TaskTracker) -> Self {
        Self { inner: Arc::new(Inner { store, gateway, pages, settings, tasks }) }
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn gateway(&self) -> &Gateway {
        &self.inner.gateway
    }

    /// The provider of a payment.
    fn provider(&self, payment: &Payment) -> Result<&Provider, Fault> {
        self.gateway().of(&payment.provider)
    }

    /// Runs work to its end even when the caller leaves: money that was moved must be written down.
    async fn finish<T, F>(&self, work: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let task = self.inner.tasks.spawn(work.in_current_span());
        task.await.unwrap_or_else(|error| Err(Fault::internal(error)))
    }
}
