//! From Chat's answers to what is written down for each member.

use std::collections::HashSet;
use std::time::Duration;

use rand::Rng;

use super::plan::MemberPlan;
use crate::chat::{ChatError, ErrorClass};
use crate::domain::Account;
use crate::members::{ClaimedMember, Outcome, Presence};

/// Delays after which a member whom Chat left out is tried again. Chat's own view lags behind an
/// arrival; its lists by up to 40 s. Source: <https://cloud.tencent.com/document/product/269/77266>.
const OMITTED_RETRIES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// Failed calls after which a member is given up until an event or a person asks: about 20 minutes.
const MOST_ATTEMPTS: i32 = 12;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// What a call brought.
#[derive(Debug)]
pub(super) enum Reply {
    /// The members whom the answer names.
    Confirmed(HashSet<Account>),
    /// No use.
    Failed(ChatError),
}

/// What is written down for a member who was in these calls (first the delete, then the set; a call
/// that did not concern him is missing).
pub(super) fn outcome(
    member: &ClaimedMember,
    plan: MemberPlan,
    replies: &[&Reply],
    rng: &mut impl Rng,
) -> Outcome {
    let mut omitted = false;
    for reply in replies {
        match reply {
            Reply::Failed(error) if nobody_online(error) => omitted = true,
            Reply::Failed(error) => return failed(member, error, rng),
            Reply::Confirmed(named) => omitted |= !named.contains(&member.account),
        }
    }
    match (replies.is_empty(), omitted, plan.named) {
        (_, _, false) => Outcome::Forgotten,
        (true, _, true) => Outcome::Idle { next: plan.next },
        (false, true, true) => Outcome::Omitted {
            retry: omitted_retry(member, rng),
        },
        (false, false, true) => Outcome::Confirmed {
            marks: plan.desired,
            next: plan.next,
        },
    }
}

/// What Chat answers when nobody in a call is online is not documented; these codes may mean it.
pub(super) fn nobody_online(error: &ChatError) -> bool {
    error
        .code()
        .is_some_and(|code| code.may_mean_nobody_online())
}

/// A member of whom only a doubtful leave is known is not looked for again; all others are, since
/// Chat may simply not know yet that they came.
fn omitted_retry(member: &ClaimedMember, rng: &mut impl Rng) -> Option<Duration> {
    if member.presence == Presence::Absent {
        return None;
    }
    let tries = usize::try_from(member.omissions).unwrap_or(usize::MAX);
    OMITTED_RETRIES
        .get(tries)
        .map(|delay| delay.mul_f64(rng.random_range(0.95..1.05)))
}

fn failed(member: &ClaimedMember, error: &ChatError, rng: &mut impl Rng) -> Outcome {
    let (retry, counts) = match error.class() {
        // Not the member's doing: the worker itself slows down or pauses.
        ErrorClass::SlowDown | ErrorClass::Configuration | ErrorClass::NewSignature => (
            Some(FIRST_BACKOFF.mul_f64(rng.random_range(0.5..1.5))),
            false,
        ),
        _ if member.attempts + 1 >= MOST_ATTEMPTS => (None, true),
        _ => (Some(backoff(member.attempts, rng)), true),
    };
    let in_doubt = error.in_doubt() || member.in_doubt;
    Outcome::Failed {
        error: error.to_string(),
        retry,
        counts,
        in_doubt,
    }
}

/// Doubling with each attempt, capped, and spread over the upper half so that many members who
/// failed together do not come back together.
fn backoff(attempts: i32, rng: &mut impl Rng) -> Duration {
    let doublings = attempts.clamp(0, 16).unsigned_abs();
    let full = (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF);
    full.mul_f64(rng.random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ErrorCode;
    use crate::domain::{Mark, MarkSet};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn alice() -> ClaimedMember {
        ClaimedMember {
            account: Account::parse("alice").unwrap(),
            presence: Presence::Present,
            marks: MarkSet::new(),
            confirmed_at: None,
            revoked: MarkSet::new(),
            in_doubt: false,
            generation: 1,
            omissions: 0,
            attempts: 0,
        }
    }

    fn named() -> MemberPlan {
        let desired = MarkSet::from([Mark::parse(1000).unwrap()]);
        MemberPlan {
            set: desired.clone(),
            desired,
            named: true,
            ..MemberPlan::default()
        }
    }

    fn outcome_of(member: &ClaimedMember, reply: &Reply) -> Outcome {
        outcome(member, named(), &[reply], &mut StdRng::seed_from_u64(1))
    }

    fn refused(code: i64) -> Reply {
        Reply::Failed(ChatError::Refused {
            code: ErrorCode::new(code),
            info: String::new(),
        })
    }

    #[test]
    fn only_a_member_whom_the_answer_names_is_confirmed() {
        let both = Reply::Confirmed(HashSet::from([alice().account]));
        assert!(matches!(
            outcome_of(&alice(), &both),
            Outcome::Confirmed { .. }
        ));
        let nobody = Reply::Confirmed(HashSet::new());
        assert!(matches!(
            outcome_of(&alice(), &nobody),
            Outcome::Omitted { retry: Some(_) }
        ));
    }

    #[test]
    fn an_omitted_member_is_tried_after_2_10_and_30_seconds_and_then_parked() {
        let nobody = Reply::Confirmed(HashSet::new());
        for (omissions, seconds) in [(0, 2.0), (1, 10.0), (2, 30.0)] {
            let member = ClaimedMember {
                omissions,
                ..alice()
            };
            let Outcome::Omitted { retry: Some(delay) } = outcome_of(&member, &nobody) else {
                panic!("no retry after {omissions} omissions");
            };
            assert!((delay.as_secs_f64() / seconds - 1.0).abs() <= 0.05);
        }
        let tried = ClaimedMember {
            omissions: 3,
            ..alice()
        };
        assert_eq!(
            outcome_of(&tried, &nobody),
            Outcome::Omitted { retry: None }
        );
    }

    #[test]
    fn a_call_in_which_nobody_was_online_is_no_failure() {
        assert!(matches!(
            outcome_of(&alice(), &refused(10004)),
            Outcome::Omitted { .. }
        ));
    }

    #[test]
    fn failures_back_off_and_end() {
        let timeout = Reply::Failed(ChatError::Timeout);
        let first = outcome_of(&alice(), &timeout);
        assert!(matches!(
            first,
            Outcome::Failed {
                retry: Some(_),
                counts: true,
                in_doubt: true,
                ..
            }
        ));
        let worn = ClaimedMember {
            attempts: MOST_ATTEMPTS - 1,
            ..alice()
        };
        assert!(matches!(
            outcome_of(&worn, &timeout),
            Outcome::Failed { retry: None, .. }
        ));
    }

    #[test]
    fn what_a_human_must_mend_never_uses_up_a_members_attempts() {
        let worn = ClaimedMember {
            attempts: MOST_ATTEMPTS,
            ..alice()
        };
        let outcome = outcome_of(&worn, &refused(60020));
        assert!(matches!(
            outcome,
            Outcome::Failed {
                retry: Some(_),
                counts: false,
                ..
            }
        ));
    }

    #[test]
    fn backoff_grows_to_its_cap() {
        let mut rng = StdRng::seed_from_u64(7);
        for attempts in 0..40 {
            let delay = backoff(attempts, &mut rng);
            assert!(delay >= FIRST_BACKOFF / 2 && delay <= LONGEST_BACKOFF);
        }
        assert!(backoff(0, &mut rng) <= FIRST_BACKOFF);
    }
}
