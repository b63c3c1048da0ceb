//! The proof that a callback comes from Chat.
//!
//! `Sign` is the SHA-256 of a token from the console and `RequestTime` as written in the URL. It
//! covers neither body nor path, so a stranger who sees one URL can post anything until it expires:
//! hence the window, in both directions.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>; the minute is what
//! <https://www.tencentcloud.com/document/product/1047/64412> advises for a sibling product.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::answer::Refusal;

/// The tokens that sign callbacks (several during a rotation) and how old a callback may be.
#[derive(Debug, Clone)]
pub struct Signatures {
    tokens: Vec<SecretString>,
    max_age: Duration,
}

impl Signatures {
    /// Without tokens every callback passes.
    pub fn new(tokens: Vec<SecretString>, max_age: Duration) -> Self {
        Self { tokens, max_age }
    }

    /// Checks `Sign` and `RequestTime` as written in the URL.
    pub fn check(
        &self,
        sign: Option<&str>,
        request_time: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        if self.tokens.is_empty() {
            return Ok(());
        }
        let sign = sign.ok_or(Refusal::NotSigned("Sign"))?;
        let request_time = request_time.ok_or(Refusal::NotSigned("RequestTime"))?;
        if !self.any_token_gives(sign, request_time) {
            return Err(Refusal::WrongSign);
        }
        let seconds: i64 = request_time.parse().map_err(|_| Refusal::NoTime)?;
        let (distance, allowed) = (now.timestamp().abs_diff(seconds), self.max_age.as_secs());
        if distance > allowed {
            return Err(Refusal::Stale { distance, allowed });
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
