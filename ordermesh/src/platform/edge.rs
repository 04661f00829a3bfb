use std::collections::BTreeMap;

use serve::{Mesh, Peer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Opens the REST port over every context of the contract, in this process or another.
pub(super) fn open(
    listener: TcpListener,
    cors_origins: Vec<String>,
    mesh: &Mesh,
    doors: &TaskTracker,
    closing: CancellationToken,
) {
    let contexts = contract::POLICIES.iter().map(|policy| policy.context);
    let upstreams: BTreeMap<&'static str, Peer> = contexts.map(|context| (context, mesh.plain(context))).collect();
    let config = bridge::Config { cors_origins, ..bridge::Config::new(upstreams) };
    doors.spawn(bridge::serve(listener, bridge::app(config), closing));
}
