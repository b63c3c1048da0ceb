//! What a visitor can make go wrong between the service and Chat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::local::simulator::{Effect, Fault, Result, Simulated};

/// How late a slow Chat answers, in milliseconds; below the service's time limit of a call.
const SLOW: u64 = 3_000;
/// Calls come too fast: <https://www.tencentcloud.com/document/product/1047/34348>.
const TOO_FAST: i64 = 60007;
/// The plan of the application has ended:
/// <https://www.tencentcloud.com/document/product/1047/34348>.
const PLAN_ENDED: i64 = 60020;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    None,
    /// Every call is answered with 60007.
    TooFast,
    /// Every call is answered with 60020.
    PlanEnded,
    /// Every call is answered with HTTP 502.
    BadGateway,
    /// Every answer comes late.
    Slow,
    /// No callback is sent.
    Silent,
    /// Faults that were not injected here.
    Other,
}

impl Trouble {
    const ORDERED: [Self; 5] = [
        Self::TooFast,
        Self::PlanEnded,
        Self::BadGateway,
        Self::Slow,
        Self::Silent,
    ];

    fn effect(self) -> Option<Effect> {
        Some(match self {
            Self::None | Self::Other => return None,
            Self::TooFast => Effect::ErrorCode(TOO_FAST),
            Self::PlanEnded => Effect::ErrorCode(PLAN_ENDED),
            Self::BadGateway => Effect::HttpStatus(502),
            Self::Slow => Effect::DelayMs(SLOW),
            Self::Silent => Effect::LoseCallback,
        })
    }

    /// Clears every fault, then injects this one.
    pub(super) async fn bring(self, chat: &Simulated) -> Result<()> {
        chat.clear_all().await?;
        if let Some(effect) = self.effect() {
            chat.inject(&Fault::new(effect)).await?;
        }
        Ok(())
    }

    /// What is wrong, by the faults in effect.
    pub(super) fn of(faults: &BTreeMap<u64, Fault>) -> Self {
        let faults: Vec<&Fault> = faults.values().collect();
        let is_it = |trouble: &Self| {
            let effect = trouble.effect();
            effect.is_some_and(|effect| faults == [&Fault::new(effect)])
        };
        match faults.is_empty() {
            true => Self::None,
            false => Self::ORDERED.into_iter().find(is_it).unwrap_or(Self::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_the_page_does_not_offer_is_shown_as_other() {
        let lost = Fault::new(Effect::LoseCallback);
        let too_fast = Fault::new(Effect::ErrorCode(60007));
        let of =
            |faults: &[&Fault]| Trouble::of(&(1..).zip(faults.iter().copied().cloned()).collect());
        assert_eq!(of(&[]), Trouble::None);
        assert_eq!(of(&[&too_fast]), Trouble::TooFast);
        assert_eq!(of(&[&lost]), Trouble::Silent);
        assert_eq!(of(&[&too_fast, &lost]), Trouble::Other);
        assert_eq!(of(&[&too_fast.clone().group("gala")]), Trouble::Other);
    }
}
