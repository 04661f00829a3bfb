//! One trace from the first request to the last consumer (W3C Trace Context).
//!
//! With OTLP the ids are those of the exported spans. Without it we make valid ones ourselves, with the trace id
//! taken from the correlation id, so that logs of several processes still line up.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const HEADER: &str = "traceparent";

/// A `traceparent` header of version 00, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traceparent {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl Traceparent {
    fn parse(text: &str) -> Option<Self> {
        let canonical = text.len() == 55 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        let mut parts = text.split('-');
        let fields = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next());
        let ("00", trace, span, flags, None) = fields else { return None };
        if !canonical || trace.len() != 32 || span.len() != 16 {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }

    fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        })
    }

    fn render(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Continues the caller's trace in `span`, records `trace_id` on it, and returns the `traceparent` to hand on.
///
/// A missing or malformed `parent` starts a trace whose id comes from the correlation id.
pub fn adopt(span: &Span, parent: Option<&str>, correlation_id: &str) -> String {
    let parent = parent.and_then(Traceparent::parse);
    if let Some(parent) = parent {
        let carrier = HashMap::from([(HEADER.to_owned(), parent.render())]);
        // Fails when there is no OTLP layer or the span is filtered out; then our own ids below are used.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
    let here = Traceparent::of(span.context().span().span_context()).unwrap_or_else(|| Traceparent {
        trace_id: parent.map_or_else(|| trace_id_of(correlation_id), |parent| parent.trace_id),
        span_id: rand::random_range(1..=u64::MAX),
        sampled: parent.is_some_and(|parent| parent.sampled),
    });
    span.record("trace_id", tracing::field::display(format_args!("{:032x}", here.trace_id)));
    here.render()
}

/// `traceparent` of the current span when it is exported by OTLP.
pub fn current() -> Option<String> {
    let span = Span::current();
    Traceparent::of(span.context().span().span_context()).map(Traceparent::render)
}

/// Trace id of a `traceparent`, 32 hex digits, if it is a valid one.
pub fn trace_id(traceparent: &str) -> Option<String> {
    Traceparent::parse(traceparent).map(|parent| format!("{:032x}", parent.trace_id))
}

/// A UUID keeps its digits; anything else is spread over 128 bits (FNV-1a).
fn trace_id_of(correlation_id: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let digits: String = correlation_id.chars().filter(|c| *c != '-').collect();
    let uuid = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
    let id = uuid.unwrap_or_else(|| {
        correlation_id.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
    });
    if id == 0 { OFFSET } else { id }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn malformed_parents_are_not_taken_over() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(bad), None, "{bad}");
        }
        assert_eq!(Traceparent::parse(PARENT).map(Traceparent::render).as_deref(), Some(PARENT));
    }

    #[test]
    fn without_otlp_the_trace_comes_from_the_correlation_id() {
        let here = adopt(&Span::none(), None, "0193ab1e-2c4d-7e8f-9a0b-1c2d3e4f5a6b");
        assert_eq!(trace_id(&here).as_deref(), Some("0193ab1e2c4d7e8f9a0b1c2d3e4f5a6b"));
        assert!(trace_id(&adopt(&Span::none(), Some("junk"), "order 7")).is_some());
    }

    #[test]
    fn without_otlp_the_trace_of_the_caller_goes_on_in_a_new_span() {
        let here = adopt(&Span::none(), Some(PARENT), "c");
        assert_eq!(trace_id(&here), trace_id(PARENT));
        assert_ne!(here, PARENT);
        assert!(here.ends_with("-01"));
    }

    #[test]
    fn with_otlp_the_exported_span_is_handed_on() {
        let provider = SdkTracerProvider::builder().build();
        tracing::subscriber::with_default(crate::logs::registry_with_otlp(&provider), || {
            let span = tracing::info_span!("call", trace_id = tracing::field::Empty);
            let here = adopt(&span, Some(PARENT), "c");
            assert_eq!(trace_id(&here), trace_id(PARENT));
            assert_eq!(span.in_scope(current).as_deref(), Some(here.as_str()));
        });
    }
}
