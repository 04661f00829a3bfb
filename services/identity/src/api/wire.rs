//! Messages to values and back; every wrong field of a request is named at once.

use std::collections::BTreeSet;

use contract::identity::v1 as pb;
use ctx::Role;
use fault::{Fault, Violations};
use ids::{TenantId, UserId};
use jiff::Timestamp;
use jiff::civil::Date;
use secrecy::SecretString;
use serve::auth::SigningKey;

use super::check;
use crate::logic::Page;
use crate::logic::roles::PLATFORM;
use crate::logic::sessions::{Login, Session};
use crate::logic::tenants::{NewTenant, Tenant};
use crate::logic::users::{NewUser, Standing, User, normalise};
use crate::store::Row;

pub use super::policy::update_policy;

/// Longest address that mail servers take (RFC 5321).
const MAX_EMAIL: usize = 254;
const MAX_PASSWORD: usize = 200;

/// What a login request says; only what cannot be a login at all is refused here.
///
/// # Errors
/// Every wrong field.
pub fn login(request: pb::LoginRequest) -> Result<Login, Fault> {
    let mut wrong = Violations::default();
    check::text(&mut wrong, "tenant", &request.tenant, 1, 40);
    check::text(&mut wrong, "email", &request.email, 1, MAX_EMAIL);
    password(&mut wrong, "password", &request.password, 1);
    let pb::LoginRequest { tenant, email, password } = request;
    check::done(wrong, || Some(Login { tenant, email, password: password.into() }))
}

fn password(wrong: &mut Violations, field: &str, value: &str, min: usize) {
    // Any character will do: a password is hashed, never shown or stored.
    let length = value.chars().count();
    if length == 0 {
        wrong.add(field, "REQUIRED", "must not be empty");
    } else if length < min {
        wrong.add(field, "TOO_SHORT", format!("at least {min} characters"));
    } else if length > MAX_PASSWORD {
        wrong.add(field, "TOO_LONG", format!("at most {MAX_PASSWORD} characters"));
    }
}

/// The person and the password of a request to create a user.
///
/// # Errors
/// Every wrong field.
pub fn create_user(request: pb::CreateUserRequest) -> Result<(NewUser, SecretString), Fault> {
    let mut wrong = Violations::default();
    let user = new_user(&mut wrong, "user", request.user, Role::Customer);
    password(&mut wrong, "password", &request.password, 12);
    check::done(wrong, || Some((user?, request.password.into())))
}

fn new_user(wrong: &mut Violations, field: &str, user: Option<pb::User>, usual: Role) -> Option<NewUser> {
    let Some(user) = user else {
        wrong.add(field, "REQUIRED", "must be given");
        return None;
    };
    let email = normalise(&user.email);
    check_email(wrong, &format!("{field}.email"), &email);
    check::text(wrong, &format!("{field}.display_name"), &user.display_name, 0, 120);
    let mut roles = BTreeSet::new();
    for (at, role) in user.roles.iter().enumerate() {
        match role.parse::<Role>() {
            Ok(role) => drop(roles.insert(role)),
            Err(error) => wrong.add(format!("{field}.roles[{at}]"), "UNKNOWN_ROLE", error.to_string()),
        }
    }
    if user.roles.is_empty() {
        roles.insert(usual);
    }
    let birth_date = birth_date(wrong, &format!("{field}.birth_date"), &user.birth_date);
    let (email_verified, display_name) = (user.email_verified, user.display_name);
    Some(NewUser { email, display_name, roles: roles.into_iter().collect(), email_verified, birth_date })
}

/// A day that somebody can be born on; none = not known.
fn birth_date(wrong: &mut Violations, field: &str, text: &str) -> Option<Date> {
    if text.is_empty() {
        return None;
    }
    match text.parse::<Date>() {
        Ok(date) if text.len() == 10 && (1900..=2100).contains(&date.year()) => Some(date),
        _ => {
            wrong.add(field, "DATE_INVALID", "a day as YYYY-MM-DD, from 1900");
            None
        }
    }
}

/// Whose standing is set, and to what.
///
/// # Errors
/// Every wrong field.
pub fn set_standing(request: pb::SetCustomerStandingRequest) -> Result<(UserId, Standing), Fault> {
    let mut wrong = Violations::default();
    let user = check::id(&mut wrong, "user_id", &request.user_id);
    let birth_date = birth_date(&mut wrong, "birth_date", &request.birth_date);
    check::text(&mut wrong, "reason", &request.reason, 1, 200);
    let pb::SetCustomerStandingRequest { blocked, email_verified, reason, .. } = request;
    check::done(wrong, || Some((user?, Standing { blocked, email_verified, birth_date, reason })))
}

/// Only mail that arrives proves an address; this refuses what cannot be one.
fn check_email(wrong: &mut Violations, field: &str, email: &str) {
    if email.is_empty() {
        return wrong.add(field, "REQUIRED", "must not be empty");
    }
    let well_formed = email.rsplit_once('@').is_some_and(|(local, domain)| {
        let named =
            !local.is_empty() && domain.split('.').count() >= 2 && domain.split('.').all(|part| !part.is_empty());
        named && !local.contains('@')
    });
    let clean = !email.chars().any(|c| c.is_control() || c.is_whitespace());
    if !well_formed || !clean || email.len() > MAX_EMAIL {
        wrong.add(field, "INVALID_FORMAT", "not an e-mail address");
    }
}

/// The user of a request for one.
///
/// # Errors
/// When it is none.
pub fn user_id(text: &str) -> Result<UserId, Fault> {
    let mut wrong = Violations::default();
    let user = check::id(&mut wrong, "user_id", text);
    check::done(wrong, || user)
}

/// A page that somebody asks for.
///
/// # Errors
/// Every wrong field.
pub fn page(size: i32, token: String) -> Result<Page, Fault> {
    let mut wrong = Violations::default();
    let size = check::page_size(&mut wrong, size);
    check::done(wrong, || Some(Page { size, token }))
}

/// The shop of a request to open one; its administrator is a tenant_admin whatever else.
///
/// # Errors
/// Every wrong field.
pub fn create_tenant(request: pb::CreateTenantRequest) -> Result<NewTenant, Fault> {
    let mut wrong = Violations::default();
    match &request.tenant {
        None => wrong.add("tenant", "REQUIRED", "must be given"),
        Some(tenant) => {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            check::code(&mut wrong, "tenant.slug", &tenant.slug, (2, 40), allowed);
            check::text(&mut wrong, "tenant.display_name", &tenant.display_name, 1, 120);
            if tenant.slug == PLATFORM {
                wrong.add("tenant.slug", "RESERVED", "belongs to the platform itself");
            }
        }
    }
    let mut admin = new_user(&mut wrong, "admin", request.admin, Role::TenantAdmin);
    if let Some(admin) = &mut admin {
        if admin.roles.contains(&Role::PlatformAdmin) {
            wrong.add("admin.roles", "ROLE_NOT_GRANTABLE", "platform_admin is held only in the platform's own tenant");
        }
        if !admin.roles.contains(&Role::TenantAdmin) {
            admin.roles.push(Role::TenantAdmin);
        }
    }
    password(&mut wrong, "admin_password", &request.admin_password, 12);
    let password = request.admin_password.into();
    check::done(wrong, || {
        let pb::Tenant { slug, display_name, .. } = request.tenant?;
        Some(NewTenant { slug, display_name, admin: admin?, password })
    })
}

/// The tenant of a request for one.
///
/// # Errors
/// When it is none.
pub fn get_tenant(request: pb::GetTenantRequest) -> Result<TenantId, Fault> {
    let mut wrong = Violations::default();
    let tenant = check::id(&mut wrong, "tenant_id", &request.tenant_id);
    check::done(wrong, || tenant)
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// A stored user as a message that does not say who he is.
pub fn nameless(row: &Row) -> pb::User {
    pb::User {
        id: row.id.to_string(),
        roles: row.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        create_time: Some(time(row.created_at)),
        blocked: row.blocked,
        email_verified: row.email_verified,
        ..pb::User::default()
    }
}

/// A new user as a message, with who he is.
pub fn named(nameless: pb::User, new: NewUser) -> pb::User {
    let birth_date = new.birth_date.map(|date| date.to_string()).unwrap_or_default();
    pb::User { email: new.email, display_name: new.display_name, birth_date, ..nameless }
}

/// A user as a message.
pub fn user(user: User) -> pb::User {
    pb::User {
        id: user.id.to_string(),
        email: user.email,
        display_name: user.display_name,
        roles: user.roles.into_iter().map(|role| role.as_str().to_owned()).collect(),
        create_time: Some(time(user.created_at)),
        blocked: user.blocked,
        email_verified: user.email_verified,
        birth_date: user.birth_date.map(|date| date.to_string()).unwrap_or_default(),
    }
}

/// A page of users as a message.
pub fn user_page(users: Vec<User>, next_page_token: String) -> pb::ListUsersResponse {
    pb::ListUsersResponse { users: users.into_iter().map(user).collect(), next_page_token }
}

/// A session as a message.
pub fn session(session: Session) -> pb::LoginResponse {
    pb::LoginResponse {
        access_token: session.token,
        expires_in_s: session.expires_in_s,
        user: Some(user(session.user)),
        tenant_id: session.tenant.to_string(),
    }
}

/// A tenant as a message.
pub fn tenant(tenant: Tenant) -> pb::Tenant {
    pb::Tenant {
        id: tenant.id.to_string(),
        slug: tenant.slug,
        display_name: tenant.display_name,
        create_time: Some(time(tenant.created_at)),
    }
}

/// A page of tenants as a message.
pub fn tenant_page(tenants: Vec<Tenant>, next_page_token: String) -> pb::ListTenantsResponse {
    pb::ListTenantsResponse { tenants: tenants.into_iter().map(tenant).collect(), next_page_token }
}

/// The public half of a key as a message (RFC 8037).
pub fn jwk(key: &SigningKey) -> pb::Jwk {
    pb::Jwk {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        kid: key.kid().to_owned(),
        x: key.public_x(),
        alg: "EdDSA".to_owned(),
        r#use: "sig".to_owned(),
    }
}

/// Public keys as a message.
pub fn jwks(keys: &[SigningKey]) -> pb::Jwks {
    pb::Jwks { keys: keys.iter().map(jwk).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fault: &Fault) -> Vec<(&str, &str)> {
        fault.violations().iter().map(|wrong| (wrong.field.as_str(), wrong.reason.as_ref())).collect()
    }

    fn person(email: &str, roles: &[&str]) -> pb::User {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        pb::User { email: email.to_owned(), roles, ..pb::User::default() }
    }

    #[test]
    fn usr_01_an_email_is_lowered_and_roles_are_known() {
        let request = pb::CreateUserRequest {
            user: Some(person(" Ann@Example.COM ", &["csr", "csr"])),
            password: "twelve chars".to_owned(),
        };
        let (user, _) = create_user(request).expect("passes");
        assert_eq!((user.email.as_str(), user.roles.as_slice()), ("ann@example.com", &[Role::Csr][..]));
        let request =
            pb::CreateUserRequest { user: Some(person("x@", &["csr", "king"])), password: "short".to_owned() };
        let fault = create_user(request).expect_err("refused");
        let wrong = [("user.email", "INVALID_FORMAT"), ("user.roles[1]", "UNKNOWN_ROLE"), ("password", "TOO_SHORT")];
        assert_eq!(fields(&fault), wrong);
        for bad in ["", "a", "@b.c", "a@b", "a@b..c", "a b@c.de", "a@b@c.de", "a\u{0}@b.de"] {
            let request = pb::CreateUserRequest { user: Some(person(bad, &[])), password: "p".repeat(12) };
            assert_eq!(fields(&create_user(request).expect_err("refused"))[0].0, "user.email", "{bad:?}");
        }
    }

    #[test]
    fn ten_01_a_new_tenant_gets_an_administrator_but_never_of_the_platform() {
        let request = |slug: &str, roles: &[&str]| pb::CreateTenantRequest {
            tenant: Some(pb::Tenant { slug: slug.into(), display_name: "Shop".into(), ..pb::Tenant::default() }),
            admin: Some(person("a@b.de", roles)),
            admin_password: "p".repeat(12),
        };
        let opened = create_tenant(request("shop-1", &["csr"])).expect("passes");
        assert_eq!(opened.admin.roles, [Role::Csr, Role::TenantAdmin]);
        let refused = create_tenant(request("platform", &["platform_admin"])).expect_err("refused");
        assert_eq!(fields(&refused), [("tenant.slug", "RESERVED"), ("admin.roles", "ROLE_NOT_GRANTABLE")]);
        let empty = create_tenant(pb::CreateTenantRequest::default()).expect_err("refused");
        assert_eq!(
            fields(&empty).into_iter().map(|(f, _)| f).collect::<Vec<_>>(),
            ["tenant", "admin", "admin_password"]
        );
        assert_eq!(
            fields(&create_tenant(request("UPPER", &[])).expect_err("refused")),
            [("tenant.slug", "INVALID_FORMAT")]
        );
    }
}
