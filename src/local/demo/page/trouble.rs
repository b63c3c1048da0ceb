//! What a visitor can make go wrong between the service and Chat.

use serde::{Deserialize, Serialize};

use crate::local::simulator::client::Result;
use crate::local::simulator::{CallbackEffect, CallbackFault, Effect, Fault, FaultList, Simulated};

/// How long a slow Chat thinks, in milliseconds; below the service's patience with a call.
const SLOW: u64 = 3_000;
/// Calls come too fast: <https://www.tencentcloud.com/document/product/1047/34348>.
const TOO_FAST: i64 = 60007;
/// The plan of the application has ended:
/// <https://www.tencentcloud.com/document/product/1047/34348>.
const PLAN_ENDED: i64 = 60020;

/// A state of the simulated Chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    /// All is well.
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
    /// Something that was not ordered here.
    Other,
}

/// What it takes to make it so.
enum Cause {
    Calls(Effect),
    Callbacks(CallbackEffect),
}

impl Trouble {
    const ORDERED: [Self; 5] = [
        Self::TooFast,
        Self::PlanEnded,
        Self::BadGateway,
        Self::Slow,
        Self::Silent,
    ];

    fn cause(self) -> Option<Cause> {
        Some(match self {
            Self::None | Self::Other => return None,
            Self::TooFast => Cause::Calls(Effect::ErrorCode(TOO_FAST)),
            Self::PlanEnded => Cause::Calls(Effect::ErrorCode(PLAN_ENDED)),
            Self::BadGateway => Cause::Calls(Effect::HttpStatus(502)),
            Self::Slow => Cause::Calls(Effect::DelayMs(SLOW)),
            Self::Silent => Cause::Callbacks(CallbackEffect::Lose),
        })
    }

    /// Mends everything, then makes this go wrong.
    pub(super) async fn bring(self, chat: &Simulated) -> Result<()> {
        chat.clear_all().await?;
        let _number = match self.cause() {
            Some(Cause::Calls(effect)) => chat.inject(&Fault::new(effect)).await?,
            Some(Cause::Callbacks(effect)) => {
                chat.inject_callback(&CallbackFault::new(effect)).await?
            }
            None => return Ok(()),
        };
        Ok(())
    }

    /// What is the matter, by the faults in force.
    pub(super) fn of(faults: &FaultList) -> Self {
        let calls: Vec<&Fault> = faults.calls.values().collect();
        let callbacks: Vec<&CallbackFault> = faults.callbacks.values().collect();
        if calls.is_empty() && callbacks.is_empty() {
            return Self::None;
        }
        let is_it = |trouble: &Self| match trouble.cause() {
            Some(Cause::Calls(effect)) => callbacks.is_empty() && calls == [&Fault::new(effect)],
            Some(Cause::Callbacks(effect)) => {
                calls.is_empty() && callbacks == [&CallbackFault::new(effect)]
            }
            None => false,
        };
        Self::ORDERED.into_iter().find(is_it).unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_another_hand_is_told_from_those_that_can_be_ordered() {
        let mut faults = FaultList::default();
        assert_eq!(Trouble::of(&faults), Trouble::None);
        faults.calls.insert(1, Fault::new(Effect::ErrorCode(60007)));
        assert_eq!(Trouble::of(&faults), Trouble::TooFast);
        let lost = CallbackFault::new(CallbackEffect::Lose);
        faults.callbacks.insert(2, lost);
        assert_eq!(Trouble::of(&faults), Trouble::Other);
        faults.calls.clear();
        assert_eq!(Trouble::of(&faults), Trouble::Silent);
    }
}
