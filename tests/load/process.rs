//! What the kernel says of a process: CPU time and memory.

use std::fs;

use anyhow::{Context as _, Result};

/// CPU seconds of the processes under test, and of this one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// `ordermesh serve all`.
    pub server: f64,
    /// PostgreSQL, all its processes.
    pub database: f64,
    /// The simulators.
    pub simulators: f64,
    /// The load generator.
    pub generator: f64,
}

impl Cpu {
    /// What was used since an earlier look.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            server: self.server - before.server,
            database: self.database - before.database,
            simulators: self.simulators - before.simulators,
            generator: self.generator - before.generator,
        }
    }
}

/// User and system seconds of a process, without its children.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let fields = stat(pid)?;
    // Fields 14 and 15 of proc(5), in clock ticks; Linux has 100 a second for every reader of /proc.
    Ok((ticks(&fields, 11)? + ticks(&fields, 12)?) / 100.0)
}

/// User and system seconds of a process and of all it started, the ended ones too.
pub fn family_seconds(root: u32) -> Result<f64> {
    let fields = stat(root)?;
    let mut sum = (11..=14).map(|index| ticks(&fields, index)).sum::<Result<f64>>()? / 100.0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end between the listing and the look.
        let Ok(fields) = stat(pid) else { continue };
        if fields.get(1).is_some_and(|parent| *parent == root.to_string()) {
            sum += cpu_seconds(pid).unwrap_or(0.0);
        }
    }
    Ok(sum)
}

/// Resident memory in MB.
pub fn memory_mb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kb: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kb / 1024)
}

/// Fields of /proc/pid/stat behind the program's name; 0 is the state, 1 the parent.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = text.rsplit_once(')').context("no program name")?.1;
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}

fn ticks(fields: &[String], index: usize) -> Result<f64> {
    Ok(fields.get(index).context("too few fields")?.parse()?)
}
