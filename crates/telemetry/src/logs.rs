use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use opentelemetry_sdk::{Resource, runtime};
use tracing_subscriber::layer::{Identity, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Libraries speak only when something is wrong; `RUST_LOG` overrides.
const DEFAULT_FILTER: &str =
    "info,h2=warn,hyper=warn,hyper_util=warn,reqwest=warn,tower=warn,tonic=warn,tokio_postgres=warn,opentelemetry=warn";

/// Time that a dying process may spend on sending its last spans.
const FLUSH: Duration = Duration::from_secs(3);

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The OTLP endpoint is not usable.
    #[error("the OTLP endpoint is not usable: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Another subscriber is installed in this process.
    #[error("logging is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends what is left of the traces when dropped.
#[derive(Debug)]
#[must_use = "traces are lost when the guard is dropped early"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// Sets up logs, and traces when an OTLP endpoint is given (`http://collector:4318`).
///
/// As JSON, for services, logs tell what happens; as plain lines, for people, only what went wrong. `RUST_LOG` decides
/// otherwise. Must be called inside a multi-threaded tokio runtime when there is an endpoint.
///
/// # Errors
/// When the endpoint is malformed or logging was set up before.
pub fn init(service: &str, otlp_endpoint: Option<&str>, json: bool) -> Result<Guard, InitError> {
    let usual = if json { DEFAULT_FILTER } else { "warn" };
    let told = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let provider = otlp_endpoint.map(|endpoint| provider(service, endpoint)).transpose()?;
    let otlp = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("ordermesh")).with_location(false));
    // Spans exist even where no line tells of them: they carry the ids from hop to hop.
    let spans = Identity::new().with_filter(EnvFilter::new(DEFAULT_FILTER));
    let otlp = otlp.with_filter(EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::registry().with(lines(json).with_filter(told)).with(spans).with(otlp).try_init()?;
    Ok(Guard { provider })
}

fn lines<S>(json: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let plain = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        // The innermost span repeats what its parents know, so the list of all spans would only be noise.
        plain.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        plain.with_ansi(std::io::stderr().is_terminal()).compact().boxed()
    }
}

fn provider(service: &str, endpoint: &str) -> Result<SdkTracerProvider, InitError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(Duration::from_secs(5))
        .build()?;
    // The default processor owns a bare thread, on which the async HTTP client cannot run.
    let batch = BatchSpanProcessor::builder(exporter, runtime::Tokio).build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(batch)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .build())
}

/// A registry of its own, for the tests of this crate.
#[cfg(test)]
pub(crate) fn registry_with_otlp(provider: &SdkTracerProvider) -> impl tracing::Subscriber + Send + Sync + use<> {
    tracing_subscriber::Registry::default().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
}
