//! What a token must be, and that every bad one gets the same answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ctx::Role;
use futures::future::join_all;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use serve::auth::{Claims, SigningKey};
use tonic::Code;

use crate::house::{House, bearer, new_key};

const GET_POLICY: &str = "/ordermesh.identity.v1.PolicyService/GetPolicy";
const MINUTES: Duration = Duration::from_secs(15 * 60);

/// A token with any header and any claims, signed by the house's own key.
struct Forge {
    header: Value,
    claims: Value,
    key: Vec<u8>,
}

impl Forge {
    fn sign(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let content = format!("{}.{}", part(&self.header), part(&self.claims));
        let key = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(&self.key).expect("a key");
        format!("{content}.{}", URL_SAFE_NO_PAD.encode(key.sign(content.as_bytes())))
    }

    fn claim(mut self, name: &str, value: Value) -> String {
        let claims = self.claims.as_object_mut().expect("an object");
        if value.is_null() {
            claims.remove(name)
        } else {
            claims.insert(name.into(), value)
        };
        self.sign()
    }

    fn header(mut self, name: &str, value: Value) -> String {
        self.header.as_object_mut().expect("an object").insert(name.into(), value);
        self.sign()
    }
}

/// A house that publishes a key whose private bytes the test holds, and a maker of tokens of it.
fn forge_in(house: &House) -> impl Fn() -> Forge + use<> {
    let pkcs8 = SigningKey::generate();
    let key = SigningKey::from_pkcs8("forge", &pkcs8).expect("a key");
    house.log.published.lock().expect("not poisoned").push(key);
    let claims = Claims::user(house.user, house.tenant, &[Role::Csr], Timestamp::now(), MINUTES);
    move || Forge {
        header: json!({"alg": "EdDSA", "typ": "JWT", "kid": "forge"}),
        claims: serde_json::to_value(&claims).expect("json"),
        key: pkcs8.clone(),
    }
}

fn in_seconds(seconds: i64) -> Value {
    json!(Timestamp::now().as_second() + seconds)
}

#[tokio::test]
async fn every_bad_token_gets_the_same_bytes() {
    let house = House::new();
    let forge = forge_in(&house);
    assert_eq!(house.call(GET_POLICY, &[("authorization", &bearer(&forge().sign()))]).await.code, Code::Ok, "control");

    let public = URL_SAFE_NO_PAD.decode(house.user_key.public_x()).expect("base64url");
    let claims = Claims::user(house.user, house.tenant, &[Role::Csr], Timestamp::now(), MINUTES);
    let header = Header { kid: Some(house.user_key.kid().to_owned()), ..Header::new(Algorithm::HS256) };
    let confused = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&public)).expect("signs");
    let good = forge().sign();
    let (content, signature) = good.rsplit_once('.').expect("three parts");
    let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": "forge"}).to_string());
    let body = content.split_once('.').expect("two parts").1;
    let stranger = new_key("stranger");
    let as_user = SigningKey::from_pkcs8("key-1", &SigningKey::generate()).expect("a key");

    let bad = [
        ("expired", forge().claim("exp", in_seconds(-31))),
        ("expired long ago", forge().claim("exp", json!(1))),
        ("exp as text", forge().claim("exp", json!("9999999999"))),
        ("without exp", forge().claim("exp", Value::Null)),
        ("not yet", forge().claim("nbf", in_seconds(90))),
        ("nbf as text", forge().claim("nbf", json!("soon"))),
        ("without aud", forge().claim("aud", Value::Null)),
        ("other aud", forge().claim("aud", json!("somebody"))),
        ("without iss", forge().claim("iss", Value::Null)),
        ("other iss", forge().claim("iss", json!("evil"))),
        ("user key, service issuer", forge().claim("iss", json!("ordermesh-mesh"))),
        ("user key, service subject", forge().claim("sub", json!("service:order"))),
        ("without sub", forge().claim("sub", Value::Null)),
        ("sub of another kind", forge().claim("sub", json!("ord_0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b"))),
        ("bad tenant", forge().claim("tenant_id", json!("tnt_*"))),
        ("roles that are no list", forge().claim("roles", json!("platform_admin"))),
        ("other alg in the header", forge().header("alg", json!("ES256"))),
        ("alg none", format!("{none}.{body}.")),
        ("alg none with signature", format!("{none}.{body}.{signature}")),
        ("HS256 with the public key", confused),
        ("unknown kid", stranger.sign(&claims).expect("signs")),
        ("known kid, other key", as_user.sign(&claims).expect("signs")),
        ("mesh kid, user key", forge().header("kid", json!("mesh"))),
        ("kid that is a path", forge().header("kid", json!("../../dev/null"))),
        ("cut signature", good[..good.len() - 4].to_owned()),
        ("no signature", content.to_owned()),
        ("garbage", "garbage".to_owned()),
        ("too long", "a".repeat(9000)),
    ];
    let missing = house.call(GET_POLICY, &[]).await;
    assert_eq!((missing.code, missing.reason.as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
    for (kind, token) in bad {
        let said = house.call(GET_POLICY, &[("authorization", &bearer(&token))]).await;
        assert_eq!(said, missing, "{kind}");
    }
    let whole = bearer(&good);
    for odd in [good.as_str(), "Bearer", "Bearer ", "Basic dTpw", "bearer\t", &format!("Bearer  {good}")] {
        assert_eq!(house.call(GET_POLICY, &[("authorization", odd)]).await, missing, "{odd}");
    }
    let twice = [("authorization", whole.as_str()), ("authorization", whole.as_str())];
    assert_eq!(house.call(GET_POLICY, &twice).await, missing, "two tokens");
    let public = "/ordermesh.identity.v1.IdentityService/Login";
    assert_eq!(house.call(public, &[("authorization", "Bearer bad")]).await, missing, "also where none is needed");
}

#[tokio::test]
async fn clocks_may_differ_by_half_a_minute() {
    let house = House::new();
    let forge = forge_in(&house);
    for token in [forge().claim("exp", in_seconds(-20)), forge().claim("nbf", in_seconds(20))] {
        assert_eq!(house.call(GET_POLICY, &[("authorization", &bearer(&token))]).await.code, Code::Ok);
    }
}

#[tokio::test]
async fn keys_of_the_header_are_never_used() {
    let house = House::new();
    let forge = forge_in(&house);
    let own = new_key("evil");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": own.public_x()});
    for (name, value) in [("jwk", jwk), ("jku", json!("http://127.0.0.1:1/k")), ("x5u", json!("http://127.0.0.1:1/c"))]
    {
        // Signed by the published key: the odd header changes nothing, whatever it points to.
        let said = house.call(GET_POLICY, &[("authorization", &bearer(&forge().header(name, value)))]).await;
        assert_eq!(said.code, Code::Ok, "{name}");
    }
}

#[tokio::test]
async fn the_scheme_is_not_case_sensitive() {
    let house = House::new();
    let token = house.token(&[Role::Csr]);
    assert_eq!(house.call(GET_POLICY, &[("authorization", &format!("bEaReR {token}"))]).await.code, Code::Ok);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_reaches_identity_once() {
    let house = House::new();
    let claims = Claims::user(house.user, house.tenant, &[Role::Csr], Timestamp::now(), MINUTES);
    let calls = (0..60).map(|n| {
        let token = bearer(&new_key(&format!("unknown-{n}")).sign(&claims).expect("signs"));
        let house = &house;
        async move { house.call(GET_POLICY, &[("authorization", &token)]).await.code }
    });
    assert!(join_all(calls).await.into_iter().all(|code| code == Code::Unauthenticated));
    let fetched = house.log.jwks.load(Ordering::SeqCst);
    assert!((1..=2).contains(&fetched), "once to load, at most once for strangers: {fetched}");
}

#[tokio::test]
async fn a_new_key_is_known_at_its_first_use() {
    let house = House::new();
    let old = bearer(&house.token(&[Role::Csr]));
    assert_eq!(house.call(GET_POLICY, &[("authorization", &old)]).await.code, Code::Ok);
    let next = new_key("key-2");
    house.log.published.lock().expect("not poisoned").insert(0, next.clone());
    let claims = Claims::user(house.user, house.tenant, &[Role::Csr], Timestamp::now(), MINUTES);
    let fresh = bearer(&next.sign(&claims).expect("signs"));
    assert_eq!(house.call(GET_POLICY, &[("authorization", &fresh)]).await.code, Code::Ok);
    assert_eq!(house.call(GET_POLICY, &[("authorization", &old)]).await.code, Code::Ok, "the former key is published");
}

#[tokio::test]
async fn the_last_good_keys_serve_while_identity_is_away() {
    let house = House::new();
    let first = bearer(&house.token(&[Role::Csr]));
    assert_eq!(house.call(GET_POLICY, &[("authorization", &first)]).await.code, Code::Ok);
    house.log.keys_away.store(1, Ordering::SeqCst);
    let strange = bearer(&new_key("nobody").sign(&Claims::service("x", Timestamp::now(), MINUTES)).expect("signs"));
    assert_eq!(house.call(GET_POLICY, &[("authorization", &strange)]).await.code, Code::Unauthenticated);
    let second = bearer(&house.token(&[Role::Csr]));
    assert_ne!(first, second);
    assert_eq!(house.call(GET_POLICY, &[("authorization", &second)]).await.code, Code::Ok);
}

#[tokio::test]
async fn a_verified_token_is_remembered_but_not_beyond_its_end() {
    let house = House::new();
    let forge = forge_in(&house);
    let dying = bearer(&forge().claim("exp", in_seconds(-26)));
    assert_eq!(
        house.call(GET_POLICY, &[("authorization", &dying)]).await.code,
        Code::Ok,
        "four seconds of leeway left"
    );
    let started = std::time::Instant::now();
    while house.call(GET_POLICY, &[("authorization", &dying)]).await.code == Code::Ok {
        assert!(started.elapsed() < Duration::from_secs(60), "still believed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_good_token_is_not_called_bad_while_the_keys_cannot_be_loaded() {
    let house = House::new();
    house.log.keys_away.store(1, Ordering::SeqCst);
    let token = bearer(&house.token(&[Role::Csr]));
    let said = house.call(GET_POLICY, &[("authorization", &token)]).await;
    assert_eq!((said.code, said.reason.as_str()), (Code::Unavailable, "KEYS_AWAY"), "ask again, do not log in again");
    let bad = house.call(GET_POLICY, &[("authorization", "Bearer garbage")]).await;
    assert_eq!(bad.reason, "TOKEN_INVALID", "this one needs no key to be seen through");
    house.log.keys_away.store(0, Ordering::SeqCst);
    let started = std::time::Instant::now();
    while house.call(GET_POLICY, &[("authorization", &token)]).await.code != Code::Ok {
        assert!(started.elapsed() < Duration::from_secs(60), "identity is back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
