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
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli;
use crate::platform::Opened;

/// `ordermesh migrate`.
///
/// # Errors
/// When the database is not reachable or a migration fails.
pub async fn migrate(args: cli::Migrate) -> Result<ExitCode> {
    let applied = Opened::open(args.place.into()).await?.migrate().await?;
    applied.iter().for_each(|migration| println!("{migration}"));
    println!("{} migrations were run; every schema is up to date", applied.len());
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C or a supervisor's TERM; listening begins when this is made.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Ends the process when it is asked once more: somebody does not want to wait for the clean-up.
    fn end_at_once_when_asked_again(mut self) {
        tokio::spawn(async move {
            self.asked().await;
            #[expect(clippy::disallowed_methods, reason = "asked twice; the guardian stops the database")]
            std::process::exit(130);
        });
    }
}
