//! Use cases of payments. What a payment is and how it changes is pure (`state`); who asks the provider and when is
//! here. Nothing in here knows gRPC, SQL or the provider's JSON.

mod authorize;
mod capture;
pub mod card;
mod ingest;
mod inquire;
mod query;
mod refund;
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
use tracing::Instrument;

pub use authorize::Authorize;
pub use capture::CaptureShipment;
pub use ingest::Ingest;
pub use query::{ListPage, ListPayments};
pub use refund::GiveBack;

pub use crate::data::Refund;
use crate::data::{Store, Stripe};

/// All that the use cases need; clones are cheap.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    stripe: Stripe,
    pages: Pages,
    settings: Settings,
    tasks: TaskTracker,
}

impl App {
    /// Puts the use cases together.
    pub fn new(store: Store, stripe: Stripe, pages: Pages, settings: Settings, tasks: TaskTracker) -> Self {
        Self { inner: Arc::new(Inner { store, stripe, pages, settings, tasks }) }
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn stripe(&self) -> &Stripe {
        &self.inner.stripe
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
