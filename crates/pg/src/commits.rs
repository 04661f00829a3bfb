//! Who committed something lately, within this process: what waits for it need not ask the database over and over.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio::sync::watch;

static SERVICES: LazyLock<Mutex<BTreeMap<String, Arc<watch::Sender<u64>>>>> = LazyLock::new(Mutex::default);

/// Changes whenever a service of this process has committed something, through whichever of its doors. What other
/// processes commit is not seen here.
pub fn commits_of(service: &str) -> watch::Receiver<u64> {
    sender(service).subscribe()
}

pub(crate) fn sender(service: &str) -> Arc<watch::Sender<u64>> {
    let mut services = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(services.entry(service.to_owned()).or_insert_with(|| Arc::new(watch::Sender::new(0))))
}
