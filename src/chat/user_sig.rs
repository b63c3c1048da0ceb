//! UserSig (TLSSigAPIv2, HMAC-SHA256): what a REST call proves its right with.
//!
//! The HMAC covers four lines of text; it and their values go as JSON through zlib and a Base64
//! of Tencent's own alphabet. The key is used as text, not as the bytes its hex digits name.
//! Sources: <https://www.tencentcloud.com/document/product/1047/34385>,
//! <https://github.com/tencentyun/tls-sig-api-v2-python>.
//!
//! A signature opens the whole application, so it lives in a [`SecretString`] from birth on.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;

use super::error::NotSigned;
use crate::domain::Account;

/// The key of one application, as the console shows it.
#[derive(Debug, Clone)]
pub struct UserSigKey {
    sdk_app_id: u64,
    key: SecretString,
}

/// The claims, in the order they are written. The HMAC comes last, so that a signature cut short
/// somewhere proves nothing.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "TLS.ver")]
    version: &'static str,
    #[serde(rename = "TLS.identifier")]
    identifier: &'a str,
    #[serde(rename = "TLS.sdkappid")]
    sdk_app_id: u64,
    #[serde(rename = "TLS.expire")]
    expire: u64,
    #[serde(rename = "TLS.time")]
    time: i64,
    #[serde(rename = "TLS.sig")]
    sig: &'a str,
}

impl UserSigKey {
    /// Takes the application's id and its key.
    pub fn new(sdk_app_id: u64, key: SecretString) -> Self {
        Self { sdk_app_id, key }
    }

    /// Signs for `account`, valid from `now` for `ttl` (whole seconds count).
    pub fn sign(
        &self,
        account: &Account,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> Result<SecretString, NotSigned> {
        let (identifier, sdk_app_id) = (account.as_str(), self.sdk_app_id);
        let (time, expire) = (now.timestamp(), ttl.as_secs());
        // An account has no line breaks, so no value can pass for a line of its own.
        let signed = format!(
            "TLS.identifier:{identifier}\nTLS.sdkappid:{sdk_app_id}\n\
             TLS.time:{time}\nTLS.expire:{expire}\n"
        );
        let sig = STANDARD.encode(self.mac(signed.as_bytes())?);
        let claims = Claims {
            version: "2.0",
            identifier,
            sdk_app_id,
            expire,
            time,
            sig: &sig,
        };
        encode(&claims).map_err(|error| NotSigned(error.to_string()))
    }

    fn mac(&self, signed: &[u8]) -> Result<impl AsRef<[u8]>, NotSigned> {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes());
        let mut mac = mac.map_err(|error| NotSigned(error.to_string()))?;
        mac.update(signed);
        Ok(mac.finalize().into_bytes())
    }
}

fn encode(claims: &Claims<'_>) -> std::io::Result<SecretString> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&serde_json::to_vec(claims)?)?;
    let base64 = STANDARD.encode(zlib.finish()?);
    let in_url: String = base64.chars().map(letter_in_url).collect();
    Ok(in_url.into())
}

/// Tencent's Base64 alphabet for URLs, which is not that of RFC 4648.
fn letter_in_url(letter: char) -> char {
    match letter {
        '+' => '*',
        '/' => '-',
        '=' => '_',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// The sample key that Tencent publishes in the README of its signature libraries.
    const SAMPLE_KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
    /// What the Python library makes of it for the values of the test below.
    const FROM_PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkElNyM-Myi0uKEkvyi2\
        BKilOyEwsKMlOACgxNDKAAKpdaUZBZlAqUsTAzgQuWZOaChAzN0RQXZ6aDLKn0cUzVLjcPD00NLS1MCrPM0A*\
        JMLcoNTLMD3HP1M60jCowLDUOKMiLNDOwVaoFAD4PNPI_";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn key() -> UserSigKey {
        UserSigKey::new(1_400_000_000, SAMPLE_KEY.into())
    }

    fn admin() -> Account {
        Account::parse("administrator").unwrap()
    }

    fn decode(sig: &str) -> serde_json::Value {
        let base64 = sig.replace('*', "+").replace('-', "/").replace('_', "=");
        let zlib = STANDARD.decode(base64).unwrap();
        let mut json = String::new();
        let mut decoder = flate2::read::ZlibDecoder::new(&zlib[..]);
        decoder.read_to_string(&mut json).unwrap();
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_user_sig_says_what_tencents_own_library_says() {
        let day = Duration::from_secs(86_400);
        let sig = key().sign(&admin(), day, at(1_700_000_000)).unwrap();
        let claims = decode(sig.expose_secret());
        assert_eq!(claims, decode(FROM_PYTHON));
        assert_eq!(
            claims["TLS.sig"],
            "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60="
        );
    }

    #[test]
    fn a_user_sig_stands_in_a_url_as_it_is() {
        for second in 0..200 {
            let sig = key()
                .sign(&admin(), Duration::from_secs(60), at(second))
                .unwrap();
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"*-_".contains(&byte);
            assert!(sig.expose_secret().bytes().all(fits));
        }
    }
}
