//! Sessions of the console: a cookie in place of the bearer token, so that the secret never stays
//! in a browser.
//!
//! The cookie names the token and the hour at which it ends, sealed with a key made from the
//! token's secret. Nothing is kept: every replica that knows the token takes the cookie, and a
//! token that is removed or gets another secret ends its sessions. Browsers send cookies unasked,
//! so a write by cookie must show that a page of this very origin makes it. Signing out takes the
//! cookie from the browser; a copy of it would hold until its hour.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, header};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a session lasts.
const LASTS: TimeDelta = TimeDelta::hours(12);
/// Of a cookie that came over TLS, which browsers keep from all other hosts and from plain HTTP:
/// <https://www.rfc-editor.org/rfc/rfc6265>, and the prefix in its successor,
/// <https://datatracker.ietf.org/doc/draft-ietf-httpbis-rfc6265bis/>.
const SECURE_NAME: &str = "__Host-stickymark";
/// Of a cookie over plain HTTP, as on loopback.
const PLAIN_NAME: &str = "stickymark";
/// No form and no link of another site can send it.
const PAGE_HEADER: HeaderName = HeaderName::from_static("x-stickymark-console");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Separates these seals from whatever else may once be made with the same key.
const PURPOSE: &[u8] = b"stickymark console session 1\n";

/// A sealed claim: the token of this name, until this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The name of the token.
    pub name: String,
    /// The first moment at which it holds no more.
    pub ends_at: DateTime<Utc>,
    seal: Vec<u8>,
}

impl Session {
    /// A session that begins now, for the token of this name and digest.
    pub fn begin(name: &str, digest: &[u8; 32], now: DateTime<Utc>) -> Self {
        // Whole seconds, as they stand in the cookie.
        let ends_at = DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now) + LASTS;
        let seal = sealing(name, ends_at, digest).map(|mac| mac.finalize().into_bytes().to_vec());
        Self {
            name: name.to_owned(),
            ends_at,
            seal: seal.unwrap_or_default(),
        }
    }

    /// The sessions that a request brings; whether any of them holds is for [`Self::holds`] to say.
    pub fn of(headers: &HeaderMap) -> impl Iterator<Item = Self> {
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        pairs.filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            [SECURE_NAME, PLAIN_NAME]
                .contains(&name)
                .then(|| Self::read(value))
                .flatten()
        })
    }

    /// `name:seconds:seal`.
    fn read(value: &str) -> Option<Self> {
        let (name, rest) = value.split_once(':')?;
        let (seconds, seal) = rest.split_once(':')?;
        Some(Self {
            name: name.to_owned(),
            ends_at: DateTime::from_timestamp(seconds.parse().ok()?, 0)?,
            seal: hex::decode(seal).ok()?,
        })
    }

    /// Whether the token of this digest sealed it, and it has not ended. The seal is compared in
    /// constant time.
    pub fn holds(&self, digest: &[u8; 32], now: DateTime<Utc>) -> bool {
        now < self.ends_at
            && sealing(&self.name, self.ends_at, digest)
                .is_some_and(|mac| mac.verify_slice(&self.seal).is_ok())
    }

    /// The header `Set-Cookie` that gives it to the browser which sent these headers.
    pub fn cookie(&self, headers: &HeaderMap) -> String {
        let (name, ends) = (&self.name, self.ends_at.timestamp());
        let value = format!("{name}:{ends}:{}", hex::encode(&self.seal));
        set_cookie(headers, &value, LASTS.num_seconds())
    }
}

/// The header `Set-Cookie` that ends the session of the browser which sent these headers.
pub fn forget(headers: &HeaderMap) -> String {
    set_cookie(headers, "", 0)
}

fn set_cookie(headers: &HeaderMap, value: &str, seconds: i64) -> String {
    let proto = text(headers, &FORWARDED_PROTO).unwrap_or_default();
    // A chain of proxies lists the protocol of the browser first.
    let first = proto.split(',').next().unwrap_or_default().trim();
    let (name, secure) = match first.eq_ignore_ascii_case("https") {
        true => (SECURE_NAME, "; Secure"),
        false => (PLAIN_NAME, ""),
    };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn sealing(name: &str, ends_at: DateTime<Utc>, digest: &[u8; 32]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(digest).ok()?;
    mac.update(PURPOSE);
    mac.update(format!("{name}\n{}", ends_at.timestamp()).as_bytes());
    Some(mac)
}

/// Whether a page of the console itself sends this request: it says so in a header that other
/// sites cannot send unasked, and the browser does not say otherwise.
pub fn is_own_page(headers: &HeaderMap) -> bool {
    if text(headers, &PAGE_HEADER) != Some("1") {
        return false;
    }
    if let Some(site) = headers.get(&FETCH_SITE) {
        return site == "same-origin";
    }
    // Browsers leave Sec-Fetch-Site out over plain HTTP, but never the origin of a write.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let hosts = [text(headers, &header::HOST), text(headers, &FORWARDED_HOST)];
    !host.is_empty() && hosts.contains(&Some(host))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// How many wrong secrets may be tried: so many at once, then one in two seconds, in one replica.
/// Sessions that exist and bearer tokens are not concerned.
#[derive(Debug)]
pub struct Guesses(Mutex<(f64, Instant)>);

const GUESSES_AT_ONCE: f64 = 10.0;
const GUESSES_PER_SECOND: f64 = 0.5;

impl Default for Guesses {
    fn default() -> Self {
        Self(Mutex::new((GUESSES_AT_ONCE, Instant::now())))
    }
}

impl Guesses {
    /// Tries; `None` if too many tries failed of late. Only failures count.
    pub fn attempt<T>(
        &self,
        now: Instant,
        attempt: impl FnOnce() -> Option<T>,
    ) -> Option<Option<T>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *state;
        let passed: Duration = now.saturating_duration_since(at);
        let left = (left + passed.as_secs_f64() * GUESSES_PER_SECOND).min(GUESSES_AT_ONCE);
        *state = (left, now);
        if left < 1.0 {
            return None;
        }
        let found = attempt();
        if found.is_none() {
            state.0 -= 1.0;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        };
        pairs.iter().map(pair).collect()
    }

    fn noon() -> DateTime<Utc> {
        "2026-01-01T12:00:00.7Z".parse().unwrap()
    }

    #[test]
    fn a_session_comes_back_from_its_cookie_and_ends_in_time() {
        let begun = Session::begin("eve", &[7; 32], noon());
        let cookie = begun.cookie(&HeaderMap::new());
        let pair = cookie.split(';').next().unwrap();
        let sent = headers(&[("cookie", &format!("theme=dark; {pair}"))]);
        let read: Vec<Session> = Session::of(&sent).collect();
        assert_eq!(read, [begun]);
        assert!(read[0].holds(&[7; 32], noon()));
        assert!(!read[0].holds(&[8; 32], noon()), "another secret");
        let end = read[0].ends_at;
        assert!(read[0].holds(&[7; 32], end - TimeDelta::seconds(1)));
        assert!(!read[0].holds(&[7; 32], end));
    }

    #[test]
    fn nothing_in_a_session_can_be_changed() {
        let begun = Session::begin("eve", &[7; 32], noon());
        let longer = Session {
            ends_at: begun.ends_at + TimeDelta::seconds(1),
            ..begun.clone()
        };
        let other = Session {
            name: "adam".to_owned(),
            ..begun.clone()
        };
        let cut = Session {
            seal: begun.seal[..31].to_vec(),
            ..begun
        };
        for wrong in [longer, other, cut] {
            assert!(!wrong.holds(&[7; 32], noon()), "{wrong:?}");
        }
        for wild in [
            "",
            ":",
            "eve::",
            "eve:x:00",
            "eve:99999999999999999:00",
            "eve:1:zz",
        ] {
            assert_eq!(Session::read(wild), None, "{wild}");
        }
    }

    #[test]
    fn over_tls_the_cookie_is_bound_to_tls_and_host() {
        let session = Session::begin("eve", &[7; 32], noon());
        let plain = session.cookie(&HeaderMap::new());
        assert!(plain.starts_with("stickymark=eve:") && !plain.contains("Secure"));
        let tls = session.cookie(&headers(&[("x-forwarded-proto", "https, http")]));
        assert!(tls.starts_with("__Host-stickymark=") && tls.ends_with("; Secure"));
        for cookie in [plain, tls] {
            assert!(cookie.contains("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
        }
    }

    #[test]
    fn only_a_page_of_this_origin_may_write() {
        let own = |more: &[(&'static str, &str)]| {
            let mut all = vec![("x-stickymark-console", "1"), ("host", "marks.test:81")];
            all.extend_from_slice(more);
            is_own_page(&headers(&all))
        };
        assert!(own(&[]));
        assert!(own(&[("origin", "http://marks.test:81")]));
        assert!(own(&[
            ("origin", "https://out.test"),
            ("x-forwarded-host", "out.test")
        ]));
        assert!(own(&[
            ("origin", "https://out.test"),
            ("sec-fetch-site", "same-origin")
        ]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!own(&[("sec-fetch-site", site)]), "{site}");
        }
        for origin in [
            "http://evil.test",
            "null",
            "http://",
            "http://marks.test",
            "marks.test:81",
        ] {
            assert!(!own(&[("origin", origin)]), "{origin}");
        }
        assert!(!is_own_page(&headers(&[("host", "marks.test:81")])));
    }

    #[test]
    fn wrong_guesses_are_slowed_down_and_right_ones_cost_nothing() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(guesses.attempt(start, || Some(1)), Some(Some(1)));
        }
        for _ in 0..10 {
            assert_eq!(guesses.attempt(start, || None::<u8>), Some(None));
        }
        assert_eq!(guesses.attempt(start, || Some(1)), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(guesses.attempt(later, || None::<u8>), Some(None));
        assert_eq!(guesses.attempt(later, || Some(1)), None);
    }
}
