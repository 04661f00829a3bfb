use std::time::Instant;

use anyhow::{Context as _, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctx::Role;
use fault::Kind;
use identity::seed;
use serde_json::Value;
use serve::auth::SigningKey;

use crate::platform::{PASSWORD, Platform, TTL};

fn part(token: &str, at: usize) -> Result<Value> {
    let part = token.split('.').nth(at).context("a part")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

#[tokio::test]
async fn usr_02_a_login_gives_a_token_that_a_published_key_signed() -> Result<()> {
    let platform = Platform::open().await?;
    let roles = [Role::Csr, Role::Warehouse];
    let user = seed::user(
        &platform.pg,
        &platform.vault,
        platform.shop,
        "ann@shop.example",
        "Ann",
        &roles,
        PASSWORD.to_owned().into(),
    )
    .await?;
    let session = platform.login("shop", " Ann@Shop.Example ", PASSWORD).await?;
    let (header, claims) = (part(&session.token, 0)?, part(&session.token, 1)?);
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(claims["sub"], user.to_string());
    assert_eq!(claims["tenant_id"], platform.shop.to_string());
    assert_eq!(claims["roles"], serde_json::json!(["csr", "warehouse"]));
    assert_eq!(claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(TTL.as_secs()));
    let keys = platform.identity.jwks().await?;
    assert_eq!(keys.iter().map(SigningKey::kid).collect::<Vec<_>>(), [header["kid"].as_str().context("kid")?]);
    Ok(())
}

#[tokio::test]
async fn usr_02_after_a_rotation_the_new_key_signs_and_the_former_still_verifies() -> Result<()> {
    let platform = Platform::open().await?;
    let first = platform.identity.jwks().await?.remove(0).kid().to_owned();
    let second = platform.identity.rotate_signing_key().await?.kid().to_owned();
    let kids = |keys: Vec<SigningKey>| keys.iter().map(|key| key.kid().to_owned()).collect::<Vec<_>>();
    assert_eq!(kids(platform.identity.jwks().await?), [second.clone(), first]);
    seed::user(&platform.pg, &platform.vault, platform.shop, "a@b.de", "A", &[Role::Csr], PASSWORD.to_owned().into())
        .await?;
    let session = platform.login("shop", "a@b.de", PASSWORD).await?;
    assert_eq!(part(&session.token, 0)?["kid"], second);

    let mut conn = platform.db.admin().await?;
    let past = "UPDATE om_identity.signing_keys SET verify_until = now() WHERE verify_until IS NOT NULL";
    diesel_async::RunQueryDsl::execute(diesel::sql_query(past), &mut conn).await?;
    assert_eq!(kids(platform.identity.jwks().await?), [second]);
    Ok(())
}

#[tokio::test]
async fn usr_02_the_first_key_is_made_once_however_many_ask() -> Result<()> {
    let platform = Platform::open().await?;
    let asked = futures::future::join_all((0..10).map(|_| platform.identity.jwks())).await;
    let kids: Result<std::collections::BTreeSet<_>, _> =
        asked.into_iter().map(|keys| keys.map(|keys| keys[0].kid().to_owned())).collect();
    assert_eq!(kids?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn usr_01_wrong_tenant_email_and_password_cannot_be_told_apart() -> Result<()> {
    let platform = Platform::open().await?;
    seed::user(
        &platform.pg,
        &platform.vault,
        platform.shop,
        "a@b.de",
        "A",
        &[Role::Customer],
        PASSWORD.to_owned().into(),
    )
    .await?;
    platform.login("shop", "a@b.de", PASSWORD).await?;
    let wrong = [("shop", "a@b.de", "wrong"), ("shop", "nobody@b.de", PASSWORD), ("nowhere", "a@b.de", PASSWORD)];
    let mut times = [[0_u128; 9]; 3];
    let mut said = std::collections::BTreeSet::new();
    for round in 0..9 {
        for (times, (tenant, email, password)) in times.iter_mut().zip(wrong) {
            let start = Instant::now();
            let fault = platform.login(tenant, email, password).await.expect_err("refused");
            times[round] = start.elapsed().as_micros();
            assert_eq!(fault.kind(), Kind::Unauthenticated);
            said.insert(format!("{} {} {:?}", fault.reason(), fault, fault.metadata()));
        }
    }
    assert_eq!(said.len(), 1, "{said:?}");
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[4]
    });
    let (least, most) = (medians.iter().min().context("three")?, medians.iter().max().context("three")?);
    // A skipped hash would be tens of times faster; neighbours on the machine make less of a difference than this.
    assert!(*most < least * 6, "medians in µs: {medians:?}");
    Ok(())
}
