use std::net::TcpListener;
use std::process::ExitCode;

use anyhow::Result;
use cluster::{Cluster, Options, find_binaries};

use super::dev::default_data_dir;
use crate::defaults::{fixed_ports, local};

const ENOUGH: u64 = 1 << 30;

/// `ordermesh doctor`: one line for each thing that `ordermesh dev` needs.
///
/// # Errors
/// Never; what is missing is printed and makes the exit code 1.
pub async fn doctor() -> Result<ExitCode> {
    let mut healthy = true;
    let mut say = |name: &str, result: Result<String, String>| match result {
        Ok(text) => println!("ok    {name}: {text}"),
        Err(text) => {
            healthy = false;
            println!("FAIL  {name}: {text}");
        }
    };
    let binaries = find_binaries().map(|found| format!("PostgreSQL {} in {}", found.major, found.dir.display()));
    say("programs", binaries.map_err(|error| error.to_string()));
    let started = tokio::task::spawn_blocking(|| Cluster::start(&Options { root: None, fsync: true })).await?;
    say("database", started.map(|_| "a private cluster starts and stops".to_owned()).map_err(|e| e.to_string()));
    say("disk", disk());
    let ports = fixed_ports();
    let sims = ports.simulators;
    let named = [
        ("REST", ports.rest),
        ("gRPC", ports.grpc),
        ("metrics", ports.metrics),
        ("payment simulator", sims.payments),
        ("warehouse simulator", sims.wms),
        ("carrier simulator", sims.carrier),
        ("mail simulator", sims.smtp),
        ("mail control", sims.smtp_http),
    ];
    for (name, port) in named {
        let free = TcpListener::bind(local(port)).map(|_| format!("port {port} is free"));
        let fix = |_| format!("port {port} is taken; fix: stop what uses it, or ordermesh dev --random-ports");
        say(name, free.map_err(fix));
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn disk() -> Result<String, String> {
    let data = default_data_dir().map_err(|error| error.to_string())?;
    let there = data.ancestors().find(|dir| dir.exists()).unwrap_or(&data);
    let stat = rustix::fs::statvfs(there).map_err(|error| format!("{}: {error}", there.display()))?;
    let free = stat.f_bavail * stat.f_frsize;
    let text = format!("{} MiB free for {}", free >> 20, data.display());
    if free >= ENOUGH { Ok(text) } else { Err(format!("{text}; fix: make room, or --data-dir elsewhere")) }
}
