//! Which build this is, for `--version`, logs and metrics, and what it works with.

/// The version of the package, such as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, abbreviated; empty if the build did not know it.
pub const COMMIT: &str = env!("STICKYMARK_BUILD_COMMIT");

/// Version and, if known, commit: `0.1.0 (0123456789ab)`.
pub const FULL: &str = env!("STICKYMARK_BUILD_VERSION");

/// Oldest major version of PostgreSQL that works.
pub(crate) const OLDEST_POSTGRES: u32 = 14;
