//! The spans in the words of OpenTelemetry's conventions, and the trace that leads from a callback over the
//! row of its member to the call, in whichever replica.
//!
//! Kinds and attributes are set here and not as fields of the spans, because fields are part of log lines.
//! Sources: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>,
//! <https://opentelemetry.io/docs/specs/semconv/database/database-spans/>,
//! <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const HEADER: &str = "traceparent";
/// Links of one span; a storm would make thousands.
const MOST_LINKS: usize = 16;

/// The trace of the current span, as [`continue_traces`] takes it; `None` while no traces are sent.
pub(crate) fn traceparent() -> Option<String> {
    let context = Span::current().context();
    // Most processes send no traces: no allocation for them.
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(HEADER)
}

/// Makes a span, which has no child yet, the child of the first of these traces, and links it to the others.
pub(crate) fn continue_traces<'a>(span: &Span, parents: impl Iterator<Item = &'a str>) {
    let mut told: Vec<&str> = Vec::new();
    for parent in parents {
        if told.contains(&parent) {
            continue;
        }
        let carrier = HashMap::from([(HEADER.to_owned(), parent.to_owned())]);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        if !context.span().span_context().is_valid() {
            continue;
        }
        match told.is_empty() {
            // It fails only while no traces are sent.
            true => drop(span.set_parent(context)),
            false => span.add_link(context.span().span_context().clone()),
        }
        told.push(parent);
        if told.len() > MOST_LINKS {
            return;
        }
    }
}

/// Adds an attribute to the current span.
pub(crate) fn attribute(key: &'static str, value: impl Into<Value>) {
    Span::current().set_attribute(key, value);
}

/// Marks the current span as failed, with a word for what failed.
pub(crate) fn failed(error: &'static str) {
    let span = Span::current();
    span.set_attribute("error.type", error);
    span.set_status(Status::error(error));
}

/// Gives each span its kind and the attributes that all of its name have.
#[derive(Debug)]
pub(super) struct Conventions<E>(pub E);

fn conventions(name: &str) -> (SpanKind, &'static [(&'static str, &'static str)]) {
    match name {
        "callback" | "admin" => (SpanKind::Server, &[]),
        "call" => (SpanKind::Client, &[("http.request.method", "POST")]),
        // A round works on what callbacks left in the database.
        "round" => (SpanKind::Consumer, &[]),
        "record" => (
            SpanKind::Client,
            &[
                ("db.system.name", "postgresql"),
                ("db.query.summary", "INSERT members"),
            ],
        ),
        "write_back" => (
            SpanKind::Client,
            &[
                ("db.system.name", "postgresql"),
                ("db.query.summary", "UPDATE members"),
            ],
        ),
        _ => (SpanKind::Internal, &[]),
    }
}

impl<E: SpanExporter> SpanExporter for Conventions<E> {
    fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        for span in &mut batch {
            let (kind, attributes) = conventions(&span.name);
            span.span_kind = kind;
            let attributes = attributes
                .iter()
                .map(|(key, value)| KeyValue::new(*key, *value));
            span.attributes.extend(attributes);
        }
        self.0.export(batch)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Collected(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Collected {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn spans_of(what: impl FnOnce()) -> Vec<SpanData> {
        let collected = Collected::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(Conventions(collected.clone()))
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("test"))
            .with_context_activation(false);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, what);
        collected.0.lock().unwrap().clone()
    }

    #[test]
    fn a_round_is_part_of_the_first_trace_and_linked_to_the_others_once() {
        let spans = spans_of(|| {
            let parents: Vec<String> = (0..20)
                .map(|_| tracing::info_span!("callback").in_scope(|| traceparent().unwrap()))
                .collect();
            let round = tracing::info_span!("round", members = 20_i64);
            let unreadable = ["", "00-0-0-00", "nonsense"];
            let all = unreadable
                .into_iter()
                .chain(parents.iter().map(String::as_str))
                .chain([parents[1].as_str()]);
            round.in_scope(|| continue_traces(&Span::current(), all));
        });
        let (callbacks, round) = spans.split_at(20);
        let [round] = round else { panic!("{round:?}") };
        assert_eq!(round.span_kind, SpanKind::Consumer);
        assert_eq!(
            (round.span_context.trace_id(), round.parent_span_id),
            (
                callbacks[0].span_context.trace_id(),
                callbacks[0].span_context.span_id()
            )
        );
        let linked = round.links.iter().map(|link| link.span_context.span_id());
        let others = callbacks[1..=MOST_LINKS].iter();
        let others = others.map(|span| span.span_context.span_id());
        assert!(linked.eq(others), "{:?}", round.links);
        assert!(round.attributes.contains(&KeyValue::new("members", 20)));
    }

    #[test]
    fn a_failed_call_has_a_status_and_no_trace_is_kept_while_none_is_sent() {
        let spans = spans_of(|| tracing::info_span!("call").in_scope(|| failed("retry")));
        assert_eq!(spans[0].status, Status::error("retry"));
        assert_eq!(spans[0].span_kind, SpanKind::Client);
        assert!(
            spans[0]
                .attributes
                .contains(&KeyValue::new("error.type", "retry"))
        );
        assert_eq!(traceparent(), None);
    }
}
