//! Databases of tests do not see each other.

use diesel_async::SimpleAsyncConnection as _;
use std::process::Command;

use testkit::{Db, kept};

#[tokio::test]
async fn two_tests_have_two_databases_with_the_same_schema() -> anyhow::Result<()> {
    let one = Db::of(Vec::new()).await?;
    let two = Db::of(Vec::new()).await?;
    one.admin().await?.batch_execute("CREATE TABLE only_here ()").await?;
    let elsewhere = two.admin().await?.batch_execute("SELECT FROM only_here").await;
    assert!(elsewhere.is_err());
    two.admin().await?.batch_execute("SELECT FROM om_bus.cursors").await?;
    Ok(())
}

// Runs this very test binary again as the process whose test fails.
#[tokio::test]
async fn the_databases_of_a_test_that_returns_an_error_are_kept_and_named() -> anyhow::Result<()> {
    if std::env::var_os("TESTKIT_VICTIM").is_some() {
        let _db = Db::of(Vec::new()).await?;
        return kept(Err(anyhow::anyhow!("as asked")));
    }
    let name = "the_databases_of_a_test_that_returns_an_error_are_kept_and_named";
    let victim = Command::new(std::env::current_exe()?)
        .args([name, "--exact", "--nocapture"])
        .env("TESTKIT_VICTIM", "1")
        .output()?;
    let said = String::from_utf8_lossy(&victim.stderr);
    assert!(!victim.status.success(), "{said}");
    let kept = said.split_once("are kept in ").and_then(|(_, rest)| rest.split_once(';')).map(|(path, _)| path);
    let kept = std::path::Path::new(kept.unwrap_or_else(|| panic!("no path in {said}")));
    assert!(kept.join("data/PG_VERSION").exists() && said.contains("psql 'postgresql://"), "{said}");
    // Its guardian stops the server; what is kept is ours to remove then.
    let gone = || async { Ok((!kept.join("data/postmaster.pid").exists()).then_some(())) };
    testkit::eventually(std::time::Duration::from_secs(60), gone).await?;
    Ok(std::fs::remove_dir_all(kept)?)
}

#[tokio::test]
async fn a_value_is_found_in_text_bytes_and_json_and_nowhere_else() -> anyhow::Result<()> {
    let db = Db::of(Vec::new()).await?;
    let mut admin = db.admin().await?;
    let make = "CREATE SCHEMA om_a; CREATE TABLE om_a.t (plain text, bytes bytea, doc jsonb, list text[], day date); \
        INSERT INTO om_a.t VALUES ('Ada Lovelace', 'by Ada L.', '{\"a\": [\"Ada\"]}', '{Ada}', '1815-12-10'), \
        ('', '', jsonb_build_object('b', encode('to Ada', 'hex')), NULL, NULL)";
    admin.batch_execute(make).await?;
    let all = testkit::search::columns_with(&mut admin, "Ada").await?;
    assert_eq!(all, ["om_a.t.bytes", "om_a.t.doc", "om_a.t.list", "om_a.t.plain"]);
    assert_eq!(testkit::search::columns_with(&mut admin, "to Ada").await?, ["om_a.t.doc"]);
    assert_eq!(testkit::search::columns_with(&mut admin, "1815-12").await?, ["om_a.t.day"]);
    assert!(testkit::search::columns_with(&mut admin, "Byron").await?.is_empty());
    Ok(())
}
