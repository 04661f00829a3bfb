use anyhow::Result;
use ctx::{Ctx, IdempotencyKey, Role};
use diesel_async::SimpleAsyncConnection;
use fault::Kind;
use identity::{Identity, NewTenant, NewUser, Page, seed};
use ids::UserId;
use jiff::civil::date;
use pg::Pg;
use serve::page::Pages;
use testkit::search::columns_with;

use crate::platform::{MASTER, PASSWORD, Platform, TTL, open, person, vault};

const OLD: &str = "UPDATE om_identity.data_keys SET created_at = now() - interval '91 days'";

fn ada() -> NewUser {
    let birth_date = Some(date(1985, 12, 10));
    NewUser {
        display_name: "Ada Lovelace".to_owned(),
        birth_date,
        ..person("ada@analytical.example", &[Role::Customer])
    }
}

/// Another process over the same database.
fn another(pg: &Pg, masters: &str) -> Result<Identity> {
    Ok(Identity::new(pg.clone(), vault(pg, masters)?, Pages::new(&"k".repeat(32).into()), TTL))
}

async fn login(identity: &Identity, email: &str) -> Result<UserId, fault::Fault> {
    let login = identity::Login { tenant: "shop".into(), email: email.into(), password: PASSWORD.to_owned().into() };
    identity.login(&open(ctx::Principal::Anonymous), login).await.map(|session| session.user.id)
}

#[tokio::test]
async fn pay_12_no_table_says_who_a_user_is_and_whoever_may_know_is_told() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    let key = IdempotencyKey { key: "k".into(), scope: "s".into(), fingerprint: [1; 32] };
    let keyed = Ctx { idempotency: Some(key), ..admin.clone() };
    let create = || platform.identity.create_user(&keyed, ada(), PASSWORD.to_owned().into());
    let (first, again) = (create().await?, create().await?);
    assert_eq!((first.replayed, again.replayed, &first.response), (false, true, &again.response));
    assert_eq!(first.response.email, "ada@analytical.example");
    let id: UserId = first.response.id.parse()?;
    let standing = identity_standing(&platform, &admin, id).await?;
    assert_eq!(standing, Some(date(1991, 3, 4)));
    let shop = NewTenant {
        slug: "second".into(),
        display_name: "Another shop".into(),
        admin: NewUser { email: "boss@analytical.example".into(), ..ada() },
        password: PASSWORD.to_owned().into(),
    };
    platform.identity.create_tenant(open(admin.principal.clone()), shop).await?;
    seed::user(
        &platform.pg,
        &platform.vault,
        platform.shop,
        "cy@analytical.example",
        "Charles Babbage",
        &[Role::Csr],
        PASSWORD.to_owned().into(),
    )
    .await?;
    login(&platform.identity, "Ada@Analytical.example ").await?;
    let mut conn = platform.db.admin().await?;
    for name in ["analytical", "Lovelace", "Babbage", "1985-12-10", "1991-03-04"] {
        assert_eq!(columns_with(&mut conn, name).await?, [""; 0], "{name}");
    }
    let user = platform.identity.get_user(&admin, id).await?;
    assert_eq!((user.email.as_str(), user.display_name.as_str()), ("ada@analytical.example", "Ada Lovelace"));
    let (users, _) = platform.identity.list_users(&admin, Page { size: 10, token: String::new() }).await?;
    let mut names: Vec<_> = users.iter().map(|user| user.display_name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Ada Lovelace", "Charles Babbage"]);
    Ok(())
}

async fn identity_standing(platform: &Platform, admin: &Ctx, id: UserId) -> Result<Option<jiff::civil::Date>> {
    let standing = identity::Standing {
        blocked: false,
        email_verified: true,
        birth_date: Some(date(1991, 3, 4)),
        reason: "a passport".into(),
    };
    Ok(platform.identity.set_standing(admin, id, standing).await?.birth_date)
}

#[tokio::test]
async fn pay_12_an_email_is_taken_once_per_tenant_whatever_key_seals_it() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    let create = |ctx: Ctx| {
        let identity = platform.identity.clone();
        async move { identity.create_user(&ctx, ada(), PASSWORD.to_owned().into()).await }
    };
    let all = futures::future::join_all((0..5).map(|_| create(admin.clone()))).await;
    assert_eq!(all.iter().filter(|made| made.is_ok()).count(), 1, "one of many at once");
    let mut conn = platform.db.admin().await?;
    conn.batch_execute(OLD).await?;
    assert_eq!(platform.vault.turn_keys().await?, 3, "e-mail, name and day of birth");
    let taken = create(admin.clone()).await.expect_err("the e-mail is taken");
    assert_eq!((taken.kind(), taken.reason()), (Kind::AlreadyExists, "EMAIL_TAKEN"));
    // Another tenant has its own, and nobody sees that they are the same.
    let shop = seed::tenant(&platform.pg, "second", "Another shop").await?;
    create(Ctx { tenant: shop, ..admin }).await?;
    let mut conn = platform.db.admin().await?;
    let same = "SELECT FROM om_identity.users a JOIN om_identity.users b ON a.email_digest = b.email_digest AND a.user_id <> b.user_id";
    assert_eq!(diesel_async::RunQueryDsl::execute(diesel::sql_query(same), &mut conn).await?, 0);
    Ok(())
}

#[tokio::test]
async fn pay_12_a_login_works_after_data_keys_and_the_master_key_have_turned() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    let id = platform.identity.create_user(&admin, ada(), PASSWORD.to_owned().into()).await?.response.id.parse()?;
    assert_eq!(login(&platform.identity, "ada@analytical.example").await?, id);
    let signer = platform.identity.jwks().await?[0].kid().to_owned();
    let mut conn = platform.db.admin().await?;
    conn.batch_execute(OLD).await?;
    // Three values of the person and the signing key.
    assert_eq!(platform.vault.turn_keys().await?, 4);
    assert_eq!(platform.vault.turn_keys().await?, 0, "once");
    let fresh = another(&platform.pg, MASTER)?;
    for identity in [&platform.identity, &fresh] {
        assert_eq!(login(identity, "ada@analytical.example").await?, id);
        assert_eq!(identity.jwks().await?[0].kid(), signer);
        assert_eq!(identity.get_user(&admin, id).await?.birth_date, Some(date(1985, 12, 10)));
    }
    // Then the master key: what the new one wrapped opens without the old one, and not with the old one alone.
    let new = "c3".repeat(32);
    vault(&platform.pg, &format!("{new}\n{MASTER}"))?.turn_keys().await?;
    assert_eq!(login(&another(&platform.pg, &new)?, "ada@analytical.example").await?, id);
    let late = login(&another(&platform.pg, MASTER)?, "ada@analytical.example").await.expect_err("it opens nothing");
    assert_eq!(late.kind(), Kind::Internal);
    Ok(())
}

#[tokio::test]
async fn pay_12_what_is_copied_to_another_user_tenant_or_generation_does_not_open() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    let shop = seed::tenant(&platform.pg, "second", "Another shop").await?;
    let there = Ctx { tenant: shop, ..admin.clone() };
    let mut ids = Vec::new();
    for (ctx, email) in [(&admin, "a@b.de"), (&admin, "c@b.de"), (&there, "a@b.de")] {
        let made = platform.identity.create_user(ctx, person(email, &[Role::Customer]), PASSWORD.to_owned().into());
        ids.push(made.await?.response.id.parse::<UserId>()?);
    }
    let mut conn = platform.db.admin().await?;
    for other in [ids[1], ids[2]] {
        let copy = format!(
            "UPDATE om_identity.users SET email = (SELECT email FROM om_identity.users WHERE user_id = '{}') \
             WHERE user_id = '{}'",
            other.uuid(),
            ids[0].uuid()
        );
        conn.batch_execute(&copy).await?;
        let fault = platform.identity.get_user(&admin, ids[0]).await.expect_err("it does not open");
        assert_eq!(fault.kind(), Kind::Internal);
    }
    assert_eq!(platform.identity.get_user(&admin, ids[1]).await?.email, "c@b.de");
    assert_eq!(platform.identity.get_user(&there, ids[2]).await?.email, "a@b.de");
    // A signing key is what it is in its generation only.
    platform.identity.jwks().await?;
    platform.identity.rotate_signing_key().await?;
    let swap = "UPDATE om_identity.signing_keys k SET pkcs8 = o.pkcs8 FROM om_identity.signing_keys o \
                WHERE k.generation = 2 AND o.generation = 1";
    conn.batch_execute(swap).await?;
    assert_eq!(platform.identity.jwks().await.expect_err("it does not open").kind(), Kind::Internal);
    Ok(())
}
