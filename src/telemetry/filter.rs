//! The log filter, which can be changed while the process runs.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// In bytes.
const LONGEST: usize = 1_000;

static IN_FORCE: OnceLock<LogFilter> = OnceLock::new();

#[derive(Debug)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Mutex<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a filter: {0}; write a level such as info, or target=level, separated by commas")]
pub struct UnknownFilter(String);

/// The filter of this process; `None` if it writes no logs of its own.
pub fn log_filter() -> Option<&'static LogFilter> {
    IN_FORCE.get()
}

pub(super) fn keep(handle: reload::Handle<EnvFilter, Registry>, text: &str) {
    // Only the first subscriber of a process comes into force.
    let _first = IN_FORCE.set(LogFilter {
        handle,
        text: Mutex::new(text.to_owned()),
    });
}

impl LogFilter {
    pub fn text(&self) -> String {
        let text = self.text.lock();
        text.clone()
    }

    /// Applies until the next change or the end of the process.
    pub fn set(&self, text: &str) -> Result<(), UnknownFilter> {
        let filter = parse(text)?;
        let mut shown = self.text.lock();
        tracing::info!(before = *shown, after = text, "changed the log filter");
        self.handle
            .reload(filter)
            .map_err(|error| UnknownFilter(error.to_string()))?;
        text.clone_into(&mut shown);
        Ok(())
    }
}

fn parse(text: &str) -> Result<EnvFilter, UnknownFilter> {
    if text.trim().is_empty() {
        return Err(UnknownFilter("it is empty".to_owned()));
    }
    if text.len() > LONGEST {
        return Err(UnknownFilter(format!("it is longer than {LONGEST} bytes")));
    }
    EnvFilter::try_new(text).map_err(|error| UnknownFilter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_filters_are_taken() {
        for right in ["info", "warn,stickymark=debug", "off"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["", "  ", "info,=", "stickymark=loud", &"a,".repeat(1_000)] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
