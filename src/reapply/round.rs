//! One claim from plan to settlement: usually at most one call that deletes and one that sets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::budget::Slot;
use super::call::Caller;
use super::decisions;
use super::outcome::{Circumstances, Spread, is_last_try, outcome};
use super::places::take_places;
use super::plan::{MemberPlan, plan};
use super::restored::Restoration;
use super::settings::WorkerSettings;
use super::verdict::{Verdict, Verdicts};
use crate::chat::{CommandType, MemberMarks};
use crate::clock;
use crate::domain::{Account, GroupId, MarkSet};
use crate::members::{
    Claim, ClaimedMember, Ended, Outcome, Settlement, Waited, held_places, room_gone, settle,
};
use crate::rules::{Matched, matching_rules};
use crate::telemetry::warn_seldom;

/// Delay after which members are tried again whose rules could not be read.
const UNREADABLE_RETRY: Duration = Duration::from_secs(1);
/// Pause between tries to settle while the database is away.
const SETTLE_RETRY: Duration = Duration::from_millis(200);

/// A claimed room on its way through plan, calls and settlement.
pub(super) struct Round {
    shared: Arc<WorkerSettings>,
    claim: Claim,
    /// Before the claim was asked for: the lease ends no earlier than counted from here.
    claimed: Instant,
}

/// A claimed member and what is to be done for him.
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

    /// Runs to the end; the first call goes out in the slot that was taken before the claim. If the
    /// database is away for longer than the lease, the claim is left to come due again by itself.
    /// Returns whether there was anything to call for.
    pub(super) async fn run(mut self, slot: Slot) -> bool {
        let members = std::mem::take(&mut self.claim.members);
        let mut planned = match self.rules(&members).await {
            Ok(rules) => self.plan(members, rules),
            Err(error) => {
                let group = self.claim.group.as_str();
                warn_seldom!(%error, group, "cannot read the rules; the members are retried");
                self.settle(&unplanned(members)).await;
                return false;
            }
        };
        let mut caller = Caller::new(&self.shared, &self.claim.group, slot);
        let deletes = call_members(&planned, |plan| &plan.delete, &Verdicts::new());
        let deleted = caller.modify(CommandType::Delete, deletes).await;
        if let Err(error) = self.give_places(&mut planned, &deleted).await {
            warn_seldom!(%error, "the holders of marks cannot be counted");
        }
        let sets = call_members(&planned, |plan| &plan.set, &deleted);
        let mut set = caller.modify(CommandType::Set, sets).await;
        caller.look_for(&left_out(&planned, &set), &mut set).await;
        if caller.room_is_gone()
            && let ended = Ended::Answered(self.claim.at)
            && let gone = room_gone(&self.shared.pool, &self.claim.group, ended).await
            && let Err(error) = self.shared.noted(gone)
        {
            tracing::warn!(%error, "the end of a room cannot be recorded");
        }
        let called = caller.has_called();
        let circumstances = Circumstances {
            spread: Spread::new(rand::random()),
            chat_works: caller.fine_lately(),
        };
        let settlements = self.decide(planned, &deleted, &set, circumstances);
        let span = tracing::debug_span!("settle", members = settlements.len());
        self.settle(&settlements).instrument(span).await;
        self.shared.wake.now();
        called
    }

    /// The rules of each member.
    async fn rules(&self, members: &[ClaimedMember]) -> Result<Vec<Vec<Matched>>, sqlx::Error> {
        let accounts: Vec<Account> = members
            .iter()
            .map(|member| member.account.clone())
            .collect();
        let matched = matching_rules(&self.shared.pool, &self.claim.group, &accounts).await;
        let matched = self.shared.noted(matched)?;
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

    /// Gives the places of marks to those who waited longest. The room's lease is held, so nobody
    /// else gives any out.
    async fn give_places(
        &self,
        planned: &mut [Planned],
        deleted: &Verdicts,
    ) -> Result<(), sqlx::Error> {
        if planned.iter().all(|planned| planned.plan.set.is_empty()) {
            return Ok(());
        }
        let held = held_places(&self.shared.pool, &self.claim.group).await;
        let mut held = self.shared.noted(held)?;
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
            decisions::tell(&self.claim.group, &member, &outcome);
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
        loop {
            let Claim { group, lease, .. } = &self.claim;
            let settled = settle(&self.shared.pool, group, *lease, settlements).await;
            match self.shared.noted(settled) {
                Ok(waited) => {
                    let metrics = &self.shared.metrics;
                    waited
                        .iter()
                        .for_each(|one| metrics.mark_delay(one.seconds));
                    let restored = waited.iter();
                    let restored = restored.filter_map(|one| restoration(group, one, settlements));
                    self.shared.restorations.add(waited.len(), restored);
                    let longest = waited.iter().map(|one| one.seconds).fold(0.0, f64::max);
                    tracing::debug!(group = ?group.as_str(), marked = waited.len(), longest, "settled");
                    return;
                }
                Err(error) if self.claimed.elapsed() < self.shared.lease => {
                    warn_seldom!(%error, "a claim cannot be settled yet");
                    tokio::time::sleep(SETTLE_RETRY).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a claim is left to its lease");
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

/// Who takes part in a call. Whoever was left out or refused in the call before would be so again.
fn call_members(
    planned: &[Planned],
    marks: impl Fn(&MemberPlan) -> &MarkSet,
    before: &Verdicts,
) -> Vec<MemberMarks> {
    let goes_on = |account| matches!(before.get(account), None | Some(Verdict::Confirmed));
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
fn left_out(planned: &[Planned], set: &Verdicts) -> Vec<Account> {
    let unasked = |account| matches!(set.get(account), Some(Verdict::Omitted { in_room: None }));
    let members = planned.iter().map(|planned| &planned.member);
    members
        .filter(|member| is_last_try(member) && unasked(&member.account))
        .map(|member| member.account.clone())
        .collect()
}
