//! Checks a UserSig (TLSSigAPIv2) the way Chat does.
//!
//! A UserSig is JSON, compressed with zlib, in base64 with `*`, `-` and `_` in place of `+`, `/`
//! and `=`. Its `TLS.sig` is the HMAC-SHA256 of four or five lines made from the other values.
//! Written apart from the service's own signer, so that one fault cannot hide the other.
//! Source: <https://www.tencentcloud.com/document/product/1047/34385>.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

/// More than any honest UserSig holds; stops a small text from unpacking into a large one.
const LONGEST_DOCUMENT: u64 = 16 * 1024;

/// Why a UserSig is refused.
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
    #[serde(rename = "TLS.userbuf")]
    user_buffer: Option<String>,
}

/// Checks that `user_sig` lets `identifier` act for the application at `now` (Unix seconds).
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
    // Characters of the plain alphabet that the scheme replaces have no business here.
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
        let mut lines = format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.sdk_app_id, self.time, self.expire
        );
        if let Some(buffer) = &self.user_buffer {
            lines.push_str(&format!("TLS.userbuf:{buffer}\n"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::simulator::options::{SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};

    const TIME: i64 = 1_700_000_000;
    /// Made by the Python library with a lifetime of one day.
    const FROM_PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkElNyM-Myi0uKEkvyi2BKilOyEwsKMlOACgxNDKAAKpdaUZBZlAqUsTAzgQuWZOaChAzN0RQXZ6aDLKn0cUzVLjcPD00NLS1MCrPM0A*JMLcoNTLMD3HP1M60jCowLDUOKMiLNDOwVaoFAD4PNPI_";
    /// Made by the Node library from the same values.
    const FROM_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQAJEpycxNVbIyNEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hnamdaRhUYlhoHFORFmhnYKtUCAK0SM5I_";

    fn check(sig: &str, app: u32, identifier: &str, key: &str, now: i64) -> Result<(), Refused> {
        verify(sig, app, identifier, &SecretString::from(key), now)
    }

    #[test]
    fn signatures_of_the_official_libraries_are_accepted() {
        for sig in [FROM_PYTHON, FROM_NODE] {
            let result = check(
                sig,
                SAMPLE_SDK_APP_ID,
                "administrator",
                SAMPLE_SECRET_KEY,
                TIME,
            );
            assert_eq!(result, Ok(()));
        }
        let document = open(FROM_PYTHON).unwrap();
        assert_eq!(
            document.signature,
            "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60="
        );
    }

    #[test]
    fn every_way_to_be_wrong_has_its_own_refusal() {
        let (app, name, key) = (SAMPLE_SDK_APP_ID, "administrator", SAMPLE_SECRET_KEY);
        let cases = [
            (check(FROM_NODE, app, name, key, TIME + 86_400), Ok(())),
            (
                check(FROM_NODE, app, name, key, TIME + 86_401),
                Err(Refused::Expired),
            ),
            (
                check(FROM_NODE, app, name, "other", TIME),
                Err(Refused::WrongKey),
            ),
            (
                check(FROM_NODE, app, "alice", key, TIME),
                Err(Refused::OtherAccount),
            ),
            (
                check(FROM_NODE, app + 1, name, key, TIME),
                Err(Refused::OtherApplication),
            ),
            (
                check(&FROM_NODE[..90], app, name, key, TIME),
                Err(Refused::Malformed),
            ),
            (
                check("not a signature", app, name, key, TIME),
                Err(Refused::Malformed),
            ),
        ];
        for (got, wanted) in cases {
            assert_eq!(got, wanted);
        }
    }
}
