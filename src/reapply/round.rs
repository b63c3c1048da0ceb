//! One claim from plan to settlement: at most one call that deletes and one that sets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::budget::LATEST_USE;
use super::outcome::{Reply, nobody_online, outcome};
use super::plan::{MemberPlan, plan};
use super::worker::Shared;
use crate::chat::{ChatError, CommandType, ErrorClass, MemberMarks};
use crate::domain::{Account, GroupId, MarkSet};
use crate::members::{Claim, ClaimedMember, Settlement, room_gone, settle};
use crate::rules::{Matched, matching_rules};

/// Pause between tries to settle while the database is away.
const SETTLE_RETRY: Duration = Duration::from_millis(200);

/// A claimed room on its way through plan, calls and settlement.
pub(super) struct Round {
    shared: Arc<Shared>,
    claim: Claim,
    /// Before the claim was asked for, which is when the slot for its first call came.
    claimed: Instant,
}

type Planned = Vec<(ClaimedMember, MemberPlan)>;

impl Round {
    pub(super) fn new(shared: Arc<Shared>, claim: Claim, claimed: Instant) -> Self {
        Self {
            shared,
            claim,
            claimed,
        }
    }

    /// Runs to the end. If the database is away for longer than the lease, the claim is left to
    /// come due again by itself.
    pub(super) async fn run(mut self) {
        let members = std::mem::take(&mut self.claim.members);
        let planned = match self.plan(members).await {
            Ok(planned) => planned,
            Err(error) => {
                tracing::warn!(%error, group = ?self.claim.group.as_str(), "rules cannot be read");
                return;
            }
        };
        let deleted = self
            .call(CommandType::Delete, &planned, |plan| &plan.delete, true)
            .await;
        let first = deleted.is_none();
        let set = self
            .call(CommandType::Set, &planned, |plan| &plan.set, first)
            .await;
        self.note_room(deleted.iter().chain(set.iter())).await;
        let settlements = settlements(planned, deleted.as_ref(), set.as_ref());
        self.settle(&settlements).await;
        self.shared.wake.now();
    }

    async fn plan(&self, members: Vec<ClaimedMember>) -> Result<Planned, sqlx::Error> {
        let accounts: Vec<Account> = members
            .iter()
            .map(|member| member.account.clone())
            .collect();
        let matched = matching_rules(&self.shared.pool, &self.claim.group, &accounts).await?;
        let mut rules: Vec<Vec<Matched>> = vec![Vec::new(); members.len()];
        for rule in matched {
            rules[rule.account].push(rule);
        }
        let planned = members.into_iter().zip(rules).map(|(member, rules)| {
            let plan = plan(&member, &rules, self.claim.at);
            (member, plan)
        });
        Ok(planned.collect())
    }

    /// One call for all members who need it; `None` if nobody does. The first call of a round goes
    /// out in the slot that was taken before the claim, unless a slow database has let it pass.
    async fn call(
        &self,
        command: CommandType,
        planned: &Planned,
        marks: impl Fn(&MemberPlan) -> &MarkSet,
        in_claimed_slot: bool,
    ) -> Option<Reply> {
        let members: Vec<MemberMarks> = planned
            .iter()
            .filter(|(_, plan)| !marks(plan).is_empty())
            .map(|(member, plan)| MemberMarks {
                account: member.account.clone(),
                marks: marks(plan).clone(),
            })
            .collect();
        if members.is_empty() {
            return None;
        }
        let slot_is_fresh = in_claimed_slot && self.claimed.elapsed() <= LATEST_USE;
        if !slot_is_fresh && let Err(error) = self.shared.budget.take().await {
            tracing::warn!(%error, "no slot for a call");
            return Some(Reply::Failed(ChatError::Unreachable(
                "the budget of calls cannot be read".to_owned(),
            )));
        }
        let started = Instant::now();
        let answer = self
            .shared
            .chat
            .modify_user_info(&self.claim.group, command, &members)
            .await;
        let took = started.elapsed();
        Some(match answer {
            Ok(answer) => {
                self.log_call(command, members.len(), answer.confirmed.len(), took);
                self.shared.pause.end();
                Reply::Confirmed(answer.confirmed)
            }
            Err(error) => {
                self.note_error(command, members.len(), &error).await;
                Reply::Failed(error)
            }
        })
    }

    fn log_call(&self, command: CommandType, asked: usize, confirmed: usize, took: Duration) {
        let group: &GroupId = &self.claim.group;
        tracing::debug!(group = ?group.as_str(), ?command, asked, confirmed, ?took, "Chat answered");
    }

    /// What an error means beyond this room.
    async fn note_error(&self, command: CommandType, members: usize, error: &ChatError) {
        if nobody_online(error) {
            tracing::debug!(group = ?self.claim.group.as_str(), members, %error, "nobody online");
            return;
        }
        tracing::warn!(group = ?self.claim.group.as_str(), ?command, members, %error, "call failed");
        match error.class() {
            ErrorClass::SlowDown => {
                if let Err(error) = self.shared.budget.slow_down().await {
                    tracing::warn!(%error, "the budget cannot be slowed down");
                }
            }
            ErrorClass::Configuration | ErrorClass::NewSignature => {
                self.shared.pause.begin(&error.to_string(), error.advice());
            }
            _ => {}
        }
    }

    /// Forgets the room's members if Chat says that the room is gone.
    async fn note_room(&self, mut replies: impl Iterator<Item = &Reply>) {
        let gone = replies.any(
            |reply| matches!(reply, Reply::Failed(error) if error.class() == ErrorClass::RoomGone),
        );
        if gone && let Err(error) = room_gone(&self.shared.pool, &self.claim.group, None).await {
            tracing::warn!(%error, "the end of a room cannot be recorded");
        }
    }

    async fn settle(&self, settlements: &[Settlement]) {
        loop {
            let Claim { group, lease, .. } = &self.claim;
            match settle(&self.shared.pool, group, *lease, settlements).await {
                Ok(waited) => {
                    let longest = waited.iter().copied().fold(0.0, f64::max);
                    tracing::debug!(group = ?group.as_str(), marked = waited.len(), longest, "settled");
                    return;
                }
                Err(error) if self.claimed.elapsed() < self.shared.lease => {
                    tracing::warn!(%error, "a claim cannot be settled yet");
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

fn settlements(planned: Planned, deleted: Option<&Reply>, set: Option<&Reply>) -> Vec<Settlement> {
    let mut rng = StdRng::from_os_rng();
    let settle = |(member, plan): (ClaimedMember, MemberPlan)| {
        let concerns = [
            deleted.filter(|_| !plan.delete.is_empty()),
            set.filter(|_| !plan.set.is_empty()),
        ];
        let replies: Vec<&Reply> = concerns.into_iter().flatten().collect();
        Settlement {
            generation: member.generation,
            outcome: outcome(&member, plan, &replies, &mut rng),
            account: member.account,
        }
    };
    planned.into_iter().map(settle).collect()
}
