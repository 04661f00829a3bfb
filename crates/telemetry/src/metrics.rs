//! Counters and histograms of the process, in the text form of Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds of every `…_seconds` histogram: dense where our budgets lie (50, 200, 500 ms).
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often histograms are drained; without it they grow while nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<Handle> = OnceLock::new();

/// Reads the metrics of the process.
#[derive(Clone)]
pub struct Handle(PrometheusHandle);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// The answer to `GET /metrics` (text format 0.0.4).
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps memory bounded while nobody scrapes; runs until it is dropped.
    pub async fn keep_up(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

/// Makes this process count; later calls return the same handle.
pub fn install() -> Handle {
    INSTALLED.get_or_init(build).clone()
}

fn build() -> Handle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .expect("the bounds are not empty")
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another metrics recorder is installed; /metrics stays empty");
    }
    Handle(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered_and_installing_twice_is_harmless() {
        let first = install();
        let second = install();
        metrics::counter!("things_total", "kind" => "a").increment(2);
        metrics::histogram!("things_duration_seconds").record(0.04);
        assert!(first.render().contains("things_total{kind=\"a\"} 2"), "{}", first.render());
        assert!(second.render().contains("things_duration_seconds_bucket{le=\"0.05\"} 1"), "{}", second.render());
    }
}
