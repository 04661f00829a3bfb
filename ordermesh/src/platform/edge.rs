use std::collections::BTreeMap;
use std::sync::Arc;

use serve::{Mesh, Peer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The REST port.
pub(super) struct Edge {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<tls::Server>>,
    pub(super) cors_origins: Vec<String>,
}

impl Edge {
    /// Opens it over every context of the contract, in this process or another.
    pub(super) fn open(self, mesh: &Mesh, doors: &TaskTracker, closing: CancellationToken) {
        let Self { listener, tls, cors_origins } = self;
        let contexts = contract::POLICIES.iter().map(|policy| policy.context);
        let upstreams: BTreeMap<&'static str, Peer> = contexts.map(|context| (context, mesh.plain(context))).collect();
        let config = bridge::Config { cors_origins, ..bridge::Config::new(upstreams) };
        doors.spawn(bridge::serve(listener, tls, bridge::app(config), closing));
    }
}
