//! `codegen`: writes everything under `gen/`, or proves with `--check` that it is fresh.
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Generates gen/ from proto/.
#[derive(Parser)]
struct Arguments {
    /// Write nothing; name generated files that are missing, differ or are stale, and fail when there are any.
    #[arg(long)]
    check: bool,
    /// Directory that holds proto/ and gen/.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("codegen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let generated = codegen::generate(&arguments.root)?;
    if !arguments.check {
        let written = generated.tree.write(&arguments.root)?;
        written.iter().for_each(|path| println!("wrote {path}"));
        println!("gen: {} of {} files changed", written.len(), generated.tree.files().count());
        return Ok(ExitCode::SUCCESS);
    }
    let differing = generated.tree.differences(&arguments.root)?;
    if differing.is_empty() {
        println!("gen: {} files are fresh", generated.tree.files().count());
        return Ok(ExitCode::SUCCESS);
    }
    differing.iter().for_each(|path| eprintln!("stale: {path}"));
    eprintln!("codegen: {} generated files are stale: run `make gen`", differing.len());
    Ok(ExitCode::FAILURE)
}
