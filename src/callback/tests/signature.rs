//! Tokens, signatures and the window of `RequestTime`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::callback::answer::Refusal;
use crate::callback::signature::Signatures;

/// Token, time and hash of the sample in Tencent's own page.
const SIGN: &str = "17773bc39a671d7b9aa835458704d2a6db81360a5940292b587d6d760d484061";
const TIME: &str = "1669872112";

fn signatures() -> Signatures {
    Signatures::new(vec!["xxxxyyyy".into()], Duration::from_secs(60))
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn the_sample_of_the_page_is_accepted() {
    for sign in [SIGN, &SIGN.to_uppercase()] {
        let checked = signatures().check(Some(sign), Some(TIME), at(1_669_872_112));
        assert_eq!(checked, Ok(()));
    }
}

#[test]
fn a_signed_time_that_is_no_time_is_refused() {
    let sign = hex::encode(Sha256::digest("xxxxyyyysoon"));
    let refused = signatures().check(Some(&sign), Some("soon"), at(0));
    assert_eq!(refused, Err(Refusal::NoTime));
}

proptest! {
    #[test]
    fn only_the_right_sign_is_accepted(change in 0usize..64, by in 1u32..16) {
        let mut digits: Vec<u32> = SIGN.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits[change] = (digits[change] + by) % 16;
        let sign: String = digits.iter().filter_map(|n| char::from_digit(*n, 16)).collect();
        let refused = signatures().check(Some(&sign), Some(TIME), at(1_669_872_112));
        prop_assert_eq!(refused, Err(Refusal::WrongSign));
    }
}
