//! What the subcommands do.

mod caller;
mod dev;
mod doctor;
mod order;
mod serve;
mod tenant;

use std::process::ExitCode;

use anyhow::Result;
pub use dev::dev;
pub use doctor::doctor;
pub use order::order;
pub use serve::serve;
pub use tenant::tenant;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli;
use crate::platform::{Database, Opened};

/// `ordermesh migrate`.
///
/// # Errors
/// When the database is not reachable or a migration fails.
pub async fn migrate(args: cli::Migrate) -> Result<ExitCode> {
    let applied = Opened::open(Database::Url(args.database)).await?.migrate().await?;
    applied.iter().for_each(|migration| println!("{migration}"));
    println!("{} migrations were run; every schema is up to date", applied.len());
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C or a supervisor's TERM; after the first the next one ends the process at once, as it does by default.
async fn asked_to_stop() -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
