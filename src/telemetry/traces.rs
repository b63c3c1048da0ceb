//! Traces over OTLP (HTTP, protobuf), if an endpoint is configured.
//!
//! Only spans of this program are sent, without log events, which may name members. What cannot be sent in
//! time is dropped, so a collector that is down does no harm. The usual variables of OpenTelemetry apply to the
//! rest, such as `OTEL_TRACES_SAMPLER` and `OTEL_RESOURCE_ATTRIBUTES`.
//! Source: <https://opentelemetry.io/docs/specs/otlp/>.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use url::Url;

use super::repeated::warn_seldom;
use super::spans::Conventions;
use super::with_causes;
use crate::version;

/// How long the collector may take over one batch.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last batch.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("the HTTP client for traces cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
    #[error("telemetry.otlp_endpoint cannot be used: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Sends to `<endpoint>/v1/traces`, from tasks of the runtime this is called in.
pub(super) fn provider(endpoint: &Url) -> Result<SdkTracerProvider, TraceError> {
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(SEND_WITHIN)
        .build()?;
    let runtime = Handle::current();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector { http, runtime })
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(SEND_WITHIN)
        .with_endpoint(signal_url(endpoint))
        .build()?;
    let resource = Resource::builder()
        .with_service_name("stickymark")
        .with_attribute(KeyValue::new("service.version", version::FULL))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(Conventions(exporter))
        .build())
}

/// Sends what is left.
pub(super) async fn close(provider: SdkTracerProvider) {
    let closing = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(CLOSE_WITHIN));
    if let Ok(Err(error)) = closing.await {
        tracing::debug!(%error, "could not send the last traces");
    }
}

fn signal_url(endpoint: &Url) -> String {
    format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'))
}

/// The client of the collector. Batches come from a thread without a runtime, so tasks of the runtime send
/// them.
#[derive(Debug)]
struct Collector {
    http: reqwest::Client,
    runtime: Handle,
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let sending = self.runtime.spawn(send(self.http.clone(), request));
        Box::pin(async move {
            let sent = sending.await?;
            // The path of the endpoint may hold a secret.
            let sent = sent.map_err(reqwest::Error::without_url);
            Ok(sent.inspect_err(|error| {
                warn_seldom!(error = with_causes(error), "could not send traces");
            })?)
        })
    }
}

async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, reqwest::Error> {
    let answer = http.execute(request.try_into()?).await?;
    let status = answer.status();
    if !status.is_success() {
        warn_seldom!(status = status.as_u16(), "the collector rejected traces");
    }
    let mut response = Response::new(answer.bytes().await?);
    *response.status_mut() = status;
    Ok(response)
}
