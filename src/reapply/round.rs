//! One claim from plan to write-back: usually at most one call that deletes and one that sets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::call::{Caller, Verdict, Verdicts};
use super::outcome::{Circumstances, Spread, is_last_try, outcome};
use super::places::take_places;
use super::plan::{MemberPlan, plan};
use super::restored::Restoration;
use super::settings::WorkerSettings;
use crate::chat::{CommandType, MemberMarks};
use crate::clock;
use crate::domain::{Account, GroupId, MarkSet, RequestId};
use crate::members::{
    Claim, ClaimedMember, Ended, Outcome, Settlement, Waited, held_places, room_gone, settle,
};
use crate::rules::{Matched, matching_rules};
use crate::telemetry::warn_seldom;

/// Delay after which members are tried again whose rules could not be read.
const UNREADABLE_RETRY: Duration = Duration::from_secs(1);
/// Pause between tries to write back while the database is away.
const WRITE_RETRY: Duration = Duration::from_millis(200);

/// A claimed room on its way through plan, calls and write-back.
pub(super) struct Round {
    shared: Arc<WorkerSettings>,
    claim: Claim,
    /// Before the claim was asked for: the lease ends no earlier than counted from here.
    claimed: Instant,
}

struct Planned {
    member: ClaimedMember,
    plan: MemberPlan,
    /// Marks for which the room has no place.
    waits_for: MarkSet,
}

impl Round {
    pub(super) fn new(shared: Arc<WorkerSettings>, claim: Claim, claimed: Instant) -> Self {
        Self {
            shared,
            claim,
            claimed,
        }
    }

    /// Runs to the end. If the database is away for longer than the lease, the claim comes due again
    /// by itself.
    pub(super) async fn run(mut self) {
        let group = self.claim.group.as_str();
        let members = std::mem::take(&mut self.claim.members);
        let mut planned = match self.rules(&members).await {
            Ok(rules) => self.plan(members, rules),
            Err(error) => {
                warn_seldom!(%error, group, "cannot read the rules; the members are retried");
                self.settle(&unplanned(members)).await;
                return;
            }
        };
        let mut caller = Caller::new(&self.shared, &self.claim.group);
        let deletes = call_members(&planned, |plan| &plan.delete, &Verdicts::new());
        let deleted = caller.modify(CommandType::Delete, deletes).await;
        if let Err(error) = self.give_places(&mut planned, &deleted).await {
            warn_seldom!(%error, group, "cannot count the holders of marks; setting marks all the same");
        }
        let sets = call_members(&planned, |plan| &plan.set, &deleted);
        let mut set = caller.modify(CommandType::Set, sets).await;
        let left_out = left_out(&planned, &deleted, &set);
        caller.look_for(&left_out, &mut set).await;
        if caller.room_is_gone()
            && let ended = Ended::Answered(self.claim.at)
            && let gone = room_gone(&self.shared.pool, &self.claim.group, ended).await
            && let Err(error) = self.shared.counted(gone)
        {
            tracing::warn!(%error, group, "cannot record that the room is gone; the next call tells again");
        }
        let circumstances = Circumstances {
            spread: Spread::new(rand::random()),
            chat_works: caller.chat_works(),
        };
        let settlements = self.decide(planned, &deleted, &set, circumstances);
        let span = tracing::debug_span!("settle", members = settlements.len());
        self.settle(&settlements).instrument(span).await;
        self.shared.wake.now();
    }

    /// The rules of each member.
    async fn rules(&self, members: &[ClaimedMember]) -> Result<Vec<Vec<Matched>>, sqlx::Error> {
        let accounts: Vec<Account> = members
            .iter()
            .map(|member| member.account.clone())
            .collect();
        let matched = matching_rules(&self.shared.pool, &self.claim.group, &accounts).await;
        let matched = self.shared.counted(matched)?;
        let mut rules: Vec<Vec<Matched>> = vec![Vec::new(); members.len()];
        for rule in matched {
            rules[rule.account].push(rule);
        }
        Ok(rules)
    }

    fn plan(&self, members: Vec<ClaimedMember>, rules: Vec<Vec<Matched>>) -> Vec<Planned> {
        members
            .into_iter()
            .zip(rules)
            .map(|(member, rules)| Planned {
                plan: plan(&member, &rules, self.claim.at),
                member,
                waits_for: MarkSet::new(),
            })
            .collect()
    }

    /// Gives the places of marks to the members that waited longest. This round holds the room's
    /// lease, so no other one gives any out.
    async fn give_places(
        &self,
        planned: &mut [Planned],
        deleted: &Verdicts,
    ) -> Result<(), sqlx::Error> {
        if planned.iter().all(|planned| planned.plan.set.is_empty()) {
            return Ok(());
        }
        let held = held_places(&self.shared.pool, &self.claim.group).await;
        let mut held = self.shared.counted(held)?;
        for Planned { member, plan, .. } in planned.iter() {
            if matches!(deleted.get(&member.account), Some(Verdict::Confirmed)) {
                for mark in plan.delete.intersection(&member.marks) {
                    held.entry(*mark)
                        .and_modify(|holders| *holders = holders.saturating_sub(1));
                }
            }
        }
        for Planned {
            member,
            plan,
            waits_for,
        } in planned
        {
            *waits_for = take_places(member, plan, &mut held);
        }
        Ok(())
    }

    fn decide(
        &self,
        planned: Vec<Planned>,
        deleted: &Verdicts,
        set: &Verdicts,
        circumstances: Circumstances,
    ) -> Vec<Settlement> {
        let settle = |one: Planned| {
            let member = one.member;
            let verdicts = [deleted.get(&member.account), set.get(&member.account)];
            let verdicts: Vec<&Verdict> = verdicts.into_iter().flatten().collect();
            let next = one.plan.next;
            let held = match deleted.get(&member.account) {
                Some(Verdict::Confirmed) => &member.marks - &one.plan.delete,
                _ => member.marks.clone(),
            };
            let outcome = outcome(&member, one.plan, one.waits_for, &verdicts, circumstances);
            log_decision(&self.claim.group, &member, &outcome);
            Settlement {
                generation: member.generation,
                account: member.account,
                held,
                next,
                outcome,
            }
        };
        planned.into_iter().map(settle).collect()
    }

    async fn settle(&self, settlements: &[Settlement]) {
        let Claim { group, lease, .. } = &self.claim;
        loop {
            let settled = settle(&self.shared.pool, group, *lease, settlements).await;
            match self.shared.counted(settled) {
                Ok(waited) => {
                    let metrics = &self.shared.metrics;
                    waited
                        .iter()
                        .for_each(|one| metrics.mark_delay(one.seconds));
                    let restored = waited.iter();
                    let restored = restored.filter_map(|one| restoration(group, one, settlements));
                    self.shared.restorations.add(waited.len(), restored);
                    let longest = waited.iter().map(|one| one.seconds).fold(0.0, f64::max);
                    let (group, marked) = (group.as_str(), waited.len());
                    tracing::debug!(group, marked, longest, "settled");
                    return;
                }
                Err(error) if self.claimed.elapsed() < self.shared.lease => {
                    warn_seldom!(%error, "cannot write results yet; trying again");
                    tokio::time::sleep(WRITE_RETRY).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot write results; members will be retried when the lease expires");
                    return;
                }
            }
        }
    }
}

/// Without the rules there is nothing to send: the room is released, and its members become due again
/// soon.
fn unplanned(members: Vec<ClaimedMember>) -> Vec<Settlement> {
    let settlement = |member: ClaimedMember| Settlement {
        account: member.account,
        generation: member.generation,
        held: member.marks,
        next: None,
        outcome: Outcome::Failed {
            error: "the rules could not be read".to_owned(),
            retry: Some(UNREADABLE_RETRY),
            counts: false,
            in_doubt: member.in_doubt,
        },
    };
    members.into_iter().map(settlement).collect()
}

/// A restored member as the console shows it.
fn restoration(
    group: &GroupId,
    waited: &Waited,
    settlements: &[Settlement],
) -> Option<Restoration> {
    let mut settled = settlements.iter();
    let settled = settled.find(|one| one.account.as_str() == waited.account)?;
    let Outcome::Confirmed { marks } = &settled.outcome else {
        return None;
    };
    Some(Restoration {
        at: clock::system()(),
        group: group.clone(),
        account: settled.account.clone(),
        marks: marks.clone(),
        delay: waited.seconds,
    })
}

/// The members of a call. Those whose call before failed, or who are known to be away, would fare the
/// same again. A member that only a delete left out or refused may lack the marks to delete, and is
/// served all the same.
fn call_members(
    planned: &[Planned],
    marks: impl Fn(&MemberPlan) -> &MarkSet,
    before: &Verdicts,
) -> Vec<MemberMarks> {
    let goes_on = |account| {
        !matches!(
            before.get(account),
            Some(
                Verdict::Failed { .. }
                    | Verdict::Omitted {
                        in_room: Some(false)
                    }
            )
        )
    };
    planned
        .iter()
        .filter(|Planned { member, plan, .. }| !marks(plan).is_empty() && goes_on(&member.account))
        .map(|Planned { member, plan, .. }| MemberMarks {
            account: member.account.clone(),
            marks: marks(plan).clone(),
        })
        .collect()
}

/// Those who were left out at their last try, and of whom Chat was not asked yet.
fn left_out(planned: &[Planned], deleted: &Verdicts, set: &Verdicts) -> Vec<Account> {
    let unasked = |account| {
        let last = set.get(account).or_else(|| deleted.get(account));
        matches!(last, Some(Verdict::Omitted { in_room: None }))
    };
    let members = planned.iter().map(|planned| &planned.member);
    members
        .filter(|member| is_last_try(member) && unasked(&member.account))
        .map(|member| member.account.clone())
        .collect()
}

/// A line for each member at `debug`, by which one callback can be followed to its end, and a warning
/// for what a person should look at: in a long outage once a minute, with the number of those left out.
fn log_decision(group: &GroupId, member: &ClaimedMember, outcome: &Outcome) {
    let (group, account) = (group.as_str(), member.account.as_str());
    let request_id = member.request.as_ref().map(RequestId::as_str);
    let (error, retry) = match outcome {
        Outcome::Failed {
            error, retry: None, ..
        } => {
            warn_seldom!(
                group,
                account,
                request_id,
                error,
                "giving up on member until the next event or a manual retry"
            );
            return;
        }
        Outcome::Waiting { reason, retry, .. } => {
            warn_seldom!(
                group,
                account,
                request_id,
                reason,
                ?retry,
                "member waits for a mark; trying again"
            );
            return;
        }
        Outcome::Failed { error, retry, .. } => (Some(error), *retry),
        Outcome::Refused { error, retry, .. } => (Some(error), Some(*retry)),
        Outcome::Omitted { retry } => (None, *retry),
        Outcome::Confirmed { .. } | Outcome::Idle | Outcome::Forgotten => (None, None),
    };
    let retry = retry.map(tracing::field::debug);
    let outcome = outcome.kind();
    tracing::debug!(group, account, request_id, outcome, error, retry, "decided");
}
