use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cli::Caller;
use crate::rest::{Login, Rest};

impl Caller {
    /// A caller with a token.
    ///
    /// # Errors
    /// When a file cannot be read or the login is refused.
    pub(super) async fn open(&self) -> Result<Rest> {
        let anonymous = Rest::new(self.url.clone());
        if let Some(file) = &self.token {
            return Ok(anonymous.with_token(content(file)?.trim()));
        }
        let file = self.login.as_deref().context("--login or --token is needed")?;
        let login: Login = serde_json::from_str(&content(file)?)
            .with_context(|| format!("{} is not {{\"tenant\":…,\"email\":…,\"password\":…}}", file.display()))?;
        anonymous.login(&login).await
    }
}

/// A file's text; "-" is standard input.
pub(super) fn content(file: &Path) -> Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}
