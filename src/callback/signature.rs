//! The proof that a callback comes from Chat.
//!
//! `Sign` is the SHA-256 of a token from the console and `RequestTime` as it stands in the URL. It
//! covers neither body nor path, so whoever sees one URL can post anything until its time is over:
//! hence the window, in both directions.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>; the minute is what
//! <https://www.tencentcloud.com/document/product/1047/64412> advises for a sibling product.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The tokens that sign callbacks (several during a rotation) and how old a callback may be.
#[derive(Debug, Clone)]
pub struct Signatures {
    tokens: Vec<SecretString>,
    max_age: Duration,
}

/// Why a callback does not prove its origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// A key of the query is not there.
    #[error("{0} is missing in the URL; switch on callback authentication in the console")]
    Missing(&'static str),
    /// No token gives this signature.
    #[error("Sign was not made with a token of this service")]
    WrongSign,
    /// Not Unix seconds.
    #[error("RequestTime must be Unix seconds")]
    NoTime,
    /// Too old or too far ahead.
    #[error("RequestTime is {distance} s away from now; at most {allowed} s are allowed")]
    Stale {
        /// Seconds between it and now.
        distance: u64,
        /// Seconds allowed.
        allowed: u64,
    },
}

impl Signatures {
    /// Without tokens every callback passes.
    pub fn new(tokens: Vec<SecretString>, max_age: Duration) -> Self {
        Self { tokens, max_age }
    }

    /// Checks `Sign` and `RequestTime` as they stand in the URL.
    pub fn check(
        &self,
        sign: Option<&str>,
        request_time: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), NotSigned> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let sign = sign.ok_or(NotSigned::Missing("Sign"))?;
        let request_time = request_time.ok_or(NotSigned::Missing("RequestTime"))?;
        if !self.any_token_gives(sign, request_time) {
            return Err(NotSigned::WrongSign);
        }
        let seconds: i64 = request_time.parse().map_err(|_| NotSigned::NoTime)?;
        let (distance, allowed) = (now.timestamp().abs_diff(seconds), self.max_age.as_secs());
        if distance > allowed {
            return Err(NotSigned::Stale { distance, allowed });
        }
        Ok(())
    }

    /// Takes as long for a wrong signature as for a right one, whichever token it is.
    fn any_token_gives(&self, sign: &str, request_time: &str) -> bool {
        let mut given = [0; 32];
        if hex::decode_to_slice(sign, &mut given).is_err() {
            return false;
        }
        let fits = self.tokens.iter().fold(Choice::from(0), |fits, token| {
            let hash = Sha256::new()
                .chain_update(token.expose_secret())
                .chain_update(request_time);
            let expected: [u8; 32] = hash.finalize().into();
            fits | expected.ct_eq(&given)
        });
        fits.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Token, time and hash of the sample in Tencent's own page.
    const SIGN: &str = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";
    const TIME: &str = "1669872112";

    fn signatures(tokens: &[&str]) -> Signatures {
        let tokens = tokens
            .iter()
            .map(|token| SecretString::from(*token))
            .collect();
        Signatures::new(tokens, Duration::from_secs(60))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn the_sample_of_the_page_is_accepted() {
        let now = at(1_669_872_112);
        assert_eq!(
            signatures(&["xxxxyyyy"]).check(Some(SIGN), Some(TIME), now),
            Ok(())
        );
        let capitals = SIGN.to_uppercase();
        assert_eq!(
            signatures(&["xxxxyyyy"]).check(Some(&capitals), Some(TIME), now),
            Ok(())
        );
    }

    #[test]
    fn any_of_several_tokens_will_do() {
        let now = at(1_669_872_112);
        for tokens in [["xxxxyyyy", "new"], ["new", "xxxxyyyy"]] {
            assert_eq!(
                signatures(&tokens).check(Some(SIGN), Some(TIME), now),
                Ok(())
            );
        }
        let other = signatures(&["new", "newer"]).check(Some(SIGN), Some(TIME), now);
        assert_eq!(other, Err(NotSigned::WrongSign));
    }

    #[test]
    fn the_window_is_closed_on_both_sides() {
        let signatures = signatures(&["xxxxyyyy"]);
        let check = |now| signatures.check(Some(SIGN), Some(TIME), at(now));
        let stale = Err(NotSigned::Stale {
            distance: 61,
            allowed: 60,
        });
        assert_eq!(check(1_669_872_112 + 60), Ok(()));
        assert_eq!(check(1_669_872_112 - 60), Ok(()));
        assert_eq!(check(1_669_872_112 + 61), stale);
        assert_eq!(check(1_669_872_112 - 61), stale);
    }

    #[test]
    fn what_is_missing_is_named_unless_nothing_is_required() {
        let now = at(1_669_872_112);
        let signed = signatures(&["xxxxyyyy"]);
        assert_eq!(
            signed.check(None, Some(TIME), now),
            Err(NotSigned::Missing("Sign"))
        );
        assert_eq!(
            signed.check(Some(SIGN), None, now),
            Err(NotSigned::Missing("RequestTime"))
        );
        assert_eq!(signatures(&[]).check(None, None, now), Ok(()));
    }

    #[test]
    fn a_signed_time_that_is_no_time_is_refused() {
        let sign = hex::encode(Sha256::digest("xxxxyyyysoon"));
        let refused = signatures(&["xxxxyyyy"]).check(Some(&sign), Some("soon"), at(0));
        assert_eq!(refused, Err(NotSigned::NoTime));
    }

    proptest! {
        #[test]
        fn a_sign_made_without_the_token_is_refused(sign in any::<String>(), time in any::<String>()) {
            prop_assert!(signatures(&["secret"]).check(Some(&sign), Some(&time), at(0)).is_err());
        }

        #[test]
        fn only_the_right_sign_is_accepted(change in 0usize..64, by in 1u32..16) {
            let mut digits: Vec<u32> = SIGN.chars().filter_map(|digit| digit.to_digit(16)).collect();
            digits[change] = (digits[change] + by) % 16;
            let sign: String = digits.iter().filter_map(|n| char::from_digit(*n, 16)).collect();
            let refused = signatures(&["xxxxyyyy"]).check(Some(&sign), Some(TIME), at(1_669_872_112));
            prop_assert_eq!(refused, Err(NotSigned::WrongSign));
        }
    }
}
