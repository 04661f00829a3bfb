//! The rules and the use cases, by subject.

pub mod keys;
pub mod passwords;
pub mod policy;
pub mod roles;
pub mod seal;
pub mod sessions;
pub mod tenants;
pub mod users;

use std::time::Duration;

use ids::TenantId;
use pg::Pg;
use serve::page::Pages;
use uuid::Uuid;
use vault::Vault;

/// Stands for no tenant where a passage wants one: keys and the list of tenants are above them.
pub(crate) const ABOVE: TenantId = TenantId::from_uuid(Uuid::nil());

/// The use cases of identity.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(crate) pg: Pg,
    pub(crate) vault: Vault,
    pub(crate) pages: Pages,
    pub(crate) token_ttl: Duration,
}

impl Identity {
    /// Over a schema that is up to date; access tokens live for `token_ttl`.
    pub fn new(pg: Pg, vault: Vault, pages: Pages, token_ttl: Duration) -> Self {
        Self { pg, vault, pages, token_ttl }
    }
}

/// A page as somebody asks for it.
#[derive(Debug, Clone)]
pub struct Page {
    /// Most rows.
    pub size: i64,
    /// Token of the page before; empty for the first.
    pub token: String,
}

impl Identity {
    /// Opens a cursor that is an id.
    fn cursor(&self, tenant: Option<TenantId>, list: &[u8], page: &Page) -> Result<Uuid, fault::Fault> {
        match self.pages.open(tenant, list, &page.token)? {
            None => Ok(Uuid::nil()),
            Some(cursor) => Uuid::from_slice(&cursor).map_err(fault::Fault::internal),
        }
    }

    /// Cuts one row too many off and seals the id of the last that stays; empty at the end.
    fn next<T>(
        &self,
        tenant: Option<TenantId>,
        list: &[u8],
        rows: &mut Vec<T>,
        size: i64,
        id: fn(&T) -> Uuid,
    ) -> String {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if rows.len() <= size {
            return String::new();
        }
        rows.truncate(size);
        rows.last().map(|last| self.pages.seal(tenant, list, id(last).as_bytes())).unwrap_or_default()
    }
}
