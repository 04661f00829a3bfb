use std::time::Duration;

use anyhow::Result;
use ctx::{Cause, Ctx, Open, Principal, Role};
use identity::{Identity, Login, NewTenant, NewUser, Page, Session, seed};
use ids::{TenantId, UserId};
use jiff::Timestamp;
use pg::Pg;
use serve::page::Pages;
use testkit::Db;
use vault::{Master, Vault};

pub const MASTER: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";
pub const PASSWORD: &str = "correct horse battery";
pub const TTL: Duration = Duration::from_secs(15 * 60);

/// The platform with its administrator and one shop.
pub struct Platform {
    pub db: Db,
    pub pg: Pg,
    pub vault: Vault,
    pub identity: Identity,
    pub shop: TenantId,
}

impl Platform {
    pub async fn open() -> Result<Self> {
        let db = Db::fresh("identity", identity::MIGRATIONS).await?;
        let pg = db.pg("identity");
        let vault = vault(&pg, MASTER)?;
        let identity = Identity::new(pg.clone(), vault.clone(), Pages::new(&"k".repeat(32).into()), TTL);
        let shop = seed::tenant(&pg, "shop", "A shop").await?;
        Ok(Self { db, pg, vault, identity, shop })
    }

    pub async fn login(&self, tenant: &str, email: &str, password: &str) -> Result<Session, fault::Fault> {
        let login = Login { tenant: tenant.into(), email: email.into(), password: password.to_owned().into() };
        self.identity.login(&open(Principal::Anonymous), login).await
    }

    /// A context of the shop for a person with a role.
    pub fn as_(&self, role: Role) -> Ctx {
        open(Principal::User { id: UserId::new(), roles: vec![role] }).in_tenant(self.shop)
    }
}

/// As another process has it: it has read no keys yet.
pub fn vault(pg: &Pg, masters: &str) -> Result<Vault> {
    Ok(Vault::new(pg.clone(), Master::read(&masters.to_owned().into())?))
}

pub fn open(principal: Principal) -> Open {
    let (tenant, deadline, idempotency) = (None, None, None);
    let cause = Cause { correlation_id: "test".into(), ..Cause::default() };
    Open { tenant, principal, cause, deadline, now: Timestamp::now(), idempotency }
}

pub fn person(email: &str, roles: &[Role]) -> NewUser {
    NewUser {
        email: email.to_owned(),
        display_name: "Somebody".to_owned(),
        roles: roles.to_vec(),
        email_verified: false,
        birth_date: None,
    }
}

fn tenant(slug: &str) -> NewTenant {
    NewTenant {
        slug: slug.to_owned(),
        display_name: "Another shop".to_owned(),
        admin: person("boss@shop.example", &[Role::TenantAdmin]),
        password: PASSWORD.to_owned().into(),
    }
}

#[tokio::test]
async fn ten_01_a_tenant_opens_with_its_administrator_or_not_at_all() -> Result<()> {
    let platform = Platform::open().await?;
    let root = || open(Principal::User { id: UserId::new(), roles: vec![Role::PlatformAdmin] });
    let opened = platform.identity.create_tenant(root(), tenant("second")).await?;
    let session = platform.login("second", "boss@shop.example", PASSWORD).await?;
    assert_eq!((session.tenant, session.user.roles.as_slice()), (opened.id, &[Role::TenantAdmin][..]));
    let taken = platform.identity.create_tenant(root(), tenant("second")).await.expect_err("the slug is taken");
    assert_eq!(taken.reason(), "SLUG_TAKEN");

    let boss = Ctx { tenant: opened.id, ..platform.as_(Role::TenantAdmin) };
    assert_eq!(platform.identity.get_tenant(&boss, opened.id).await?.slug, "second");
    let foreign = platform.identity.get_tenant(&boss, platform.shop).await.expect_err("not his");
    assert_eq!(foreign.reason(), "TENANT_NOT_FOUND");
    let above = Ctx { tenant: opened.id, ..platform.as_(Role::PlatformAdmin) };
    assert_eq!(platform.identity.get_tenant(&above, platform.shop).await?.slug, "shop");

    let (first, next) = platform.identity.list_tenants(Page { size: 1, token: String::new() }).await?;
    let (second, end) = platform.identity.list_tenants(Page { size: 1, token: next }).await?;
    assert_eq!((first[0].slug.as_str(), second[0].slug.as_str(), end.as_str()), ("shop", "second", ""));
    Ok(())
}

#[tokio::test]
async fn ten_01_users_and_policies_are_unseen_without_a_tenant_or_in_another() -> Result<()> {
    use diesel_async::RunQueryDsl;
    let platform = Platform::open().await?;
    seed::user(&platform.pg, &platform.vault, platform.shop, "a@b.de", "A", &[Role::Csr], PASSWORD.to_owned().into())
        .await?;
    let mut conn = platform.db.connect("om_identity").await?;
    for table in ["users", "policies", "events"] {
        let all = format!("SELECT FROM {table}");
        assert!(diesel::sql_query(&all).execute(&mut conn).await.is_err(), "{table} can be read without a tenant");
        let foreign = format!("SELECT set_config('app.tenant', '{}', false)", TenantId::new().uuid());
        diesel::sql_query(foreign).execute(&mut conn).await?;
        assert_eq!(diesel::sql_query(&all).execute(&mut conn).await?, 0, "{table} shows rows of another tenant");
        diesel::sql_query("RESET app.tenant").execute(&mut conn).await?;
    }
    let mut worker = platform.db.connect("om_identity_worker").await?;
    for table in ["users", "policies", "signing_keys", "tenants"] {
        let read = diesel::sql_query(format!("SELECT FROM {table}")).execute(&mut worker).await;
        assert!(read.is_err(), "the worker reads {table}");
    }
    Ok(())
}

#[tokio::test]
async fn seeding_and_bootstrapping_twice_changes_nothing() -> Result<()> {
    let platform = Platform::open().await?;
    let secret = || PASSWORD.to_owned().into();
    let first = identity::bootstrap(&platform.pg, &platform.vault, "Root@Example.com", secret()).await?;
    assert_eq!(
        identity::bootstrap(&platform.pg, &platform.vault, "root@example.com", "other".to_owned().into()).await?,
        first
    );
    let session = platform.login(identity::PLATFORM, "root@example.com", PASSWORD).await?;
    assert_eq!(session.user.roles, [Role::PlatformAdmin]);
    assert_eq!(seed::tenant(&platform.pg, "shop", "Again").await?, platform.shop);
    let user = || seed::user(&platform.pg, &platform.vault, platform.shop, "a@b.de", "A", &[Role::Customer], secret());
    let (one, two) = futures::future::join(user(), user()).await;
    assert_eq!(one?, two?);
    let slugs: Vec<_> = seed::tenants(&platform.pg).await?.into_iter().map(|(slug, _)| slug).collect();
    assert_eq!(slugs, ["shop", "platform"]);
    Ok(())
}
