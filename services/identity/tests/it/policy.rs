use anyhow::Result;
use ctx::{Ctx, Role};
use fault::Kind;
use futures::FutureExt;
use identity::{UpdatePolicy, defaults};
use ids::TenantId;
use uuid::Uuid;

use crate::platform::Platform;

#[tokio::test]
async fn ord_23_a_policy_starts_as_the_defaults_and_changes_by_version() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    let policy = platform.identity.get_policy(&admin).await?;
    assert_eq!(policy.etag, "0");
    let mut changed = defaults();
    changed.max_units = 60;
    let update = |based_on| {
        let update = UpdatePolicy { policy: changed.clone(), based_on };
        platform.identity.update_policy(&admin, update)
    };
    assert_eq!(update(Some(0)).await?.etag, "1");
    let stale = update(Some(0)).await.expect_err("the etag is stale");
    assert_eq!((stale.kind(), stale.reason()), (Kind::Aborted, "ETAG_MISMATCH"));
    assert_eq!(update(None).await?.etag, "2");
    let read = platform.identity.get_policy(&admin).await?;
    assert_eq!((read.max_units, read.etag.as_str()), (60, "2"));

    let other = Ctx { tenant: TenantId::new(), ..admin.clone() };
    assert_eq!(platform.identity.get_policy(&other).await?.max_units, 50);
    let (tenant, stream) = (platform.shop, Uuid::new_v5(&platform.shop.uuid(), b"policy"));
    let read = platform.pg.read("test.events", tenant, move |conn| eventlog::load(conn, tenant, stream).boxed());
    let events = read.await?;
    let types: Vec<_> = events.iter().map(|event| (event.version, event.type_name.as_str())).collect();
    let name = "ordermesh.identity.v1.PolicyChanged";
    assert_eq!(types, [(1, name), (2, name)]);
    Ok(())
}

#[tokio::test]
async fn two_editors_with_one_etag_make_one_change() -> Result<()> {
    let platform = Platform::open().await?;
    let admin = platform.as_(Role::TenantAdmin);
    for version in 0..5 {
        let edits = (0..4).map(|_| {
            let update = UpdatePolicy { policy: defaults(), based_on: Some(version) };
            platform.identity.update_policy(&admin, update)
        });
        let answers = futures::future::join_all(edits).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        for fault in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert_eq!(fault.reason(), "ETAG_MISMATCH");
        }
    }
    Ok(())
}
