//! Prints how much of `docs/requirements.tsv` is built, per group, and what is open.

use std::path::Path;

use anyhow::Context as _;
use journeys::requirements::{State, groups, parse};

fn main() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/requirements.tsv");
    let rows = parse(&std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?)?;
    println!("{:<6} {:>5} {:>5}", "group", "built", "open");
    for group in groups(&rows) {
        println!("{:<6} {:>5} {:>5}", group.name, group.built, group.open);
    }
    let open: Vec<_> = rows.iter().filter(|row| row.state == State::Open).collect();
    println!("\nopen:");
    for row in &open {
        println!("{:<8} {}", row.id.to_string(), row.text);
    }
    println!("\nbuilt {} of {}, open {}", rows.len() - open.len(), rows.len(), open.len());
    Ok(())
}
