//! The settings: read once at start, typed, and right as a whole.
//!
//! Three layers, later wins: the defaults in `config/default.toml` (also the documentation of every
//! key), one TOML file, the environment. Every problem is reported, not only the first, and names
//! the key, what is wrong and what would be right. Secrets show up nowhere: not in problems, not in
//! `Debug`, not in [`Settings::describe`]. The environment is handed in, never read here.

mod check;
mod database_address;
mod describe;
mod error;
mod layers;
mod parse;
mod read;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod warnings;

pub use database_address::DatabaseAddress;
pub use error::{ConfigError, Problems};
pub use layers::DEFAULTS;
pub use settings::{
    AdminSettings, AdminToken, CallbackPath, CallbackSettings, ChatSettings, DatabaseSettings,
    LogFormat, LogSettings, ReapplySettings, ResyncSettings, Role, Settings, TelemetrySettings,
};
