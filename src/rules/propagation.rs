//! Carries changes of rules to the members they concern, after the commit of the change.
//!
//! The history is the log of changes; one row, `propagation`, says how far they have been noted for the
//! members and rooms that they concern (`members::store::rule_changes`). Whichever replica gets to it first
//! does the next step, in a short transaction of its own: at most a thousand noted members become due, or a
//! hundred rooms are asked, or the next changes are noted. To note one locks no row of members or rooms. So
//! no change, however wide, makes a callback wait or stops a claim. Each step reads after the commit of its
//! change: a member whose row it does not see arrives later, and is planned from the new rules.
//!
//! A member that Chat alone may know is tried, if a new rule names them in full. Otherwise the rooms that the
//! rule matches are compared with Chat, those with the latest events first. Such a comparison is a whole
//! sweep (`resync::room`). It asks about the accounts that rules name in full many in one call, lists the
//! newest members where rules match by prefix, and has budgets of its own; a question about the named
//! accounts alone would save only the lists of the room's marks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::document::RuleView;
use super::history::{self, LoggedChange};
use crate::database::Db;
use crate::domain::{Account, GroupId, RuleId};
use crate::members::store::rule_changes::{
    Concerned, Target, ask_next_rooms, note, note_all, reach,
};
use crate::members::wake_rooms;
use crate::replica::Replica;
use crate::telemetry::warn_seldom;

/// Changes that are read at once.
const CHANGES: i64 = 250;
/// After so many notes in a transaction it ends.
const MANY_NOTES: u64 = 10_000;
/// So many members without a row are tried by themselves; for more, their rooms are compared with Chat.
const TRIED: usize = 20;
/// Other replicas write rules too.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause between looks whether the rows of members are still locked.
const LOCKED_RETRY: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_secs(1);

enum Step {
    Done,
    /// Only members whose rows others keep locked are left.
    Locked,
    /// Nothing is to be done, or another replica does it.
    Nothing,
}

/// Changes of rules that have not reached the members they concern yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Propagation)]
pub struct Backlog {
    pub changes: i64,
    /// When the oldest of them was made; null: none waits.
    pub since: Option<DateTime<Utc>>,
    /// Rooms that wait for a comparison that a rule or a person requested.
    pub rooms: i64,
}

/// Carries changes until stopped; a batch is never cut short. One per replica, in its part of rules.
pub async fn run(replica: Replica, stop: CancellationToken) {
    loop {
        let pause = match replica.db.run(step(&replica.db)).await {
            Ok(Step::Done) => {
                replica.wake_worker.now();
                replica.wake_sweeper.now();
                Duration::ZERO
            }
            Ok(Step::Nothing) => LONGEST_SLEEP,
            Ok(Step::Locked) => {
                warn_seldom!("rule changes wait for members whose rows are locked");
                LOCKED_RETRY
            }
            Err(error) => {
                warn_seldom!(%error, "cannot carry a rule change to its members yet; trying again");
                RETRY
            }
        };
        let paused = replica.wake_propagation.wait(pause);
        if stop.run_until_cancelled(paused).await.is_none() {
            return;
        }
    }
}

/// Carries all changes, except to members that are locked. For tests.
pub async fn propagate(db: &Db) -> Result<(), sqlx::Error> {
    while let Step::Done = step(db).await? {}
    Ok(())
}

/// The next step.
async fn step(db: &Db) -> Result<Step, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let Some(sequence) = position(&mut transaction).await? else {
        return Ok(Step::Nothing);
    };
    let mut reached = reach(&mut transaction).await?;
    // What follows may wait for a lock, so members who were reached just now are not kept locked for it.
    let done = reached.members > 0
        || ask_next_rooms(&mut transaction).await? > 0
        || note_next(&mut transaction, sequence).await?;
    transaction.commit().await?;
    reached.rooms.sort_unstable();
    reached.rooms.dedup();
    wake_rooms(db, &reached.rooms, Duration::ZERO, Duration::ZERO).await?;
    Ok(match done {
        true => Step::Done,
        false if reached.locked > 0 => Step::Locked,
        false => Step::Nothing,
    })
}

/// Up to which change all are noted. Locked until the end of the step, whose other locks are not waited for
/// long, since this one is held meanwhile. If a crash of the database loses the step, it is done again: no
/// need to wait for a flush.
async fn position(transaction: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select sequence from propagation, (
            select set_config('lock_timeout', '250ms', true), set_config('synchronous_commit', 'off', true)
        ) impatient
        for update of propagation skip locked
        "#
    )
    .fetch_optional(transaction)
    .await
}

/// Notes the next changes; returns whether there were any.
async fn note_next(transaction: &mut PgConnection, mut sequence: i64) -> Result<bool, sqlx::Error> {
    let changes = history::changes(transaction, sequence, CHANGES).await?;
    if changes.is_empty() {
        return Ok(false);
    }
    let (mut members, mut many): (Vec<Concerned>, u64) = (Vec::new(), 0);
    for change in &changes {
        for target in targets(change) {
            match target.member() {
                Some(member) => members.push(member),
                None => many += note_all(transaction, &target).await?,
            }
        }
        sequence = change.sequence;
        if many >= MANY_NOTES {
            break;
        }
    }
    let newly = members.iter().filter(|member| member.newly);
    let rooms: Vec<Concerned> = newly.map(Concerned::room).collect();
    if rooms.len() > TRIED {
        members.iter_mut().for_each(|member| member.newly = false);
        members.extend(rooms);
    }
    note(transaction, members).await?;
    sqlx::query!("update propagation set sequence = $1", sequence)
        .execute(transaction)
        .await?;
    Ok(true)
}

/// The members that a change concerns: those of the rule before and after, as far as it was or is enabled.
fn targets(change: &LoggedChange) -> Vec<Target> {
    let target = |rule: &Option<Json<RuleView>>| {
        // To members a disabled rule is none: it neither gives nor takes.
        let rule = rule.as_ref().filter(|rule| rule.enabled)?;
        let begun = rule.starts_at.is_none_or(|at| at <= change.now);
        Some(Target {
            group: rule.group.clone(),
            account: rule.account.clone(),
            marks: rule.marks.iter().filter(|_| begun).copied().collect(),
            request: change.request_id.clone(),
            change: change.sequence,
            // Of a rule that has ended its members may be forgotten.
            newly: rule.ends_at.is_none_or(|end| end > change.now),
        })
    };
    let (mut before, mut after) = (target(&change.before), target(&change.after));
    if let Some(before) = &mut before {
        let matched = std::mem::take(&mut before.newly);
        if let Some(after) = &mut after {
            let same = before.group == after.group && before.account == after.account;
            after.newly &= !(matched && same);
        }
    }
    before.into_iter().chain(after).collect()
}

/// What has not been carried yet.
pub async fn backlog(db: &Db) -> Result<Backlog, sqlx::Error> {
    sqlx::query_as!(
        Backlog,
        r#"
        select count(*) as "changes!", min(at) as since,
               (select count(*) from rooms where sweep_requested_at is not null) as "rooms!"
        from rule_history
        where sequence > (select sequence from propagation)
           or sequence = any(array(select distinct change from unreached_members))
        "#
    )
    .fetch_one(db)
    .await
}

/// The rules of which a change concerns this member and has not been carried yet, as far as the next ones
/// go.
pub(super) async fn not_carried(
    transaction: &mut PgConnection,
    group: &GroupId,
    account: &Account,
) -> Result<Vec<RuleId>, sqlx::Error> {
    let carried = sqlx::query_scalar!(
        r#"
        select least(sequence, (select min(change) - 1 from unreached_members
                                where group_id = $1 and account in ($2, ''))) as "sequence!"
        from propagation
        "#,
        group.as_str(),
        account.as_str(),
    )
    .fetch_one(&mut *transaction)
    .await?;
    let changes = history::changes(transaction, carried, 4 * CHANGES).await?;
    let concerns = |change: &LoggedChange| {
        let concerns =
            |target: &Target| target.group.matches(group) && target.account.matches(account);
        targets(change).iter().any(concerns)
    };
    let changes = changes.into_iter().filter(concerns);
    let mut rules: Vec<RuleId> = changes.map(|change| change.rule_id).collect();
    rules.sort_unstable();
    rules.dedup();
    Ok(rules)
}
