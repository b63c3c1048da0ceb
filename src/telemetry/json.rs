//! Log lines as JSON: an event's fields beside `message`, and those of all its spans in one object, `span`.

use json_subscriber::JsonLayer;
use opentelemetry::trace::TraceContextExt;
use tracing::{Subscriber, dispatcher};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

pub(super) fn layer<S, W>(to: W) -> JsonLayer<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    let mut lines = JsonLayer::new(to);
    lines.with_timer("timestamp", SystemTime);
    lines.with_level("level");
    lines.with_target("target");
    lines.with_flattened_event();
    lines.with_flattened_span_fields("span");
    // The current span itself: the filter of the log may leave it out.
    lines.add_multiple_dynamic_fields(|_, context: &Context<'_, S>, line| {
        let current = context.current_span();
        let Some(id) = current.id() else { return };
        let context = dispatcher::get_default(|dispatch| get_otel_context(id, dispatch));
        if let Some(context) = context {
            let span = context.span().span_context().clone();
            if span.is_valid() {
                // Writing into memory does not fail.
                let _ = line.write_field("trace_id", span.trace_id().to_string());
                let _ = line.write_field("span_id", span.span_id().to_string());
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::panic;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::log_panics;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for &Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(what: impl FnOnce()) -> Vec<Value> {
        let lines = Arc::new(Lines::default());
        let subscriber = tracing_subscriber::registry().with(layer(Arc::clone(&lines)));
        tracing::subscriber::with_default(subscriber, what);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn fields_are_beside_the_message_and_those_of_all_spans_in_one_object() {
        let lines = logged(|| {
            let _outer = tracing::info_span!("outer", group = "class-7", members = 1).entered();
            let _inner = tracing::info_span!("inner", members = 2).entered();
            tracing::warn!(account = "a\"b", error = %io::Error::other("no\nline"), "it fails");
        });
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        let mut line = line.as_object().unwrap().clone();
        assert!(line.remove("timestamp").unwrap().is_string());
        assert_eq!(
            Value::Object(line),
            json!({"level": "WARN", "target": module_path!(), "message": "it fails",
                   "account": "a\"b", "error": "no\nline",
                   "span": {"name": "inner", "group": "class-7", "members": 2}})
        );
    }

    #[test]
    fn a_panic_is_one_line() {
        let before = panic::take_hook();
        let lines = logged(|| {
            log_panics();
            let _panicked = panic::catch_unwind(|| panic!("room {}\nis odd", 7));
        });
        panic::set_hook(before);
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["panic"], "room 7\nis odd");
        let location = line["location"].as_str().unwrap();
        assert!(location.starts_with("src/telemetry/json.rs:"), "{location}");
    }
}
