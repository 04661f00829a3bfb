use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::error::Tried;

const OLDEST: u32 = 15;

/// A directory with the server's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub dir: PathBuf,
    /// Major version, 15 or newer.
    pub major: u32,
}

impl Binaries {
    pub(crate) fn program(&self, name: &str) -> Command {
        Command::new(self.dir.join(name))
    }
}

/// Looks in `PG_BIN`, `PATH`, then where packages put them, newest first.
///
/// # Errors
/// [`Error::MissingBinaries`] or [`Error::TooOld`].
pub fn find_binaries() -> Result<Binaries, Error> {
    let mut too_old = None;
    for dir in candidates() {
        match major(&dir)? {
            (Some(major), _) if major >= OLDEST => return Ok(Binaries { dir, major }),
            (_, found) => too_old = too_old.or(Some(Error::TooOld { found, dir })),
        }
    }
    Err(too_old.unwrap_or(Error::MissingBinaries))
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian links single programs into PATH; the others are next to what the link points at.
    let on_path = std::env::split_paths(&path)
        .map(|dir| dir.join("initdb"))
        .filter(|program| program.is_file())
        .filter_map(|program| program.canonicalize().ok()?.parent().map(Path::to_path_buf))
        .collect::<Vec<_>>();
    let packaged =
        ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/homebrew/opt"].into_iter().flat_map(newest);
    named
        .into_iter()
        .chain(on_path)
        .chain(packaged)
        .filter(|dir| ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file()))
}

fn newest(parent: &str) -> Vec<PathBuf> {
    let mut found = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (digits(&entry.file_name().to_string_lossy()), entry.path().join("bin")))
        .collect::<Vec<_>>();
    found.sort();
    found.into_iter().rev().map(|(_, dir)| dir).collect()
}

fn major(dir: &Path) -> Result<(Option<u32>, String), Error> {
    let program = dir.join("postgres");
    let output = Command::new(&program).arg("--version").output().tried(|| format!("run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // "postgres (PostgreSQL) 15.18 (Debian …)"
    Ok((text.split_whitespace().nth(2).and_then(digits), text))
}

fn digits(text: &str) -> Option<u32> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    text[start..].split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(digits("15.18"), Some(15));
        assert_eq!(digits("postgresql@17"), Some(17));
        assert_eq!(digits("18beta1"), Some(18));
        assert_eq!(digits("none"), None);
    }
}
