//! From layers to settings: which keys there are, and the limits of each.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::layers::Layers;
use super::reader::Reader;
use super::settings::{
    AdminSettings, CallbackSettings, ChatSettings, DatabaseSettings, LogSettings, ReapplySettings,
    ResyncSettings, Settings, TelemetrySettings,
};
use super::{ConfigError, Problems, parse};

impl Settings {
    /// Reads the settings. `config_file` is that of the command line; without it
    /// `STICKYMARK_CONFIG` in `environment` may name one. Pass `std::env::vars_os()` there.
    ///
    /// # Errors
    /// When the file cannot be read, or any key is unknown or wrong.
    pub fn load<K, V>(
        config_file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut reader = Reader::new(Layers::gather(config_file, environment)?);
        let settings = all(&mut reader);
        if let Some(settings) = &settings {
            for problem in settings.contradictions() {
                reader.complain(problem);
            }
        }
        Problems::none(reader.finish())?;
        // Every value that is missing has been complained about above.
        settings.ok_or_else(|| ConfigError::Invalid(Problems::incomplete()))
    }
}

/// Reads every section before it gives up, so that all problems are found at once.
fn all(reader: &mut Reader) -> Option<Settings> {
    let (chat, callback, admin) = (chat(reader), callback(reader), admin(reader));
    let (database, reapply) = (database(reader), reapply(reader));
    let (resync, log) = (resync(reader), log(reader));
    let telemetry = telemetry(reader);
    Some(Settings {
        chat: chat?,
        callback: callback?,
        admin: admin?,
        database: database?,
        reapply: reapply?,
        resync: resync?,
        log: log?,
        telemetry,
    })
}

fn chat(reader: &mut Reader) -> Option<ChatSettings> {
    let sdk_app_id = reader.optional("chat.sdk_app_id", parse::sdk_app_id);
    let secret_key = reader.secret("chat.secret_key", parse::secret);
    let admin_account = reader.value("chat.admin_account", parse::account);
    let region = reader.value("chat.region", parse::region);
    let base_url = reader.optional("chat.base_url", parse::http_url);
    let calls_per_second = reader.value("chat.calls_per_second", |t| parse::number(t, 1, 200));
    let request_timeout = reader.value("chat.request_timeout", |t| {
        parse::duration(t, Duration::from_millis(100), Duration::from_secs(60))
    });
    Some(ChatSettings {
        sdk_app_id,
        secret_key,
        admin_account: admin_account?,
        region: region?,
        base_url,
        calls_per_second: calls_per_second?,
        request_timeout: request_timeout?,
    })
}

fn callback(reader: &mut Reader) -> Option<CallbackSettings> {
    let listen = reader.value("callback.listen", parse::address);
    let path = reader.value("callback.path", parse::callback_path);
    let tokens = reader.secrets("callback.tokens", parse::callback_token);
    let max_age = reader.value("callback.max_age", |t| {
        parse::duration(t, Duration::from_secs(1), DAY)
    });
    let forward_url = reader.optional("callback.forward_url", parse::http_url);
    let forward_failure = reader.value("callback.forward_failure", parse::forward_failure);
    Some(CallbackSettings {
        listen: listen?,
        path: path?,
        tokens,
        max_age: max_age?,
        forward_url,
        forward_failure: forward_failure?,
    })
}

fn admin(reader: &mut Reader) -> Option<AdminSettings> {
    let listen = reader.value("admin.listen", parse::address);
    let tokens = reader.secrets("admin.tokens", parse::admin_token);
    Some(AdminSettings {
        listen: listen?,
        tokens,
    })
}

fn database(reader: &mut Reader) -> Option<DatabaseSettings> {
    let url = reader.secret("database.url", parse::database_url);
    let path = reader.value("database.path", parse::path);
    let max_connections = reader.value("database.max_connections", |t| parse::number(t, 2, 1000));
    Some(DatabaseSettings {
        url,
        path: path?,
        max_connections: max_connections?,
    })
}

fn reapply(reader: &mut Reader) -> Option<ReapplySettings> {
    let wait = |t: &str| parse::duration(t, Duration::ZERO, Duration::from_secs(10));
    let settle = reader.value("reapply.settle", wait);
    let max_wait = reader.value("reapply.max_wait", wait);
    let lease = reader.value("reapply.lease", |t| {
        parse::duration(t, Duration::from_secs(1), Duration::from_secs(600))
    });
    Some(ReapplySettings {
        settle: settle?,
        max_wait: max_wait?,
        lease: lease?,
    })
}

fn resync(reader: &mut Reader) -> Option<ResyncSettings> {
    let interval = reader.value("resync.interval", parse::interval);
    Some(ResyncSettings {
        interval: interval?,
    })
}

fn log(reader: &mut Reader) -> Option<LogSettings> {
    let format = reader.value("log.format", parse::log_format);
    let filter = reader.value("log.filter", parse::log_filter);
    Some(LogSettings {
        format: format?,
        filter: filter?,
    })
}

fn telemetry(reader: &mut Reader) -> TelemetrySettings {
    let otlp_endpoint = reader.optional("telemetry.otlp_endpoint", parse::http_url);
    TelemetrySettings { otlp_endpoint }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
