//! Databases of tests do not see each other.

use diesel_async::SimpleAsyncConnection as _;
use testkit::Db;

#[tokio::test]
async fn two_tests_have_two_databases_with_the_same_schema() -> anyhow::Result<()> {
    let one = Db::of(Vec::new()).await?;
    let two = Db::of(Vec::new()).await?;
    one.admin().await?.batch_execute("CREATE TABLE only_here ()").await?;
    let elsewhere = two.admin().await?.batch_execute("SELECT FROM only_here").await;
    assert!(elsewhere.is_err());
    two.admin().await?.batch_execute("SELECT FROM om_bus.log").await?;
    Ok(())
}
