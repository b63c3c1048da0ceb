//! From Chat's answers to what is written back for each member.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::call::{Verdict, may_mean_all_offline};
use super::plan::{MemberPlan, no_place};
use crate::chat::{ChatError, ErrorClass, Reach};
use crate::domain::MarkSet;
use crate::members::{Member, Outcome, Presence};

/// Delays after which a member that Chat left out is tried again. Chat's own view lags behind an
/// arrival; its lists by up to 40 s. Source: <https://cloud.tencent.com/document/product/269/77266>.
const LEFT_OUT_RETRIES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// Tries after which a member has failed until an event or a person asks: about 20 minutes.
const MOST_TRIES: i32 = 12;
/// So many count while no call at all succeeds. That is a fault of Chat or of the way there, and no
/// member fails because of it, however long it takes; they are tried about once a minute.
const TRIES_WITHOUT_CHAT: i32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// A member that waits for a place is tried again after this.
const WAITING_RETRY: Duration = Duration::from_secs(60);

/// What holds for all members of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    /// A number between 0 and 1: where in its range every delay lies. One draw for all members, so that
    /// those who shared a call share the next one too, while rooms that failed together come back apart.
    pub drawn: f64,
    /// Whether some call to Chat succeeded lately.
    pub chat_works: bool,
}

impl Circumstances {
    fn spread(self, delay: Duration, least: f64, most: f64) -> Duration {
        delay.mul_f64(least + (most - least) * self.drawn)
    }
}

/// What is written back for a member with these verdicts (first of the delete, then of the set; a
/// command without the member is missing) and without a place for some marks.
///
/// The last verdict counts: Chat may leave a member out of a delete, or refuse it, who does not carry these
/// marks. If they do, the sweep finds them.
pub(super) fn outcome(
    member: &Member,
    plan: MemberPlan,
    mut waits_for: MarkSet,
    verdicts: &[&Verdict],
    round: Circumstances,
) -> Outcome {
    let verdict = verdicts.last();
    match verdict {
        Some(Verdict::Failed { error, counts }) => return failed(member, error, *counts, round),
        Some(Verdict::Rejected(error)) if !may_mean_all_offline(error) => {
            return Outcome::Failed {
                error: format!(
                    "Chat accepts the other members of a call, but not this one: {error}"
                ),
                retry: None,
                counts: true,
                in_doubt: member.in_doubt,
            };
        }
        // No rule matches the member any more. A sweep deletes the row.
        Some(Verdict::Rejected(_) | Verdict::LeftOut { .. } | Verdict::Partly(_))
            if !plan.named =>
        {
            return Outcome::LeftOut { retry: None };
        }
        // Perhaps Chat does not see the member yet.
        Some(Verdict::Rejected(error)) => return failed(member, error, true, round),
        Some(Verdict::LeftOut { in_room }) => {
            return left_out(member, plan, waits_for, *in_room == Some(true), round);
        }
        Some(Verdict::Partly(missing)) => {
            // What an earlier answer named stays confirmed.
            let mut lacking = match member.in_doubt {
                true => missing.clone(),
                false => missing - &member.marks,
            };
            if !lacking.is_empty() {
                let reason =
                    "Chat confirms only some of the marks; perhaps 1000 members carry the others";
                let marks = &plan.desired - &lacking;
                waits_for.append(&mut lacking);
                return waiting(Some(marks), waits_for, Some(reason), round);
            }
        }
        Some(Verdict::Confirmed) | None => {}
    }
    match verdict {
        _ if !waits_for.is_empty() => {
            waiting(verdict.map(|_| plan.desired), waits_for, None, round)
        }
        None => Outcome::Idle,
        Some(_) => Outcome::Confirmed {
            marks: plan.desired,
        },
    }
}

/// True for a member who was tried as often as one who is not found is tried.
pub(super) fn is_last_try(member: &Member) -> bool {
    member.presence != Presence::Absent
        && usize::try_from(member.tries).is_ok_and(|tries| tries >= LEFT_OUT_RETRIES.len())
}

/// Tried again a few times. After that the member counts as absent, unless Chat says that they are in
/// the room. Then they do not carry what was to be deleted; or something keeps the marks from them, most
/// likely members that we do not know.
fn left_out(
    member: &Member,
    plan: MemberPlan,
    waits_for: MarkSet,
    in_room: bool,
    round: Circumstances,
) -> Outcome {
    if !(in_room && is_last_try(member)) {
        return Outcome::LeftOut {
            retry: left_out_retry(member, round),
        };
    }
    if plan.set.is_empty() && waits_for.is_empty() {
        return Outcome::Confirmed {
            marks: plan.desired,
        };
    }
    let reason = "Chat leaves the member out although they are in the room; perhaps 1000 members carry \
                  the mark already";
    waiting(None, waits_for, Some(reason), round)
}

fn waiting(
    marks: Option<MarkSet>,
    waits_for: MarkSet,
    reason: Option<&str>,
    round: Circumstances,
) -> Outcome {
    Outcome::Waiting {
        marks,
        reason: reason.map_or_else(|| no_place(&waits_for), str::to_owned),
        waits_for,
        retry: round.spread(WAITING_RETRY, 0.9, 1.1),
    }
}

/// A member with only a doubtful leave is not tried again; all others are, since Chat may
/// not know yet that they came.
fn left_out_retry(member: &Member, round: Circumstances) -> Option<Duration> {
    if member.presence == Presence::Absent {
        return None;
    }
    let tries = usize::try_from(member.tries).unwrap_or(usize::MAX);
    let delay = LEFT_OUT_RETRIES.get(tries)?;
    Some(round.spread(*delay, 0.95, 1.05))
}

fn failed(member: &Member, error: &ChatError, counts: bool, round: Circumstances) -> Outcome {
    // Not about the member: the worker itself slows down or pauses.
    let counts = counts && error.reach() != Reach::App && error.class() != ErrorClass::SlowDown;
    let (retry, counts) = match member.tries {
        _ if !counts => (Some(round.spread(FIRST_BACKOFF, 0.5, 1.5)), false),
        tries if !round.chat_works => (
            Some(backoff(tries.min(TRIES_WITHOUT_CHAT), round)),
            tries < TRIES_WITHOUT_CHAT,
        ),
        tries if tries >= MOST_TRIES - 1 => (None, true),
        tries => (Some(backoff(tries, round)), true),
    };
    Outcome::Failed {
        error: error.to_string(),
        retry,
        counts,
        in_doubt: error.in_doubt() || member.in_doubt,
    }
}

/// Doubling with each try, capped, and spread over the upper half.
fn backoff(tries: i32, round: Circumstances) -> Duration {
    let doublings = tries.clamp(0, 16).unsigned_abs();
    let full = (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF);
    round.spread(full, 0.5, 1.0)
}
