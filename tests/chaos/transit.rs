//! What goes over a network goes over TLS where it is asked for, and to nobody who is not known: ports, peers and the
//! database (PAY-12).

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cluster::{Cluster, Options};
use diesel::QueryableByName;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use futures::FutureExt as _;
use ordermesh::platform::{Database, Outside, Platform, PlatformConfig, Secrets, Transit};
use ordermesh::{defaults, services};
use pg::{Conn, Pg, Source, Target};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use reqwest::{Certificate, StatusCode};
use serde_json::Value;
use testkit::{Db, eventually};
use tls::Identity;
use uuid::Uuid;

use super::process::port;
use crate::journey::world::{PATIENCE, text};

const HOST: &str = "127.0.0.1";
const KEYS: &str = "/api/v1/jwks";

/// A directory that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("ordermesh-transit-{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir_all(&self.0);
    }
}

/// Somebody who vouches for others.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
    ca: PathBuf,
}

impl Authority {
    fn new(scratch: &Scratch, name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let dir = scratch.0.join(name);
        std::fs::create_dir_all(&dir)?;
        let ca = dir.join("ca.pem");
        std::fs::write(&ca, params.self_signed(&key)?.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), dir, ca })
    }

    /// A certificate for a host, good for both sides of a connection.
    fn vouch(&self, host: &str) -> Result<Identity> {
        let own = Identity { cert: self.dir.join("own.pem"), key: self.dir.join("own.key") };
        self.vouch_at(host, &own)?;
        Ok(own)
    }

    fn vouch_at(&self, host: &str, own: &Identity) -> Result<()> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        std::fs::write(&own.cert, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&own.key, key.serialize_pem())?;
        Ok(())
    }

    /// A caller who trusts this authority and nobody else.
    fn caller(&self) -> Result<reqwest::Client> {
        let trusted = Certificate::from_pem(&std::fs::read(&self.ca)?)?;
        // A connection of its own for every request, so that each makes a handshake.
        Ok(reqwest::Client::builder().tls_certs_only([trusted]).pool_max_idle_per_host(0).build()?)
    }
}

/// One process: identity, or a bridge in front of one at an address.
async fn process(db: &Db, secrets: &Secrets, behind: Option<String>, transit: Transit) -> Result<Platform> {
    let identity = services::ALL.iter().find(|service| service.name == "identity").context("no identity")?;
    let nowhere = || "http://127.0.0.1:9".to_owned();
    let config = PlatformConfig {
        database: Database::Url { url: db.target().url("{role}"), admin: None },
        migrate: false,
        services: if behind.is_none() { vec![*identity] } else { Vec::new() },
        rest: behind.as_ref().map(|_| defaults::local(0)),
        remote: behind.map(|address| ("identity".to_owned(), address)).into_iter().collect(),
        metrics: None,
        secrets: secrets.clone(),
        transit,
        outside: Outside::Real {
            payments: nowhere(),
            payments_fallback: String::new(),
            wms: nowhere(),
            carrier: nowhere(),
            mail: "smtp://127.0.0.1:9".to_owned().into(),
            mail_from: "A Shop <orders@shop.example>".to_owned(),
            wms_poll: Duration::from_secs(60),
            carrier_poll: Duration::from_secs(60),
        },
        ..defaults::embedded(defaults::random_ports(), 0.0, None)
    };
    Platform::start(config).await
}

/// What a bridge answers that reaches identity so: the status, and why when it is none.
async fn asked(db: &Db, secrets: &Secrets, behind: String, transit: Transit) -> Result<(StatusCode, String)> {
    let bridge = process(db, secrets, Some(behind), transit).await?;
    let answer = reqwest::get(format!("{}{KEYS}", bridge.rest_url())).await?;
    let status = answer.status();
    let reason = text(&answer.json::<Value>().await?, "reason").to_owned();
    bridge.shutdown().await?;
    Ok((status, reason))
}

#[tokio::test]
async fn pay_12_a_call_between_processes_needs_tls_and_a_certificate_on_both_sides() -> Result<()> {
    let (scratch, db, secrets) = (Scratch::new()?, Db::of(services::sources()).await?, Secrets::fresh());
    let (ours, strange) = (Authority::new(&scratch, "ours")?, Authority::new(&scratch, "strange")?);
    let (own, stranger) = (ours.vouch(HOST)?, strange.vouch(HOST)?);
    let guarded = Transit { identity: Some(own.clone()), client_ca: Some(ours.ca.clone()), ca: None };
    let identity = process(&db, &secrets, None, guarded).await?;
    let plain = format!("http://{}", identity.grpc);
    let address = format!("https://{}", identity.grpc);
    let known = |identity: &Identity, ca: &Path| {
        let ca = Some(ca.to_owned());
        Transit { identity: Some(identity.clone()), client_ca: None, ca }
    };

    // The bridge's own port is plain here, so that only the way behind it is looked at.
    let bridge = process(&db, &secrets, Some(address.clone()), known(&own, &ours.ca)).await?;
    let answer = ours.caller()?.get(format!("{}{KEYS}", bridge.rest_url())).send().await?;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await?);
    bridge.shutdown().await?;

    let away = (StatusCode::SERVICE_UNAVAILABLE, "PEER_UNREACHABLE".to_owned());
    let nobody = Transit { identity: None, client_ca: None, ca: Some(ours.ca.clone()) };
    assert_eq!(asked(&db, &secrets, address.clone(), nobody).await?, away, "without a certificate");
    assert_eq!(asked(&db, &secrets, plain, Transit::default()).await?, away, "without TLS");
    for (kind, transit) in [("stranger", known(&stranger, &ours.ca)), ("other authority", known(&own, &strange.ca))] {
        let bridge = process(&db, &secrets, Some(address.clone()), transit).await?;
        let caller = if kind == "stranger" { strange.caller()? } else { ours.caller()? };
        let answer = caller.get(format!("{}{KEYS}", bridge.rest_url())).send().await?;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{kind}");
        bridge.shutdown().await?;
    }
    let refused = process(&db, &secrets, Some(address), Transit::default()).await.err().context("started")?;
    assert!(refused.to_string().contains("--tls-ca"), "never plain by mistake: {refused}");
    identity.shutdown().await
}

#[tokio::test]
async fn pay_12_rest_speaks_tls_only_and_renews_its_certificate_while_it_runs() -> Result<()> {
    let (scratch, db, secrets) = (Scratch::new()?, Db::of(services::sources()).await?, Secrets::fresh());
    let (ours, strange) = (Authority::new(&scratch, "ours")?, Authority::new(&scratch, "strange")?);
    let own = ours.vouch(HOST)?;
    let identity = process(&db, &secrets, None, Transit::default()).await?;
    let sealed = Transit { identity: Some(own.clone()), client_ca: None, ca: None };
    let bridge = process(&db, &secrets, Some(format!("http://{}", identity.grpc)), sealed).await?;
    let address: SocketAddr = bridge.rest.context("the bridge runs here")?;
    let url = format!("https://{address}{KEYS}");
    assert_eq!(bridge.rest_url(), format!("https://{address}"));
    assert_eq!(ours.caller()?.get(&url).send().await?.status(), StatusCode::OK);
    assert!(reqwest::get(format!("http://{address}{KEYS}")).await.is_err(), "plain HTTP");
    assert!(strange.caller()?.get(&url).send().await.is_err(), "an authority that did not vouch");

    // A certificate that does not fit its key changes nothing; then both are another's.
    std::fs::copy(strange.vouch(HOST)?.cert, &own.cert)?;
    // Long enough for the files to be looked at again.
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1500) {
        assert_eq!(ours.caller()?.get(&url).send().await?.status(), StatusCode::OK, "the last good one stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    strange.vouch_at(HOST, &own)?;
    eventually(PATIENCE, || async {
        Ok(strange.caller()?.get(&url).send().await.ok().map(|answer| assert_eq!(answer.status(), StatusCode::OK)))
    })
    .await?;
    assert!(ours.caller()?.get(&url).send().await.is_err(), "the former one is not used any more");
    bridge.shutdown().await?;
    identity.shutdown().await
}

#[derive(QueryableByName)]
struct Sealed {
    #[diesel(sql_type = Bool)]
    ssl: bool,
}

/// A PostgreSQL that takes nobody over the network without TLS.
async fn sealed_cluster(scratch: &Scratch, own: &Identity, port: u16) -> Result<Cluster> {
    let options = Options { root: Some(scratch.0.join("pg")), fsync: false };
    let again = options.clone();
    let cluster = tokio::task::spawn_blocking(move || Cluster::start(&options)).await??;
    cluster.create_database("sealed", None).await?;
    let data = cluster.root().join("data");
    tokio::task::spawn_blocking(move || cluster.stop()).await?;
    let owner = std::fs::metadata(&data)?;
    for (file, name) in [(&own.cert, "server.crt"), (&own.key, "server.key")] {
        let path = data.join(name);
        std::fs::copy(file, &path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
    }
    std::fs::write(data.join("pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 trust\n")?;
    let start = move || {
        let port = port.to_string();
        Cluster::start_with(&again, &[("ssl", "on"), ("listen_addresses", HOST), ("port", &port)])
    };
    Ok(tokio::task::spawn_blocking(start).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_12_a_database_is_reached_over_tls_and_only_when_its_certificate_is_right() -> Result<()> {
    let (scratch, port) = (Scratch::new()?, port()?);
    let (ours, strange) = (Authority::new(&scratch, "ours")?, Authority::new(&scratch, "strange")?);
    let cluster = sealed_cluster(&scratch, &ours.vouch(HOST)?, port).await?;
    let at = |host: &str, how: &str, ca: Option<&Path>| {
        let root = ca.map(|ca| format!("&sslrootcert={}", ca.display())).unwrap_or_default();
        Target::new(format!("postgresql://{{role}}@{host}:{port}/sealed?sslmode={how}{root}"))
    };
    let source = || vec![Source { service: "identity", migrations: identity::MIGRATIONS }];
    let target = at(HOST, "verify-full", Some(&ours.ca));
    ensure!(!pg::migrate(&target, cluster::ADMIN, source()).await?.is_empty(), "nothing was migrated");
    for how in ["verify-full", "require"] {
        let door = Pg::connect("identity", &at(HOST, how, Some(&ours.ca)), 1)?;
        let looked = door.worker("test.sealed", |conn: &mut Conn| {
            async move {
                let look = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                Ok(diesel::sql_query(look).get_result::<Sealed>(conn).await?)
            }
            .boxed()
        });
        assert!(looked.await?.ssl, "{how}");
    }
    let refused = async |target: Target| match pg::migrate(&target, cluster::ADMIN, source()).await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    for how in ["disable", "prefer"] {
        let said = refused(at(HOST, how, None)).await;
        assert!(said.contains("pg_hba.conf"), "{how}: {said:?}");
    }
    for how in ["verify-full", "require"] {
        let said = refused(at(HOST, how, Some(&strange.ca))).await;
        assert!(said.contains("certificate"), "{how} by another authority: {said:?}");
        let said = refused(at("localhost", how, Some(&ours.ca))).await;
        assert!(said.contains("certificate"), "{how} of another host: {said:?}");
        let said = refused(at(HOST, how, None)).await;
        assert!(said.contains("fix: &sslrootcert"), "{how} of anybody: {said:?}");
    }
    tokio::task::spawn_blocking(move || cluster.stop()).await?;
    Ok(())
}
