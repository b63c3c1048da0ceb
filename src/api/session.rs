//! Sessions of the console: a cookie in place of the bearer token, so that the secret never stays
//! in a browser.
//!
//! The cookie names the token and the time at which it expires, sealed with a key made from the
//! token's secret. Nothing is stored: every replica that has the token accepts the cookie, and a token
//! that is removed or gets another secret ends its sessions. Signing out deletes the cookie from the
//! browser; a copy of it stays valid until it expires.

use axum::http::{HeaderMap, header};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const LASTS: TimeDelta = TimeDelta::hours(12);
/// Of a page that came over TLS. Browsers keep such a cookie from all other hosts and from plain HTTP:
/// <https://datatracker.ietf.org/doc/draft-ietf-httpbis-rfc6265bis/>.
const SECURE_NAME: &str = "__Host-stickymark";
/// Of a page that came over plain HTTP.
const PLAIN_NAME: &str = "stickymark";
/// Separates these seals from all others that the same key may seal.
const PURPOSE: &[u8] = b"stickymark console session 2\n";

/// The header `Set-Cookie` that begins a session of the token of this name and digest. `secure`: the
/// page came over TLS; only the page knows, since a proxy may have ended it.
pub fn begin(name: &str, digest: &[u8; 32], secure: bool, now: DateTime<Utc>) -> String {
    let claim = format!("{name}:{}", (now + LASTS).timestamp());
    let seal = seal(&claim, digest).map(|seal| hex::encode(seal.finalize().into_bytes()));
    let value = format!("{claim}:{}", seal.unwrap_or_default());
    set_cookie(secure, &value, LASTS.num_seconds())
}

/// The headers `Set-Cookie` that end every session of a browser.
pub fn end() -> [String; 2] {
    [false, true].map(|secure| set_cookie(secure, "", 0))
}

fn set_cookie(secure: bool, value: &str, seconds: i64) -> String {
    let (name, secure) = match secure {
        true => (SECURE_NAME, "; Secure"),
        false => (PLAIN_NAME, ""),
    };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Whether a request brings a session of this token. The seal is compared in constant time.
pub fn is_of(headers: &HeaderMap, name: &str, digest: &[u8; 32], now: DateTime<Utc>) -> bool {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(cookie, _)| [SECURE_NAME, PLAIN_NAME].contains(cookie))
        .filter_map(|(_, value)| value.rsplit_once(':'))
        .any(|(claim, given)| {
            let Some((of, ends)) = claim.rsplit_once(':') else {
                return false;
            };
            of == name
                && ends.parse().is_ok_and(|ends: i64| now.timestamp() < ends)
                && hex::decode(given).is_ok_and(|given| {
                    seal(claim, digest).is_some_and(|seal| seal.verify_slice(&given).is_ok())
                })
        })
}

fn seal(claim: &str, digest: &[u8; 32]) -> Option<Hmac<Sha256>> {
    let mut seal = Hmac::<Sha256>::new_from_slice(digest).ok()?;
    seal.update(PURPOSE);
    seal.update(claim.as_bytes());
    Some(seal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_expires() {
        let (key, began) = ([7; 32], Utc::now());
        let cookie = begin("eve", &key, false, began);
        let pair = cookie.split(';').next().unwrap();
        let headers = HeaderMap::from_iter([(header::COOKIE, pair.parse().unwrap())]);
        let end = began + LASTS;
        assert!(is_of(&headers, "eve", &key, end - TimeDelta::seconds(1)));
        assert!(!is_of(&headers, "eve", &key, end));
    }
}
