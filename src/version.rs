//! Which build this is, for `--version`, logs and metrics.

/// The version of the package, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, abbreviated; empty if the build did not know it.
pub const COMMIT: &str = env!("STICKYMARK_BUILD_COMMIT");

/// Version and, if known, commit: `0.1.0 (0123456789ab)`.
pub const FULL: &str = env!("STICKYMARK_BUILD_VERSION");
