use std::process::ExitCode;

use clap::Parser as _;
use ordermesh::cli::{Cli, Command};
use ordermesh::{command, demo, rest};

/// A tenth less CPU per order than the system's, which gives memory back and takes it again all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let outcome = runtime.block_on(run(cli));
    // A blocked thread, such as one that reads standard input, must not keep the process.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failed(&error))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let json = matches!(cli.command, Command::Serve(_));
    let _traces = telemetry::init("ordermesh", cli.otlp.as_deref(), json)?;
    match cli.command {
        Command::Dev(args) => command::dev(args).await,
        Command::Demo => demo::run().await,
        Command::Serve(args) => command::serve(*args).await,
        Command::Migrate(args) => command::migrate(args).await,
        Command::Doctor => command::doctor().await,
        Command::Tenant(args) => command::tenant(args).await,
        Command::Order(args) => command::order(args).await,
    }
}

/// One line, its causes behind it.
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("ordermesh: {error:#}");
    ExitCode::from(rest::refusal(error).map_or(1, rest::CallError::exit_code))
}
