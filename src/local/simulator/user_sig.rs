//! Checks a UserSig (TLSSigAPIv2) the way Chat does.
//!
//! A UserSig is JSON, compressed with zlib, in base64 with `*`, `-` and `_` in place of `+`, `/`
//! and `=`. Its `TLS.sig` is the HMAC-SHA256 of four lines composed from the other values. This code
//! is independent of the service's own signer, so that one fault cannot hide the other.
//! Source: <https://www.tencentcloud.com/document/product/1047/34385>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

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

/// Checks that `user_sig` admits `identifier` to the application at `now` (Unix seconds); else the code and
/// text of the refusal.
pub(super) fn verify(
    user_sig: &str,
    sdk_app_id: u32,
    identifier: &str,
    key: &str,
    now: i64,
) -> Result<(), (i64, &'static str)> {
    let malformed = || (70003, "the UserSig is malformed");
    let document = open(user_sig).ok_or_else(malformed)?;
    let signature = STANDARD.decode(&document.signature);
    let signature = signature.map_err(|_| malformed())?;
    let lines = format!(
        "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
        document.identifier, document.sdk_app_id, document.time, document.expire
    );
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| malformed())?;
    let signed = mac.chain_update(lines).verify_slice(&signature);
    Err(if document.sdk_app_id != u64::from(sdk_app_id) {
        (70014, "the UserSig is for another SDKAppID")
    } else if document.identifier != identifier {
        (70013, "the UserSig is for another identifier")
    } else if signed.is_err() {
        (70009, "the UserSig was signed with another key")
    } else if now > document.time.saturating_add(document.expire) {
        (70001, "the UserSig has expired")
    } else {
        return Ok(());
    })
}

fn open(user_sig: &str) -> Option<Document> {
    // Characters that the scheme replaces must not occur.
    if user_sig.contains(['+', '/', '=']) {
        return None;
    }
    let plain = user_sig
        .replace('*', "+")
        .replace('-', "/")
        .replace('_', "=");
    let packed = STANDARD.decode(plain).ok()?;
    let unpacked = ZlibDecoder::new(packed.as_slice());
    let document: Document = serde_json::from_reader(unpacked).ok()?;
    (document.version == "2.0").then_some(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::simulator::{SAMPLE_SDK_APP_ID as APP, SAMPLE_SECRET_KEY as KEY};

    const TIME: i64 = 1_700_000_000;
    /// Signed by the official Python library with a lifetime of one day.
    const FROM_PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkElNyM-Myi0uKEkvyi2BKilOyEwsKMlOACgxNDKAAKpdaUZBZlAqUsTAzgQuWZOaChAzN0RQXZ6aDLKn0cUzVLjcPD00NLS1MCrPM0A*JMLcoNTLMD3HP1M60jCowLDUOKMiLNDOwVaoFAD4PNPI_";
    /// Signed by the official Node library from the same values.
    const FROM_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQAJEpycxNVbIyNEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hnamdaRhUYlhoHFORFmhnYKtUCAK0SM5I_";

    #[test]
    fn signatures_of_the_official_libraries_are_accepted_until_they_expire() {
        let code =
            |sig, app, name, key, now| verify(sig, app, name, key, now).map_err(|(code, _)| code);
        for sig in [FROM_PYTHON, FROM_NODE] {
            let (admin, end) = ("administrator", TIME + 86_400);
            assert_eq!(code(sig, APP, admin, KEY, end), Ok(()));
            assert_eq!(code(sig, APP, admin, KEY, end + 1), Err(70001));
            assert_eq!(code(sig, APP, admin, "other", TIME), Err(70009));
            assert_eq!(code(sig, APP, "alice", KEY, TIME), Err(70013));
            assert_eq!(code(sig, APP + 1, admin, KEY, TIME), Err(70014));
            assert_eq!(code(&sig[..90], APP, admin, KEY, TIME), Err(70003));
        }
    }
}
