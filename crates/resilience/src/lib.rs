//! Talking to what may be slow, away or wrong: bounded HTTP calls to other companies, and retries that do no harm.
//!
//! The one question after a failed call is whether it may have happened. [`HttpError`] answers it in its type:
//! `NotSent` surely did not, `Unknown` must be inquired before anything is undone or done again with another key.

mod http;
mod retry;

pub use http::{Answer, Http, HttpError};
pub use reqwest::{Method, RequestBuilder, StatusCode, header};
pub use retry::{Retry, retry};
