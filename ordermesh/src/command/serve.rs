use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Stop;
use crate::cli;
use crate::platform::{Outside, Platform, PlatformConfig, Secrets};
use crate::services::{self, Service};

/// `ordermesh serve`.
///
/// # Errors
/// When a name is unknown or the process cannot start.
pub async fn serve(args: cli::Serve) -> Result<ExitCode> {
    let (services, bridge) = chosen(&args.what)?;
    let config = PlatformConfig {
        database: args.place.into(),
        migrate: !services.is_empty(),
        services,
        remote: args.peers,
        grpc: args.grpc,
        rest: bridge.then_some(args.rest),
        cors_origins: args.cors_origins,
        metrics: Some(args.metrics),
        secrets: Secrets::open(&args.secrets)?,
        transit: args.tls.into(),
        outside: Outside::Real {
            payments: args.payments_url,
            payments_fallback: args.payments_fallback_url,
            wms: args.wms_url,
            carrier: args.carrier_url,
            mail: args.mail_url.into(),
            mail_from: args.mail_from,
            wms_poll: Duration::from_millis(args.wms_poll_ms),
            carrier_poll: Duration::from_millis(args.carrier_poll_ms),
        },
        cache: args.cache_url.map(Into::into),
        drain: serve::Drain::default(),
    };
    let mut stop = Stop::listen()?;
    let platform = Platform::start(config).await?;
    tracing::info!(services = ?args.what, grpc = %platform.grpc, rest = ?platform.rest, "ready");
    stop.asked().await;
    tracing::info!("draining");
    platform.shutdown().await?;
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<(Vec<Service>, bool)> {
    let all = names.iter().any(|name| name == "all");
    let bridge = all || names.iter().any(|name| name == "bridge");
    for name in names.iter().filter(|name| !["all", "bridge"].contains(&name.as_str())) {
        if !services::ALL.iter().any(|service| service.name == name) {
            let known = services::ALL.iter().map(|service| service.name).collect::<Vec<_>>().join(", ");
            bail!("there is no service {name}; fix: one of {known}, bridge or all");
        }
    }
    let wanted = |service: &&Service| all || names.iter().any(|name| name == service.name);
    Ok((services::ALL.iter().filter(wanted).copied().collect(), bridge))
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn all_means_every_service_and_the_bridge() {
        let (services, bridge) = chosen(&["all".to_owned()]).unwrap();
        assert!(bridge && services.len() == crate::services::ALL.len());
        let (services, bridge) = chosen(&["order".to_owned()]).unwrap();
        assert!(!bridge && services.len() == 1);
        assert!(chosen(&["nobody".to_owned()]).unwrap_err().to_string().contains("fix:"));
    }
}
