use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Identity;

/// Pause between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, or holds nothing that belongs there.
    #[error("{what} {path}: {source}; fix: PEM, readable by this process", path = .path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// It holds no certificate.
    #[error("{what} {path} holds no certificate", path = .path.display())]
    Empty {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not fit, or an authority is none.
    #[error("the certificates cannot be used: {0}")]
    Unfit(String),
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) fn unfit(error: impl std::fmt::Display) -> Error {
    Error::Unfit(error.to_string())
}

pub(crate) type Chain = Vec<CertificateDer<'static>>;

pub(crate) fn identity(files: &Identity) -> Result<(Chain, PrivateKeyDer<'static>), Error> {
    let what = "private key";
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|source| Error::Pem { what, path: files.key.clone(), source })?;
    Ok((chain("certificate", &files.cert)?, key))
}

pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for authority in chain("certificate authority", path)? {
        store.add(authority).map_err(unfit)?;
    }
    Ok(store)
}

fn chain(what: &'static str, path: &Path) -> Result<Chain, Error> {
    let wrong = |source| Error::Pem { what, path: path.to_owned(), source };
    let chain: Result<Chain, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let chain = chain.map_err(wrong)?;
    if chain.is_empty() { Err(Error::Empty { what, path: path.to_owned() }) } else { Ok(chain) }
}

/// A configuration made of files, made anew when one of them is another.
pub(crate) struct Renewed<C> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<C, Error> + Send + Sync>,
    current: Mutex<Current<C>>,
}

struct Current<C> {
    config: Arc<C>,
    made_of: Vec<Option<Mark>>,
    looked: Instant,
}

/// By what a file is known to be another: which one, how long, and since when.
type Mark = (u64, u64, Option<SystemTime>);

impl<C> Renewed<C> {
    pub(crate) fn open(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<C, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let made_of = marks(&files);
        let current = Mutex::new(Current { config: Arc::new(make()?), made_of, looked: Instant::now() });
        Ok(Self { files, make: Box::new(make), current })
    }

    /// What the files say now; what they said last when they cannot be used.
    pub(crate) fn get(&self) -> Arc<C> {
        let mut current = self.current.lock().expect("no panic while the lock is held");
        if current.looked.elapsed() >= LOOK {
            current.looked = Instant::now();
            // Before they are read: what is written meanwhile is seen at the next look.
            let made_of = marks(&self.files);
            if made_of != current.made_of {
                match (self.make)() {
                    Ok(config) => {
                        (current.config, current.made_of) = (Arc::new(config), made_of);
                        tracing::info!(files = ?self.files, "renewed certificates are used from here on");
                    }
                    Err(error) => tracing::warn!(%error, "the last good certificates are used on"),
                }
            }
        }
        Arc::clone(&current.config)
    }
}

fn marks(files: &[PathBuf]) -> Vec<Option<Mark>> {
    let mark = |file: &PathBuf| {
        let about = std::fs::metadata(file).ok()?;
        Some((about.ino(), about.len(), about.modified().ok()))
    };
    files.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let missing = Identity { cert: "/nonexistent/cert.pem".into(), key: "/nonexistent/key.pem".into() };
        let refused = identity(&missing).expect_err("not there").to_string();
        assert!(refused.contains("/nonexistent/key.pem") && refused.contains("fix:"), "{refused}");
        let refused = authorities(Path::new("/dev/null")).expect_err("empty").to_string();
        assert!(refused.contains("/dev/null holds no certificate"), "{refused}");
    }
}
