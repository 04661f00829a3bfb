//! The simulators in their own process: ready line, ledger file, kill and restart.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

async fn spawn(ledger_dir: &Path) -> (Child, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ordermesh-simulators"))
        .args(["--speed", "0", "--ledger-dir"])
        .arg(ledger_dir)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).await.unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

async fn authorize(addresses: &Value) {
    let form = "amount=5&currency=usd&payment_method=pm_sim_visa&capture_method=manual&confirm=true";
    let url = format!("http://{}/v1/payment_intents", addresses["payments"].as_str().unwrap());
    let request = reqwest::Client::new().post(url).bearer_auth("sk_x").body(form);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_killed_process_leaves_its_ledger_and_the_next_one_appends() {
    let dir = std::env::temp_dir().join(format!("sims-{}", uuid::Uuid::now_v7()));
    for _ in 0..2 {
        let (mut child, addresses) = spawn(&dir).await;
        for name in ["payments", "wms", "carrier", "smtp", "smtp_http"] {
            assert!(addresses[name].is_string(), "{name}");
        }
        authorize(&addresses).await;
        child.kill().await.unwrap();
    }
    let text = std::fs::read_to_string(dir.join("payments.jsonl")).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 2);
    assert_ne!(entries[0]["id"], entries[1]["id"]);
    std::fs::remove_dir_all(dir).unwrap();
}
