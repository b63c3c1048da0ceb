//! Logs: text for people, JSON for containers, on standard error. Traces, if somebody wants them.
//!
//! Texts from outside are logged in their `Debug` form, which escapes what could forge a line. The
//! filter can be changed while the process runs; there is one for the whole process, as there is
//! one standard error. A complaint that an outage repeats is told once a minute.

mod causes;
mod filter;
mod repeated;
mod traces;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, reload};

pub(crate) use causes::with_causes;
pub use filter::{LogFilter, UnknownFilter, log_filter};
pub(crate) use repeated::{Repeated, warn_seldom};

use crate::config::{LogFormat, LogSettings, TelemetrySettings};
pub use traces::{TraceError, Traces};

/// Why logs cannot be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.filter` is no filter.
    #[error("log.filter is not understood: {0}; write a level such as info, or target=level")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// No traces can be sent.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// Another subscriber is in place.
    #[error(transparent)]
    Init(#[from] TryInitError),
}

/// Starts writing logs, for the life of the process.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    init_with_traces(settings, &TelemetrySettings::default()).map(drop)
}

/// The same, and sends traces if an endpoint is configured. Call it within the runtime.
pub fn init_with_traces(
    settings: &LogSettings,
    telemetry: &TelemetrySettings,
) -> Result<Option<Traces>, LogError> {
    let traces = telemetry
        .otlp_endpoint
        .as_ref()
        .map(Traces::to)
        .transpose()?;
    let (traces, tracer) = traces.unzip();
    let ours = filter_fn(|about| about.is_span() && about.target().starts_with("stickymark"))
        .with_max_level_hint(LevelFilter::DEBUG);
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(ours)
    });
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&settings.filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()?;
    filter::keep(handle, &settings.filter);
    Ok(traces)
}
