//! Where a system of one machine listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serve::Drain;

use crate::platform::{Database, Outside, PlatformConfig, Secrets, Transit};
use crate::services;

/// Ports of every listener of one process; 0 takes any.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// REST.
    pub rest: u16,
    /// gRPC.
    pub grpc: u16,
    /// Prometheus.
    pub metrics: u16,
    /// Simulators.
    pub simulators: simulators::Ports,
}

/// The ports that the documentation names.
pub fn fixed_ports() -> Ports {
    let simulators = simulators::Ports { payments: 8081, wms: 8082, carrier: 8083, smtp: 8025, smtp_http: 8084 };
    Ports { rest: 8080, grpc: 50051, metrics: 9464, simulators }
}

/// Whatever is free.
pub fn random_ports() -> Ports {
    Ports { rest: 0, grpc: 0, metrics: 0, simulators: simulators::Ports::default() }
}

/// On this machine only.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Everything in this process, with simulators and a private database.
pub fn embedded(ports: Ports, speed: f64, ledgers: Option<PathBuf>) -> PlatformConfig {
    let outside = simulators::Config { ports: ports.simulators, speed, ledger_dir: ledgers, ..Default::default() };
    PlatformConfig {
        database: Database::Private { dir: None, fsync: true },
        services: services::ALL.to_vec(),
        remote: Vec::new(),
        grpc: local(ports.grpc),
        rest: Some(local(ports.rest)),
        cors_origins: Vec::new(),
        metrics: Some(local(ports.metrics)),
        secrets: Secrets::fresh(),
        transit: Transit::default(),
        outside: Outside::Simulated(outside),
        // Nobody balances load over one process, so nobody must be told before it stops.
        cache: None,
        drain: Drain { lame_duck: Duration::ZERO, limit: Duration::from_secs(5) },
        migrate: true,
    }
}
