//! The only list of services: adding one is a crate, a folder of migrations and a line here.

use fault::Fault;
use pg::{Migrations, Source};
use serve::{Boot, Mount};

/// A service library and what the executable needs of it.
#[derive(Clone, Copy)]
pub struct Service {
    /// Name of the context: on the command line, in the mesh, of schema and role.
    pub name: &'static str,
    /// Starts it.
    pub mount: fn(&Boot) -> Result<Mount, Fault>,
    /// Its tables and functions.
    pub migrations: fn() -> Migrations,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Service").field(&self.name).finish()
    }
}

/// Every service, in the order they start.
pub const ALL: &[Service] = &[
    Service { name: "identity", mount: identity::mount, migrations: || identity::MIGRATIONS },
    Service { name: "inventory", mount: inventory::mount, migrations: || inventory::MIGRATIONS },
    Service { name: "payment", mount: payment::mount, migrations: || payment::MIGRATIONS },
    Service { name: "fulfillment", mount: fulfillment::mount, migrations: || fulfillment::MIGRATIONS },
    Service { name: "shipping", mount: shipping::mount, migrations: || shipping::MIGRATIONS },
    Service { name: "notification", mount: notification::mount, migrations: || notification::MIGRATIONS },
    Service { name: "order", mount: order::mount, migrations: || order::MIGRATIONS },
];

/// What the database must hold for all of them.
pub fn sources() -> Vec<Source> {
    ALL.iter().map(|service| Source { service: service.name, migrations: (service.migrations)() }).collect()
}
