//! Who may make whom what (USR-03). Pure.

use ctx::{Principal, Role};

/// Slug of the tenant whose users may run the platform.
pub const PLATFORM: &str = "platform";

/// A role was given that the giver may not give, or that cannot be held in the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only a platform_admin may grant platform_admin, and only in the platform's own tenant")]
pub struct NotGrantable;

/// Checks roles that somebody gives to a user of a tenant.
///
/// # Errors
/// When platform_admin is among them and the giver or the tenant is not the platform's.
pub fn grant(giver: &Principal, slug: &str, roles: &[Role]) -> Result<(), NotGrantable> {
    let above = roles.contains(&Role::PlatformAdmin);
    if above && !(giver.has(Role::PlatformAdmin) && slug == PLATFORM) { Err(NotGrantable) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use ids::UserId;

    use super::*;

    #[test]
    fn usr_03_only_the_platform_makes_platform_admins() {
        let user = |role| Principal::User { id: UserId::new(), roles: vec![role] };
        let (admin, shopkeeper) = (user(Role::PlatformAdmin), user(Role::TenantAdmin));
        assert_eq!(grant(&admin, PLATFORM, &[Role::PlatformAdmin]), Ok(()));
        assert_eq!(grant(&admin, "shop", &[Role::PlatformAdmin]), Err(NotGrantable));
        assert_eq!(grant(&shopkeeper, PLATFORM, &[Role::PlatformAdmin]), Err(NotGrantable));
        assert_eq!(grant(&Principal::Anonymous, PLATFORM, &[Role::Csr, Role::PlatformAdmin]), Err(NotGrantable));
        assert_eq!(grant(&shopkeeper, "shop", &[Role::TenantAdmin, Role::Csr, Role::Customer]), Ok(()));
    }
}
