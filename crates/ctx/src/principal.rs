use ids::UserId;
use serde::{Deserialize, Serialize};

/// What a person may be in a tenant (USR-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Buys; sees only what is his own.
    Customer,
    /// Serves customers.
    Csr,
    /// Picks and packs.
    Warehouse,
    /// Runs the tenant's shop.
    TenantAdmin,
    /// Runs the platform; above tenants.
    PlatformAdmin,
}

/// A text is not a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a role: customer, csr, warehouse, tenant_admin or platform_admin")]
pub struct UnknownRole;

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Customer, Self::Csr, Self::Warehouse, Self::TenantAdmin, Self::PlatformAdmin];

    /// Name in tokens and contracts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Csr => "csr",
            Self::Warehouse => "warehouse",
            Self::TenantAdmin => "tenant_admin",
            Self::PlatformAdmin => "platform_admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody said who.
    Anonymous,
    /// A person with a token.
    User {
        /// The person.
        id: UserId,
        /// What the person may be.
        roles: Vec<Role>,
    },
    /// A service of the mesh.
    Service {
        /// Its name, such as "order".
        name: String,
    },
    /// A company whose signed message this is.
    Provider {
        /// Its name, such as "stripe".
        name: String,
    },
}

impl Principal {
    /// Whether a person has a role.
    pub fn has(&self, role: Role) -> bool {
        matches!(self, Self::User { roles, .. } if roles.contains(&role))
    }

    /// Whether a person works for the tenant or the platform.
    pub fn is_staff(&self) -> bool {
        [Role::Csr, Role::Warehouse, Role::TenantAdmin, Role::PlatformAdmin].into_iter().any(|role| self.has(role))
    }

    /// Whether a person may see only what is his own.
    pub fn is_customer_only(&self) -> bool {
        matches!(self, Self::User { .. }) && !self.is_staff()
    }

    /// The person, if it is one.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(*id),
            Self::Anonymous | Self::Service { .. } | Self::Provider { .. } => None,
        }
    }

    /// Kind and id as events and logs carry them.
    pub fn actor(&self) -> (&'static str, String) {
        match self {
            Self::Anonymous => ("anonymous", String::new()),
            Self::User { id, .. } => ("user", id.to_string()),
            Self::Service { name } => ("service", name.clone()),
            Self::Provider { name } => ("provider", name.clone()),
        }
    }
}
