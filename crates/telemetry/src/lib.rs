//! What the system tells about itself: logs, traces, metrics.
//!
//! Logs are one JSON object per line on stderr; every line of a request carries `correlation_id`, `tenant` and
//! `trace_id` from its span. Personal data never gets here: generated messages mask themselves in `Debug`, and no
//! layer logs a header or a body. Traces go out by OTLP when an endpoint is set, and keep their ids when it is not.

mod logs;
pub mod metrics;
pub mod trace;

pub use logs::{Guard, InitError, init};
