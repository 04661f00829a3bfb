//! The append-only record of accepted effects.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;

/// Accepted effects in order, in memory and as JSON lines in a file.
pub(crate) struct Ledger {
    lines: Vec<String>,
    file: Option<File>,
}

impl Ledger {
    /// Opens `dir/name.jsonl` for appending; no directory means memory only.
    ///
    /// # Errors
    /// The directory or file cannot be created or read.
    pub(crate) fn open(dir: Option<&Path>, name: &str) -> io::Result<Self> {
        let file = match dir {
            None => None,
            Some(dir) => {
                std::fs::create_dir_all(dir)?;
                let path = dir.join(format!("{name}.jsonl"));
                let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
                end_torn_line(&mut file)?;
                Some(file)
            }
        };
        Ok(Self { lines: Vec::new(), file })
    }

    /// Appends one entry and hands it to the operating system before returning.
    pub(crate) fn append(&mut self, entry: &Value) {
        let line = entry.to_string();
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(format!("{line}\n").as_bytes())
        {
            tracing::error!(%error, "Could not write a ledger line");
        }
        self.lines.push(line);
    }

    /// All entries of this process as one JSON array.
    pub(crate) fn json(&self) -> String {
        format!("[{}]", self.lines.join(","))
    }

    /// Forgets the entries in memory; the file keeps them, followed by a `reset` line.
    pub(crate) fn reset(&mut self, marker: &Value) {
        self.append(marker);
        self.lines.clear();
    }
}

/// A process killed while writing leaves half a line; the next entry must not join it.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0u8];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_torn_by_a_kill_does_not_swallow_the_next_entry() {
        let dir = std::env::temp_dir().join(format!("sim-ledger-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("x.jsonl"), "{\"op\":\"a\"}\n{\"op\":").unwrap();
        Ledger::open(Some(&dir), "x").unwrap().append(&json!({"op": "b"}));
        let text = std::fs::read_to_string(dir.join("x.jsonl")).unwrap();
        assert_eq!(text, "{\"op\":\"a\"}\n{\"op\":\n{\"op\":\"b\"}\n");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
