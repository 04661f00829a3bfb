//! Risk of orders: facts to a score, a score to a decision, a decision to a journal, and people who look (FRD-01 to
//! FRD-05). Judging and scoring are pure; the store counts and journals in one call.

mod grpc;
mod judge;
mod model;
mod review;
mod rules;
mod store;

use fault::Fault;
use pg::Pg;
use serve::page::Pages;
use vault::Vault;

pub use grpc::FraudGrpc;

use store::RiskStore;

/// The use cases of risk; clones are cheap.
#[derive(Clone, Debug)]
pub struct Fraud {
    store: RiskStore,
    pages: Pages,
    vault: Vault,
}

impl Fraud {
    /// The use cases over the service's tables.
    pub fn new(pg: Pg, pages: Pages, vault: Vault) -> Self {
        Self { store: RiskStore::new(pg), pages, vault }
    }
}

fn unnamed() -> Fault {
    Fault::internal("a wrong field was not named")
}
