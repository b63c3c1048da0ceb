//! From Chat's answers to what is written back for each member.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::call::{Verdict, may_mean_all_offline};
use super::places::no_place;
use super::plan::MemberPlan;
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

/// Where in its range every delay of a round lies: one draw for all its members, so that those who
/// shared a call share the next one too, while rooms that failed together come back apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread(f64);

impl Spread {
    /// From a number between 0 and 1.
    pub(super) fn new(drawn: f64) -> Self {
        Self(drawn.clamp(0.0, 1.0))
    }

    fn between(self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.0
    }
}

/// What holds for all members of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub spread: Spread,
    /// Whether some call to Chat succeeded lately.
    pub chat_works: bool,
}

/// What is written back for a member with these verdicts (first of the delete, then of the set; a
/// command without the member is missing) and without a place for some marks.
pub(super) fn outcome(
    member: &Member,
    plan: MemberPlan,
    mut waits_for: MarkSet,
    verdicts: &[&Verdict],
    circumstances: Circumstances,
) -> Outcome {
    let spread = circumstances.spread;
    let (mut omitted, mut in_room, mut lacking) = (false, false, MarkSet::new());
    let mut unseen = None;
    for verdict in verdicts {
        match verdict {
            // The member is there, whatever a delete said before: Chat may leave a member out, or
            // refuse, who does not carry the marks to delete. If they do, the sweep finds them.
            Verdict::Confirmed => (omitted, in_room, unseen) = (false, false, None),
            Verdict::Partly(marks) => {
                (omitted, in_room, unseen) = (false, false, None);
                // What an earlier answer named stays confirmed.
                lacking = match member.in_doubt {
                    true => marks.clone(),
                    false => marks - &member.marks,
                };
            }
            Verdict::LeftOut { in_room: seen } => {
                (omitted, in_room) = (true, in_room || *seen == Some(true));
            }
            Verdict::Unseen(error) => unseen = Some(error),
            // Perhaps Chat does not see the member yet.
            Verdict::Rejected(error) if may_mean_all_offline(error) => {
                return failed(member, error, refusal(error), true, circumstances);
            }
            Verdict::Rejected(error) => {
                return Outcome::Failed {
                    error: refusal(error),
                    retry: None,
                    counts: true,
                    in_doubt: member.in_doubt,
                };
            }
            Verdict::Failed { error, counts } => {
                return failed(member, error, error.to_string(), *counts, circumstances);
            }
        }
    }
    if !plan.named {
        return Outcome::Forgotten;
    }
    if let Some(error) = unseen {
        return failed(member, error, error.to_string(), true, circumstances);
    }
    if omitted {
        return left_out(member, plan, waits_for, in_room, spread);
    }
    if !lacking.is_empty() {
        let reason = "Chat confirms only some of the marks; perhaps 1000 members carry the others";
        let marks = &plan.desired - &lacking;
        waits_for.append(&mut lacking);
        return waiting(Some(marks), waits_for, Some(reason), spread);
    }
    if !waits_for.is_empty() {
        let asked = !verdicts.is_empty();
        return waiting(asked.then_some(plan.desired), waits_for, None, spread);
    }
    match verdicts {
        [] => Outcome::Idle,
        _ => Outcome::Confirmed {
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
    spread: Spread,
) -> Outcome {
    if !(in_room && is_last_try(member)) {
        return Outcome::LeftOut {
            retry: left_out_retry(member, spread),
        };
    }
    if plan.set.is_empty() && waits_for.is_empty() {
        return Outcome::Confirmed {
            marks: plan.desired,
        };
    }
    let reason = "Chat leaves the member out although they are in the room; perhaps 1000 members carry \
                  the mark already";
    waiting(None, waits_for, Some(reason), spread)
}

fn waiting(
    marks: Option<MarkSet>,
    waits_for: MarkSet,
    reason: Option<&str>,
    spread: Spread,
) -> Outcome {
    Outcome::Waiting {
        marks,
        reason: reason.map_or_else(|| no_place(&waits_for), str::to_owned),
        waits_for,
        retry: WAITING_RETRY.mul_f64(spread.between(0.9, 1.1)),
    }
}

fn refusal(error: &ChatError) -> String {
    format!("Chat accepts the other members of a call, but not this one: {error}")
}

/// A member with only a doubtful leave is not tried again; all others are, since Chat may
/// not know yet that they came.
fn left_out_retry(member: &Member, spread: Spread) -> Option<Duration> {
    if member.presence == Presence::Absent {
        return None;
    }
    let tries = usize::try_from(member.tries).unwrap_or(usize::MAX);
    let delay = LEFT_OUT_RETRIES.get(tries)?;
    Some(delay.mul_f64(spread.between(0.95, 1.05)))
}

fn failed(
    member: &Member,
    error: &ChatError,
    reason: String,
    counts: bool,
    Circumstances { spread, chat_works }: Circumstances,
) -> Outcome {
    // Not about the member: the worker itself slows down or pauses.
    let counts = counts && error.reach() != Reach::App && error.class() != ErrorClass::SlowDown;
    let (retry, counts) = match member.tries {
        _ if !counts => (Some(soon(spread)), false),
        tries if !chat_works => (
            Some(backoff(tries.min(TRIES_WITHOUT_CHAT), spread)),
            tries < TRIES_WITHOUT_CHAT,
        ),
        tries if tries >= MOST_TRIES - 1 => (None, true),
        tries => (Some(backoff(tries, spread)), true),
    };
    Outcome::Failed {
        error: reason,
        retry,
        counts,
        in_doubt: error.in_doubt() || member.in_doubt,
    }
}

fn soon(spread: Spread) -> Duration {
    FIRST_BACKOFF.mul_f64(spread.between(0.5, 1.5))
}

/// Doubling with each try, capped, and spread over the upper half.
fn backoff(tries: i32, spread: Spread) -> Duration {
    let doublings = tries.clamp(0, 16).unsigned_abs();
    let full = (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF);
    full.mul_f64(spread.between(0.5, 1.0))
}
