//! Logs: text for people, JSON for containers, on standard error. Traces, if an endpoint is configured.
//!
//! Texts from outside are logged as `&str` fields, never in a message: both formats then escape what could
//! forge a line. One filter applies to the whole process and can be changed while it runs. A warning that an
//! outage repeats is logged once a minute.

mod filter;
mod json;
mod repeated;
mod spans;
mod traces;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::io::IsTerminal;
use std::panic;
use std::sync::OnceLock;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, reload};

pub use filter::{LogFilter, log_filter};
pub(crate) use repeated::{Repeated, warn_seldom};
pub(crate) use spans::{attribute, continue_traces, failed, traceparent};

use crate::config::{LogFormat, LogSettings, TelemetrySettings};
pub use traces::TraceError;

/// Lines that wait for their reader, some hundred bytes each.
const LINES_WAITING: usize = 2_000;

/// Counts the lines that this process dropped.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Why logs cannot be written as configured.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.filter is not understood: {0}; write a level such as info, or target=level")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error(transparent)]
    Traces(#[from] TraceError),
    #[error(transparent)]
    Init(#[from] TryInitError),
}

/// Writes logs for the life of the process. A slow reader of the log makes the process wait.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    subscribe(settings, None, std::io::stderr)
}

/// Logs and traces of a service. Dropped, it writes the lines that wait.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    _lines: WorkerGuard,
}

impl Telemetry {
    /// Sends traces if an endpoint is configured. A slow reader of the log does not stop the service: lines
    /// are dropped and counted. Call it within the runtime.
    pub fn start(settings: &LogSettings, telemetry: &TelemetrySettings) -> Result<Self, LogError> {
        let endpoint = telemetry.otlp_endpoint.as_ref();
        let traces = endpoint.map(traces::provider).transpose()?;
        let (lines, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(LINES_WAITING)
            .finish(std::io::stderr());
        let dropped = lines.error_counter();
        subscribe(settings, traces.as_ref(), lines)?;
        // Only the first subscriber of a process writes.
        let _first = DROPPED.set(dropped);
        Ok(Self {
            traces,
            _lines: guard,
        })
    }

    /// Sends the last traces and writes the last lines.
    pub async fn close(self) {
        if let Some(traces) = self.traces {
            traces::close(traces).await;
        }
    }
}

/// How many lines were dropped because their reader was too slow.
pub fn dropped_lines() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

fn subscribe<W>(
    settings: &LogSettings,
    traces: Option<&SdkTracerProvider>,
    to: W,
) -> Result<(), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = filter_fn(|about| about.is_span() && about.target().starts_with("stickymark"))
        .with_max_level_hint(LevelFilter::DEBUG);
    let spans = traces.map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("stickymark"))
            .with_location(false)
            .with_threads(false)
            // A round learns in the middle to which traces it belongs; an active span could not join them.
            .with_context_activation(false)
            .with_filter(ours)
    });
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&settings.filter)?);
    let lines = match settings.format {
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(wants_colours(&std::io::stderr()))
            .with_writer(to)
            .boxed(),
        LogFormat::Json => json::layer(to).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()?;
    log_panics();
    filter::keep(handle, &settings.filter);
    Ok(())
}

/// For the rest of the process, a panic is a line of the log, where collectors of logs find it.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("not a text");
        let location = panic.location().map(ToString::to_string);
        // Captured with RUST_BACKTRACE=1 alone.
        let backtrace = Backtrace::capture();
        let backtrace =
            (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(
            panic = message,
            location,
            thread = std::thread::current().name(),
            backtrace,
            "panic"
        );
    }));
}

/// Whether an output gets colours: a terminal, unless `NO_COLOR` is set.
pub(crate) fn wants_colours(output: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    output.is_terminal() && !refused
}

/// The error and its causes, outermost first. Many errors of libraries say nothing by themselves.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
