//! The settings: read once at start, typed, and consistent.
//!
//! Three layers, the later wins: the defaults in `config/default.toml` (also the documentation of
//! every key), one TOML file, the environment. A problem names the key, where it was given, what is
//! wrong and how to fix it. Secrets appear in no problem, no `Debug` output and not in
//! [`Settings::described`]. The caller passes the environment in.

mod check;
mod database_url;
mod enums;
mod load;
mod settings;
#[cfg(test)]
mod tests;
mod values;
mod warnings;

pub use database_url::DatabaseUrl;
pub use enums::{ForwardFailure, LogFormat, Region, Role};
pub use load::ConfigError;
pub use settings::{
    CallbackSettings, ChatSettings, DatabaseSettings, LogSettings, Settings, TelemetrySettings,
};
pub use values::AdminToken;
pub(crate) use warnings::is_loopback;
