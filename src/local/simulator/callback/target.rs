//! The receiver's address as Chat extends it, with the signature.
//!
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

use super::event::Kind;

/// Where callbacks go, and how.
#[derive(Debug)]
pub(in crate::local::simulator) struct Target {
    pub sdk_app_id: u32,
    pub url: Url,
    pub token: Option<SecretString>,
    pub timeout: Duration,
    pub retries: u32,
}

impl Target {
    /// The receiver's address with the query that Chat appends.
    pub(super) fn address(&self, kind: Kind, now: i64) -> Url {
        let mut url = self.url.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("SdkAppid", &self.sdk_app_id.to_string())
            .append_pair("CallbackCommand", kind.command())
            .append_pair("contenttype", "json")
            // No page tells of it, but real requests have it.
            .append_pair("RequestID", &Uuid::new_v4().to_string());
        if let Some((address, platform)) = kind.origin() {
            query
                .append_pair("ClientIP", address)
                .append_pair("OptPlatform", platform);
        }
        if let Some(token) = &self.token {
            query
                .append_pair("Sign", &sign(token, now))
                .append_pair("RequestTime", &now.to_string());
        }
        drop(query);
        url
    }
}

/// `Sign` of a request: the SHA-256 of the token followed by the time in seconds.
fn sign(token: &SecretString, now: i64) -> String {
    hex::encode(Sha256::digest(format!("{}{now}", token.expose_secret())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample of <https://www.tencentcloud.com/document/product/1047/34354>.
    #[test]
    fn the_sign_is_that_of_the_documented_sample() {
        assert_eq!(
            sign(&SecretString::from("xxxxyyyy"), 1_669_872_112),
            "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061"
        );
    }
}
