//! When a fault strikes: always, a number of times, or by seeded chance.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Decides for each match of a fault whether it strikes.
#[derive(Debug)]
pub(super) struct Trigger {
    left: Option<u64>,
    chance: Option<(f64, StdRng)>,
}

impl Trigger {
    /// Strikes at most `count` times, each time with chance `fraction`; the same `seed` gives the
    /// same sequence. Says what is wrong with the values.
    pub(super) fn new(
        count: Option<u64>,
        fraction: Option<f64>,
        seed: u64,
    ) -> Result<Self, String> {
        if count == Some(0) {
            return Err("`count` is at least 1; leave it out for every time".to_owned());
        }
        if fraction.is_some_and(|fraction| !(0.0..=1.0).contains(&fraction)) {
            return Err("`fraction` is from 0 to 1".to_owned());
        }
        let chance = fraction.map(|fraction| (fraction, StdRng::seed_from_u64(seed)));
        Ok(Self {
            left: count,
            chance,
        })
    }

    /// Whether the fault strikes at this match.
    pub(super) fn strikes(&mut self) -> bool {
        if self.is_spent() {
            return false;
        }
        let strikes = match &mut self.chance {
            Some((fraction, random)) => random.random_bool(*fraction),
            None => true,
        };
        if strikes && let Some(left) = &mut self.left {
            *left -= 1;
        }
        strikes
    }

    /// Whether it will never strike again.
    pub(super) fn is_spent(&self) -> bool {
        self.left == Some(0)
    }

    /// How often it may still strike, if that is limited.
    pub(super) fn left(&self) -> Option<u64> {
        self.left
    }
}
