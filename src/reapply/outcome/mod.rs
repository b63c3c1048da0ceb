//! From Chat's answers to what is written down for each member.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::places::no_place;
use super::plan::MemberPlan;
use super::verdict::Verdict;
use crate::chat::{ChatError, ErrorClass};
use crate::domain::MarkSet;
use crate::members::{ClaimedMember, Outcome, Presence};

/// Delays after which a member whom Chat left out is tried again. Chat's own view lags behind an
/// arrival; its lists by up to 40 s. Source: <https://cloud.tencent.com/document/product/269/77266>.
const OMITTED_RETRIES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// Delays after which a member is tried again whom Chat refused beside others with a code by which it
/// may only mean that it does not see him yet. Fewer than above: its lists, which lag most, show him.
const REFUSED_RETRIES: &[Duration] = OMITTED_RETRIES.split_at(2).0;
/// Failed calls after which a member is given up until an event or a person asks: about 20 minutes.
const MOST_ATTEMPTS: i32 = 12;
/// So many count while no call at all succeeds. That is Chat's trouble, or that of the way there, and
/// nobody is given up for it, however long it takes; he is tried about once a minute.
const ATTEMPTS_WITHOUT_CHAT: i32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// A member who waits for a place is looked at again after this, though nobody told that one is free.
const WAITING_RETRY: Duration = Duration::from_secs(60);

/// Where in its range every delay of a round lies: one draw for all its members, so that those who
/// shared a call share the next one too, while rooms that failed together come back apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread(f64);

impl Spread {
    /// From a number of 0 to 1.
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

/// What is written down for a member with these verdicts (first of the delete, then of the set; a
/// command that did not concern him is missing) who has to wait for some marks.
pub(super) fn outcome(
    member: &ClaimedMember,
    plan: MemberPlan,
    waits_for: MarkSet,
    verdicts: &[&Verdict],
    circumstances: Circumstances,
) -> Outcome {
    let spread = circumstances.spread;
    let (mut omitted, mut in_room) = (false, false);
    for verdict in verdicts {
        match verdict {
            Verdict::Confirmed => {}
            Verdict::Omitted { in_room: seen } => {
                (omitted, in_room) = (true, in_room || *seen == Some(true));
            }
            // Refused beside others before, and now again; else he may be one too many for a mark.
            Verdict::Unseen(error)
            | Verdict::Failed {
                error,
                counts: true,
            } if member.refusals > 0 && may_not_see_him(error) => {
                return refused(member, error, circumstances);
            }
            Verdict::Unseen(_) => (omitted, in_room) = (true, true),
            Verdict::Culprit(error) if may_not_see_him(error) => {
                return refused(member, error, circumstances);
            }
            Verdict::Culprit(error) => return given_up(member, error),
            Verdict::Failed { error, counts } => {
                return failed(member, error, *counts, circumstances);
            }
        }
    }
    if !plan.named {
        return Outcome::Forgotten;
    }
    if omitted {
        return left_out(member, waits_for, in_room, spread);
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
pub(super) fn is_last_try(member: &ClaimedMember) -> bool {
    member.presence != Presence::Absent
        && usize::try_from(member.omissions).is_ok_and(|tries| tries >= OMITTED_RETRIES.len())
}

/// Tried again a few times. After that he is taken for absent, unless Chat says that he is in the
/// room: then something keeps him from the mark, most likely members whom we do not know.
fn left_out(member: &ClaimedMember, waits_for: MarkSet, in_room: bool, spread: Spread) -> Outcome {
    if in_room && is_last_try(member) {
        let reason = "Chat leaves him out though he is in the room; perhaps 1000 members carry the \
                      mark already";
        return waiting(None, waits_for, Some(reason), spread);
    }
    Outcome::Omitted {
        retry: omitted_retry(member, spread),
    }
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

/// Whether Chat may only mean that it does not see the member yet.
fn may_not_see_him(error: &ChatError) -> bool {
    error
        .code()
        .is_some_and(|code| code.may_mean_nobody_online())
}

/// Tried again a few times, since a moment later Chat may see him, and then given up.
fn refused(member: &ClaimedMember, error: &ChatError, circumstances: Circumstances) -> Outcome {
    let tries = usize::try_from(member.refusals).unwrap_or(usize::MAX);
    match REFUSED_RETRIES.get(tries) {
        Some(delay) => Outcome::Refused {
            error: refusal(error),
            retry: delay.mul_f64(circumstances.spread.between(0.95, 1.05)),
            in_doubt: member.in_doubt,
        },
        None if circumstances.chat_works => given_up(member, error),
        None => failed(member, error, true, circumstances),
    }
}

fn given_up(member: &ClaimedMember, error: &ChatError) -> Outcome {
    Outcome::Failed {
        error: refusal(error),
        retry: None,
        counts: true,
        in_doubt: member.in_doubt,
    }
}

fn refusal(error: &ChatError) -> String {
    format!("Chat takes the others of a call, but not this member: {error}")
}

/// A member of whom only a doubtful leave is known is not looked for again; all others are, since
/// Chat may simply not know yet that they came.
fn omitted_retry(member: &ClaimedMember, spread: Spread) -> Option<Duration> {
    if member.presence == Presence::Absent {
        return None;
    }
    let tries = usize::try_from(member.omissions).unwrap_or(usize::MAX);
    OMITTED_RETRIES
        .get(tries)
        .map(|delay| delay.mul_f64(spread.between(0.95, 1.05)))
}

fn failed(
    member: &ClaimedMember,
    error: &ChatError,
    counts: bool,
    Circumstances { spread, chat_works }: Circumstances,
) -> Outcome {
    let (retry, counts) = match error.class() {
        // Not the member's doing: the worker itself slows down or pauses.
        ErrorClass::SlowDown | ErrorClass::NewSignature => (Some(soon(spread)), false),
        _ if !counts => (Some(soon(spread)), false),
        ErrorClass::Configuration if !may_not_see_him(error) => (Some(soon(spread)), false),
        _ if !chat_works => (
            Some(backoff(member.attempts.min(ATTEMPTS_WITHOUT_CHAT), spread)),
            member.attempts < ATTEMPTS_WITHOUT_CHAT,
        ),
        _ if member.attempts + 1 >= MOST_ATTEMPTS => (None, true),
        _ => (Some(backoff(member.attempts, spread)), true),
    };
    let in_doubt = error.in_doubt() || member.in_doubt;
    Outcome::Failed {
        error: error.to_string(),
        retry,
        counts,
        in_doubt,
    }
}

fn soon(spread: Spread) -> Duration {
    FIRST_BACKOFF.mul_f64(spread.between(0.5, 1.5))
}

/// Doubling with each attempt, capped, and spread over the upper half.
fn backoff(attempts: i32, spread: Spread) -> Duration {
    let doublings = attempts.clamp(0, 16).unsigned_abs();
    let full = (FIRST_BACKOFF * 2u32.pow(doublings)).min(LONGEST_BACKOFF);
    full.mul_f64(spread.between(0.5, 1.0))
}
