//! A panic as a line of the log, where collectors of logs find it, instead of text on standard error.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;

/// For the rest of the process.
pub(super) fn log() {
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
