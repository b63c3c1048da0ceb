//! What a simulated Chat is started with, and what can be changed while it runs.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

/// SDKAppID of the sample application.
pub const SAMPLE_SDK_APP_ID: u32 = 1_400_000_000;

/// A public key: the sample of <https://github.com/tencentyun/tls-sig-api-v2-python>.
pub const SAMPLE_SECRET_KEY: &str =
    "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

#[derive(Debug, Clone)]
pub struct Options {
    pub sdk_app_id: u32,
    /// The key that UserSigs are checked with, as text.
    pub secret_key: SecretString,
    /// The only `identifier` that may call.
    pub admin_account: String,
    pub callback: CallbackOptions,
    pub settings: Settings,
}

/// Where callbacks go.
#[derive(Debug, Clone, Default)]
pub struct CallbackOptions {
    /// `None` = no callbacks. Chat's console admits no query in it.
    pub url: Option<Url>,
    /// `None` = requests carry no `Sign`.
    pub token: Option<SecretString>,
}

/// Behaviour where Chat's documents leave a choice, or where a test needs another pace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds between a call's arrival and its answer.
    pub latency_ms: u64,
    /// Calls of one API that are admitted in any one second.
    pub calls_per_second: usize,
    /// Members in one answer of `get_members`.
    pub page_size: usize,
    /// Error code when none of the accounts of `modify_user_info` is online.
    pub all_offline_code: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sdk_app_id: SAMPLE_SDK_APP_ID,
            secret_key: SecretString::from(SAMPLE_SECRET_KEY),
            admin_account: "administrator".to_owned(),
            callback: CallbackOptions::default(),
            settings: Settings::default(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 5,
            calls_per_second: 200,
            page_size: 250,
            all_offline_code: 10004,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.calls_per_second == 0 {
            return Err("`calls_per_second` must be at least 1".to_owned());
        }
        if !(1..=1000).contains(&self.page_size) {
            return Err("`page_size` must be from 1 to 1000".to_owned());
        }
        Ok(())
    }
}

/// Checks a receiver's address as Chat's console does
/// (<https://www.tencentcloud.com/document/product/1047/34520>).
pub(super) fn check_callback_url(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the callback URL must begin with http:// or https://".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "the callback URL must have no query and no fragment; put a secret in its path".into(),
        );
    }
    Ok(())
}
