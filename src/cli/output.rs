//! Standard output. A reader that closes it early, like `head`, has all it wants: that ends the program
//! with success, where the macros of the standard library would panic.

use std::io::{self, ErrorKind, Write};

/// Writes a text as it is.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line.
pub(super) fn line(line: &str) -> io::Result<()> {
    text(&format!("{line}\n"))
}

/// Whether a command ended because its output was closed.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
