//! Checks a UserSig (TLSSigAPIv2) the way Chat does.
//!
//! A UserSig is JSON, compressed with zlib, in base64 with `*`, `-` and `_` in place of `+`, `/`
//! and `=`. Its `TLS.sig` is the HMAC-SHA256 of four lines composed from the other values. This code
//! is independent of the service's own signer, so that one fault cannot hide the other.
//! Source: <https://www.tencentcloud.com/document/product/1047/34385>.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

/// More than any real UserSig needs; stops a small text from unpacking into a large one.
const LONGEST_DOCUMENT: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    OtherApplication,
    OtherAccount,
    WrongKey,
    Expired,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "TLS.ver")]
    version: String,
    #[serde(rename = "TLS.identifier")]
    identifier: String,
    #[serde(rename = "TLS.sdkappid")]
    sdk_app_id: u64,
    #[serde(rename = "TLS.time")]
    time: i64,
    #[serde(rename = "TLS.expire")]
    expire: i64,
    #[serde(rename = "TLS.sig")]
    signature: String,
}

/// Checks that `user_sig` admits `identifier` to the application at `now` (Unix seconds).
pub(super) fn verify(
    user_sig: &str,
    sdk_app_id: u32,
    identifier: &str,
    key: &SecretString,
    now: i64,
) -> Result<(), Refused> {
    let document = open(user_sig).ok_or(Refused::Malformed)?;
    if document.sdk_app_id != u64::from(sdk_app_id) {
        return Err(Refused::OtherApplication);
    }
    if document.identifier != identifier {
        return Err(Refused::OtherAccount);
    }
    let signature = STANDARD
        .decode(&document.signature)
        .map_err(|_| Refused::Malformed)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes())
        .map_err(|_| Refused::WrongKey)?;
    mac.update(document.signed_lines().as_bytes());
    mac.verify_slice(&signature)
        .map_err(|_| Refused::WrongKey)?;
    if now > document.time.saturating_add(document.expire) {
        return Err(Refused::Expired);
    }
    Ok(())
}

fn open(user_sig: &str) -> Option<Document> {
    // Characters that the scheme replaces must not occur.
    if user_sig.contains(['+', '/', '=']) {
        return None;
    }
    let plain: String = user_sig
        .chars()
        .map(|letter| match letter {
            '*' => '+',
            '-' => '/',
            '_' => '=',
            other => other,
        })
        .collect();
    let packed = STANDARD.decode(plain).ok()?;
    let mut json = Vec::new();
    ZlibDecoder::new(packed.as_slice())
        .take(LONGEST_DOCUMENT)
        .read_to_end(&mut json)
        .ok()?;
    let document: Document = serde_json::from_slice(&json).ok()?;
    (document.version == "2.0").then_some(document)
}

impl Document {
    fn signed_lines(&self) -> String {
        format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.sdk_app_id, self.time, self.expire
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::simulator::{SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};

    const TIME: i64 = 1_700_000_000;
    /// Signed by the Python library with a lifetime of one day.
    const FROM_PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkElNyM-Myi0uKEkvyi2BKilOyEwsKMlOACgxNDKAAKpdaUZBZlAqUsTAzgQuWZOaChAzN0RQXZ6aDLKn0cUzVLjcPD00NLS1MCrPM0A*JMLcoNTLMD3HP1M60jCowLDUOKMiLNDOwVaoFAD4PNPI_";
    /// Signed by the Node library from the same values.
    const FROM_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQAJEpycxNVbIyNEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hnamdaRhUYlhoHFORFmhnYKtUCAK0SM5I_";

    #[test]
    fn signatures_of_the_official_libraries_are_accepted_until_they_expire() {
        let (app, name) = (SAMPLE_SDK_APP_ID, "administrator");
        let other_app = app + 1;
        for sig in [FROM_PYTHON, FROM_NODE] {
            for (sig, app, name, key, now, wanted) in [
                (sig, app, name, SAMPLE_SECRET_KEY, TIME, Ok(())),
                (sig, app, name, SAMPLE_SECRET_KEY, TIME + 86_400, Ok(())),
                (
                    sig,
                    app,
                    name,
                    SAMPLE_SECRET_KEY,
                    TIME + 86_401,
                    Err(Refused::Expired),
                ),
                (sig, app, name, "other", TIME, Err(Refused::WrongKey)),
                (
                    sig,
                    app,
                    "alice",
                    SAMPLE_SECRET_KEY,
                    TIME,
                    Err(Refused::OtherAccount),
                ),
                (
                    sig,
                    other_app,
                    name,
                    SAMPLE_SECRET_KEY,
                    TIME,
                    Err(Refused::OtherApplication),
                ),
                (
                    &sig[..90],
                    app,
                    name,
                    SAMPLE_SECRET_KEY,
                    TIME,
                    Err(Refused::Malformed),
                ),
                (
                    "no signature",
                    app,
                    name,
                    SAMPLE_SECRET_KEY,
                    TIME,
                    Err(Refused::Malformed),
                ),
            ] {
                assert_eq!(
                    verify(sig, app, name, &SecretString::from(key), now),
                    wanted
                );
            }
        }
    }
}
