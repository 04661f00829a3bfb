//! The private cluster from creation to its end.

use std::process::Command;
use std::time::{Duration, Instant};

use cluster::{Cluster, Error, Options};

const TEMPORARY: Options = Options { root: None, fsync: false };

#[tokio::test]
async fn a_temporary_cluster_serves_its_socket_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let cluster = Cluster::start(&TEMPORARY)?;
    let root = cluster.root().to_path_buf();
    cluster.create_database("template_one", None).await?;
    cluster.create_database("copy_one", Some("template_one")).await?;
    assert!(cluster.has_database("copy_one").await?);
    assert!(matches!(cluster.create_database("drop table x", None).await, Err(Error::Name(_))));
    cluster.drop_database("copy_one").await?;
    assert!(!cluster.has_database("copy_one").await?);
    cluster.stop();
    assert!(!root.exists());
    Ok(())
}

#[tokio::test]
async fn data_survives_a_restart_and_one_directory_has_one_owner() -> anyhow::Result<()> {
    let root = scratch("restart");
    let options = Options { root: Some(root.clone()), fsync: false };
    let cluster = Cluster::start(&options)?;
    cluster.create_database("kept", None).await?;
    assert!(matches!(Cluster::start(&options), Err(Error::InUse(_))));
    cluster.stop();
    let again = Cluster::start(&options)?;
    assert!(again.has_database("kept").await?);
    again.stop();
    std::fs::remove_dir_all(root)?;
    Ok(())
}

// Runs this very test binary again as the process that dies.
#[tokio::test]
async fn the_server_of_a_killed_process_is_stopped_and_its_data_can_be_used_again() -> anyhow::Result<()> {
    let root = scratch("killed");
    if let Some(dir) = std::env::var_os("CLUSTER_VICTIM") {
        let cluster = Cluster::start(&Options { root: Some(dir.into()), fsync: false })?;
        cluster.create_database("kept", None).await?;
        std::future::pending::<()>().await;
    }
    let name = "the_server_of_a_killed_process_is_stopped_and_its_data_can_be_used_again";
    let mut victim =
        Command::new(std::env::current_exe()?).args([name, "--exact"]).env("CLUSTER_VICTIM", &root).spawn()?;
    let pid_file = root.join("data/postmaster.pid");
    let ready = || std::fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"));
    assert!(until(ready), "the victim's server did not start");
    victim.kill()?;
    victim.wait()?;
    assert!(until(|| !pid_file.exists()), "the guardian did not stop the server");
    Cluster::start(&Options { root: Some(root.clone()), fsync: false })?.stop();
    std::fs::remove_dir_all(root)?;
    Ok(())
}

fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("ordermesh-test-{name}-{}", std::process::id()))
}

fn until(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
