//! Tenants, users, sessions, signing keys and policies.
//!
//! **What do we store?** Tenants and the keys that tokens are signed with, above tenants; users with argon2id hashes of
//! their passwords and the policy of each tenant, inside one; who they are is sealed (PAY-12).
//! **What do we publish?** `TenantCreated`, `UserRegistered`, `PolicyChanged`. **Whom do we call?** Nobody.
//!
//! A login says neither by its answer nor by its time whether tenant, e-mail or password was wrong.

mod api;
mod logic;
pub mod seed;
mod store;

use fault::Fault;
use futures::FutureExt;
use outbox::Retention;
use pg::{Pg, Target};
use serve::{Boot, Job, Mount};
use vault::{Master, Vault};

pub use logic::policy::{UpdatePolicy, defaults};
pub use logic::roles::PLATFORM;
pub use logic::sessions::{Login, Session};
pub use logic::tenants::{NewTenant, Tenant};
pub use logic::users::{NewUser, Standing, User};
pub use logic::{Identity, Page};
pub use seed::bootstrap;

/// Tables of the schema `om_identity`.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/identity");

/// All that identity offers and does.
///
/// # Errors
/// When the database's address cannot be used, or the master keys are none.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("identity", &Target::new(boot.database.clone()), boot.pool_size)?;
    let vault = Vault::new(pg.clone(), Master::read(&boot.settings.master_keys).map_err(Fault::internal)?);
    let identity = Identity::new(pg.clone(), vault.clone(), boot.pages(), boot.settings.user_token_ttl);
    let retention = Job::new("identity.retention", move |cancel| Retention::new(pg.clone()).run(cancel).boxed());
    let keys = Job::new("identity.keys", move |cancel| vault.clone().turn_keys_for_ever(cancel).boxed());
    Ok(Mount { name: "identity", routes: api::routes(identity), jobs: vec![retention, keys] })
}
