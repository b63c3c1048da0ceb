//! One claim from plan to write-back: usually at most one call that deletes and one that sets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{Instrument, Span};

use super::WorkerSettings;
use super::call::{Caller, Verdict, Verdicts};
use super::outcome::{Circumstances, is_last_try, outcome};
use super::plan::{MemberPlan, plan, take_places};
use super::restored::Restoration;
use crate::chat::{CommandType, MemberMarks};
use crate::clock;
use crate::domain::{Account, GroupId, MarkSet, RequestId};
use crate::members::{
    Claim, Ended, Member, Outcome, Results, due_members, held_places, room_gone, write_back,
};
use crate::rules::{Matched, matching_rules};
use crate::telemetry::{continue_traces, warn_seldom};

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
    /// After the answer: the moment of the claim, `Claim::at`, is earlier.
    read: Instant,
    gathers_until: Option<DateTime<Utc>>,
}

struct Planned {
    member: Member,
    plan: MemberPlan,
    /// Marks for which the room has no place.
    waits_for: MarkSet,
}

/// What became of a member, with the marks that a confirmed delete left them.
struct Decided {
    member: Member,
    outcome: Outcome,
    next: Option<DateTime<Utc>>,
}

impl Round {
    pub(super) fn new(shared: Arc<WorkerSettings>, claim: Claim, claimed: Instant) -> Self {
        Self {
            shared,
            claim,
            claimed,
            read: Instant::now(),
            gathers_until: None,
        }
    }

    /// Runs to the end; false if no member was due. If the database is away for longer than the lease,
    /// the room comes due again by itself.
    pub(super) async fn run(mut self) -> bool {
        let group = self.claim.group.clone();
        let group = group.as_str();
        let members = match self.members().await {
            Ok(members) => members,
            Err(error) => {
                warn_seldom!(%error, group, "cannot read the due members; they are retried when the lease expires");
                return true;
            }
        };
        if members.is_empty() {
            self.write_back(Vec::new()).await;
            return false;
        }
        let mut planned = match self.rules(&members).await {
            Ok(rules) => self.plan(members, rules),
            Err(error) => {
                warn_seldom!(%error, group, "cannot read the rules; the members are retried");
                self.write_back(Self::unplanned(members)).await;
                return true;
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
            && let Err(error) = room_gone(&self.shared.replica.db, &self.claim.group, ended).await
        {
            tracing::warn!(%error, group, "cannot record that the room is gone; the next call tells again");
        }
        let circumstances = Circumstances {
            drawn: rand::random(),
            chat_works: caller.chat_works(),
        };
        let decided = self.decide(planned, &deleted, &set, circumstances);
        let span = tracing::debug_span!("write_back", members = decided.len() as i64);
        self.write_back(decided).instrument(span).await;
        self.shared.replica.wake_worker.now();
        true
    }

    /// The due members.
    async fn members(&mut self) -> Result<Vec<Member>, sqlx::Error> {
        let due = due_members(&self.shared.replica.db, &self.claim, self.shared.settling).await?;
        self.gathers_until = due.gathers_until;
        let requests = due.members.iter().filter_map(|m| m.request_id.as_deref());
        let traces = due.members.iter().filter_map(|m| m.traceparent.as_deref());
        let span = Span::current();
        span.record("members", due.members.len() as i64);
        span.record("request_ids", RequestId::list(requests));
        continue_traces(&span, traces);
        Ok(due.members)
    }

    /// The rules of each member.
    async fn rules(&self, members: &[Member]) -> Result<Vec<Vec<Matched>>, sqlx::Error> {
        let accounts: Vec<Account> = members
            .iter()
            .map(|member| member.account.clone())
            .collect();
        let matched = matching_rules(&self.shared.replica.db, &self.claim.group, &accounts).await?;
        let mut rules: Vec<Vec<Matched>> = vec![Vec::new(); members.len()];
        for rule in matched {
            rules[rule.account].push(rule);
        }
        Ok(rules)
    }

    fn plan(&self, members: Vec<Member>, rules: Vec<Vec<Matched>>) -> Vec<Planned> {
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
        let mut held = held_places(&self.shared.replica.db, &self.claim.group).await?;
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
    ) -> Vec<Decided> {
        let decide = |one: Planned| {
            let mut member = one.member;
            let verdicts = [deleted.get(&member.account), set.get(&member.account)];
            let verdicts: Vec<&Verdict> = verdicts.into_iter().flatten().collect();
            let (next, deletes) = (one.plan.next, one.plan.delete.clone());
            let outcome = outcome(&member, one.plan, one.waits_for, &verdicts, circumstances);
            log_decision(&self.claim.group, &member, &outcome);
            if let Some(Verdict::Confirmed) = deleted.get(&member.account) {
                member.marks = &member.marks - &deletes;
            }
            Decided {
                member,
                outcome,
                next,
            }
        };
        planned.into_iter().map(decide).collect()
    }

    /// Without the rules there is nothing to send: the room is released, and its members become due again
    /// soon.
    fn unplanned(members: Vec<Member>) -> Vec<Decided> {
        let unplanned = |member: Member| Decided {
            outcome: Outcome::Failed {
                error: "the rules could not be read".to_owned(),
                retry: Some(UNREADABLE_RETRY),
                counts: false,
                in_doubt: member.in_doubt,
            },
            member,
            next: None,
        };
        members.into_iter().map(unplanned).collect()
    }

    async fn write_back(&self, decided: Vec<Decided>) {
        let now = self.now();
        let (mut rows, mut restored) = (Vec::new(), Vec::new());
        for Decided {
            member,
            outcome,
            next,
        } in decided
        {
            let waited = member.unserved_since.map(|since| now - since);
            let confirmed = matches!(outcome, Outcome::Confirmed { .. });
            let row = member.after(outcome, next, now);
            if let Some(waited) = waited
                && confirmed
                && !row.marks.is_empty()
            {
                restored.push(self.restoration(&row, waited));
            }
            rows.push(row);
        }
        let results = Results {
            rows,
            at: now,
            gathers_until: self.gathers_until,
        };
        loop {
            match write_back(&self.shared.replica.db, &self.claim, &results).await {
                Ok(changed) => {
                    restored.retain(|one| !changed.contains(one.account.as_str()));
                    return self.note_restored(restored);
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

    /// By the clock of Postgres, or a little earlier.
    fn now(&self) -> DateTime<Utc> {
        let elapsed = TimeDelta::from_std(self.read.elapsed()).unwrap_or_default();
        self.claim.at + elapsed
    }

    /// A restored member as the console shows it.
    fn restoration(&self, row: &Member, waited: TimeDelta) -> Restoration {
        Restoration {
            at: clock::system()(),
            group: self.claim.group.clone(),
            account: row.account.clone(),
            marks: row.marks.clone(),
            delay: waited.as_seconds_f64(),
        }
    }

    fn note_restored(&self, restored: Vec<Restoration>) {
        let (group, marked) = (self.claim.group.as_str(), restored.len());
        let mut longest = 0.0_f64;
        for one in &restored {
            self.shared.replica.metrics.mark_delay(one.delay);
            longest = longest.max(one.delay);
        }
        tracing::debug!(group, marked, longest, "written back");
        self.shared.restorations.add(restored);
    }
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
                    | Verdict::LeftOut {
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

/// Those who were left out at their last try, and about which Chat was not asked yet.
fn left_out(planned: &[Planned], deleted: &Verdicts, set: &Verdicts) -> Vec<Account> {
    let unasked = |account| {
        let last = set.get(account).or_else(|| deleted.get(account));
        matches!(last, Some(Verdict::LeftOut { in_room: None }))
    };
    let members = planned.iter().map(|planned| &planned.member);
    members
        .filter(|member| is_last_try(member) && unasked(&member.account))
        .map(|member| member.account.clone())
        .collect()
}

/// A line for each member at `debug`, by which one callback can be followed to its end, and a warning
/// for what a person should look at: in a long outage once a minute, with the number of those left out.
fn log_decision(group: &GroupId, member: &Member, outcome: &Outcome) {
    let (group, account) = (group.as_str(), member.account.as_str());
    let request_id = member.request_id.as_deref();
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
                retry_seconds = retry.as_secs_f64(),
                "member waits for a mark; trying again"
            );
            return;
        }
        Outcome::Failed { error, retry, .. } => (Some(error), *retry),
        Outcome::LeftOut { retry } => (None, *retry),
        Outcome::Confirmed { .. } | Outcome::Idle => (None, None),
    };
    let retry = retry.map(tracing::field::debug);
    let outcome = outcome.name();
    tracing::debug!(group, account, request_id, outcome, error, retry, "decided");
}
