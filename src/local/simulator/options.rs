//! What a simulated Chat is started with, and what can be changed while it runs.

use std::collections::BTreeSet;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use super::callback::Kind;

/// SDKAppID of the sample application.
pub const SAMPLE_SDK_APP_ID: u32 = 1_400_000_000;

/// A key that everybody may know: the sample of
/// <https://github.com/tencentyun/tls-sig-api-v2-python>.
pub const SAMPLE_SECRET_KEY: &str =
    "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

/// The application that is simulated.
#[derive(Debug, Clone)]
pub struct Options {
    /// SDKAppID of the application.
    pub sdk_app_id: u32,
    /// Key that UserSigs are checked with, as text.
    pub secret_key: SecretString,
    /// The only `identifier` that may call.
    pub admin_account: String,
    /// Where callbacks go at first.
    pub callback: CallbackOptions,
    /// Behaviour that can also be changed while it runs.
    pub settings: Settings,
}

/// Where callbacks go, and which.
#[derive(Debug, Clone)]
pub struct CallbackOptions {
    /// Address of the receiver; none = no callbacks. Chat's console admits no query in it.
    pub url: Option<Url>,
    /// Token of callback authentication; none = requests carry no `Sign`.
    pub token: Option<SecretString>,
    /// The callbacks that are switched on.
    pub kinds: BTreeSet<Kind>,
}

/// Behaviour where Chat's documents leave a choice, or where a test wants another pace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Milliseconds between a call's arrival and its answer.
    pub latency_ms: u64,
    /// Calls of one API that are let through in any one second.
    pub calls_per_second: usize,
    /// Members in one answer of `get_members`.
    pub page_size: usize,
    /// `CommandType` 1 replaces a member's marks instead of adding to them.
    pub set_replaces: bool,
    /// Error code when none of the accounts of `modify_user_info` is online.
    pub all_offline_code: i64,
    /// Milliseconds that a callback's receiver has to answer.
    pub callback_timeout_ms: u64,
    /// How often a callback is sent again after a timeout.
    pub callback_retries: u32,
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

impl Default for CallbackOptions {
    fn default() -> Self {
        Self {
            url: None,
            token: None,
            kinds: Kind::ALL.into(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 5,
            calls_per_second: 200,
            page_size: 250,
            set_replaces: false,
            all_offline_code: 10004,
            callback_timeout_ms: 2000,
            callback_retries: 0,
        }
    }
}

impl Settings {
    /// Says what is wrong with settings that came from outside.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.calls_per_second == 0 {
            return Err("`calls_per_second` is at least 1".to_owned());
        }
        if !(1..=1000).contains(&self.page_size) {
            return Err("`page_size` is from 1 to 1000".to_owned());
        }
        if self.callback_timeout_ms == 0 {
            return Err("`callback_timeout_ms` is at least 1".to_owned());
        }
        Ok(())
    }
}

/// Checks a receiver's address as Chat's console does
/// (<https://www.tencentcloud.com/document/product/1047/34520>).
pub(super) fn check_callback_url(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the callback URL begins with http:// or https://".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "the callback URL has no query and no fragment; put a secret in its path".into(),
        );
    }
    Ok(())
}
