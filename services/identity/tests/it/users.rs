use anyhow::Result;
use ctx::{Ctx, IdempotencyKey, Principal, Role};
use fault::Kind;
use identity::Page;
use ids::UserId;

use crate::platform::{PASSWORD, Platform, person};

#[tokio::test]
async fn usr_01_a_person_is_registered_once_and_logs_in() -> Result<()> {
    let platform = Platform::open().await?;
    let key = IdempotencyKey { key: "k".into(), scope: "s".into(), fingerprint: [1; 32] };
    let ctx = Ctx { idempotency: Some(key), ..platform.as_(Role::TenantAdmin) };
    let create = || {
        let person = person("ann@shop.example", &[Role::Customer]);
        platform.identity.create_user(&ctx, person, PASSWORD.to_owned().into())
    };
    let (first, again) = (create().await?, create().await?);
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.response, again.response);
    let session = platform.login("shop", "ann@shop.example", PASSWORD).await?;
    assert_eq!(session.user.id.to_string(), first.response.id);

    let admin = platform.as_(Role::TenantAdmin);
    let person = person("ann@shop.example", &[Role::Csr]);
    let taken = platform.identity.create_user(&admin, person, PASSWORD.to_owned().into()).await;
    let taken = taken.expect_err("the e-mail is taken");
    assert_eq!((taken.kind(), taken.reason()), (Kind::AlreadyExists, "EMAIL_TAKEN"));
    Ok(())
}

#[tokio::test]
async fn usr_03_a_shop_cannot_make_platform_admins() -> Result<()> {
    let platform = Platform::open().await?;
    for role in [Role::TenantAdmin, Role::PlatformAdmin] {
        let person = person("evil@shop.example", &[Role::PlatformAdmin]);
        let refused = platform.identity.create_user(&platform.as_(role), person, PASSWORD.to_owned().into()).await;
        assert_eq!(refused.expect_err("not grantable in a shop").reason(), "ROLE_NOT_GRANTABLE");
    }
    let root =
        identity::bootstrap(&platform.pg, &platform.vault, "root@example.com", PASSWORD.to_owned().into()).await?;
    let above = Ctx { tenant: root, ..platform.as_(Role::PlatformAdmin) };
    let second = person("second@example.com", &[Role::PlatformAdmin]);
    platform.identity.create_user(&above, second, PASSWORD.to_owned().into()).await?;
    Ok(())
}

#[tokio::test]
async fn usr_01_a_customer_sees_only_himself_and_staff_only_their_tenant() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let person = person(&format!("{name}@shop.example"), &[Role::Customer]);
        let user = platform.identity.create_user(&admin, person, PASSWORD.to_owned().into()).await?;
        ids.push(user.response.id.parse::<UserId>()?);
    }
    let customer = Principal::User { id: ids[0], roles: vec![Role::Customer] };
    let customer = Ctx { principal: customer, ..admin.clone() };
    assert_eq!(platform.identity.get_user(&customer, ids[0]).await?.email, "a@shop.example");
    let other = platform.identity.get_user(&customer, ids[1]).await.expect_err("somebody else");
    let nobody = platform.identity.get_user(&customer, UserId::new()).await.expect_err("nobody");
    assert_eq!((other.reason(), other.to_string()), (nobody.reason(), nobody.to_string()));
    assert_eq!(platform.identity.get_user(&admin, ids[1]).await?.email, "b@shop.example");
    let order = Ctx { principal: Principal::Service { name: "order".into() }, ..admin.clone() };
    assert_eq!(platform.identity.get_user(&order, ids[2]).await?.email, "c@shop.example");

    let (first, next) = platform.identity.list_users(&admin, Page { size: 2, token: String::new() }).await?;
    let (rest, end) = platform.identity.list_users(&admin, Page { size: 2, token: next.clone() }).await?;
    let listed: Vec<_> = first.into_iter().chain(rest).map(|user| user.id).collect();
    assert_eq!((listed, end.as_str()), (ids.clone(), ""));

    let foreign = Ctx { tenant: ids::TenantId::new(), ..admin };
    assert_eq!(platform.identity.get_user(&foreign, ids[1]).await.expect_err("not there").kind(), Kind::NotFound);
    let token = platform.identity.list_users(&foreign, Page { size: 2, token: next }).await;
    assert_eq!(token.expect_err("another tenant's token").reason(), "PAGE_TOKEN_INVALID");
    Ok(())
}
