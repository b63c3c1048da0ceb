//! An error with its causes in one line.

use std::error::Error;

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
