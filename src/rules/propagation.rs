//! Carries changes of rules to the members they concern, after the commit of the change.
//!
//! The history is the log of changes; one row, `propagation`, says how far they have been carried. Whichever
//! replica gets to it first does the next batch, in a short transaction of its own: at most a thousand
//! members become due, or a hundred rooms are asked. So no change, however wide, makes a callback wait or
//! stops a claim. Each batch reads after the commit of its change: a member whose row it does not see
//! arrives later, and is planned from the new rules.
//!
//! Changes of rules that name one member of one room go together, many in a batch. Any other change walks
//! along its members in the order of their keys, and a member that Chat alone may know is found by
//! comparing the rooms that the rule matches, those with the latest events first. Changes of the same
//! patterns, one after the other, share a walk.
//!
//! Such a comparison is a whole sweep (`resync::room`). It asks about the accounts that rules name in full
//! many in one call, lists the newest members where rules match by prefix, and has budgets of its own; a
//! question about the named accounts alone would save only the lists of the room's marks.
//!
//! A row that others keep locked is not waited for: the member is noted in the same transaction, and the
//! cursor moves on. Every batch begins with the members noted before.

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
use crate::domain::{Account, GroupId, Pattern, RuleId};
use crate::members::store::locked_rooms;
use crate::members::store::rule_changes::{
    self, Concerned, MEMBERS_A_BATCH, ROOMS_A_BATCH, Target, reach, reach_left,
};
use crate::members::wake_rooms;
use crate::replica::Replica;
use crate::telemetry::warn_seldom;

/// Changes that are read at once.
const CHANGES: i64 = 250;
/// So many members without a row are tried by themselves; for more, their rooms are compared with Chat.
const TRIED: usize = 20;
/// Other replicas write rules too.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause between looks whether the rows of members are still locked.
const LOCKED_RETRY: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_secs(1);

/// How far the changes have been carried.
#[derive(Debug, Default)]
struct Position {
    /// All changes up to this one.
    sequence: i64,
    /// The changes up to this one are being carried; null: none yet.
    upto: Option<i64>,
    /// Steps of these that are done, and within the current one the last member.
    stage: i32,
    after_group: String,
    after_account: String,
    /// Members were locked when their changes reached them.
    some_left: bool,
}

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

/// The next batch.
async fn step(db: &Db) -> Result<Step, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let Some(position) = position(&mut transaction).await? else {
        return Ok(Step::Nothing);
    };
    let mut rooms = Vec::new();
    if position.some_left {
        rooms = reach_left(&mut transaction).await?;
    }
    // What follows may wait for a lock, so members who were reached just now are not kept locked for it.
    if rooms.is_empty() {
        let (after, upto) = (position.sequence, position.upto);
        let changes = history::changes(&mut transaction, after, upto, CHANGES).await?;
        let changes: Vec<Carried> = changes.iter().map(Carried::of).collect();
        let changes = first_together(&changes);
        if changes.is_empty() {
            let some_left = position.some_left;
            transaction.commit().await?;
            return Ok(if some_left {
                Step::Locked
            } else {
                Step::Nothing
            });
        }
        let next;
        (next, rooms) = carry(&mut transaction, changes, position).await?;
        store(&mut transaction, &next).await?;
    }
    transaction.commit().await?;
    rooms.sort_unstable();
    rooms.dedup();
    wake_rooms(db, &rooms, Duration::ZERO, Duration::ZERO).await?;
    Ok(Step::Done)
}

/// A change, and the members that it concerns.
#[derive(Debug)]
struct Carried {
    sequence: i64,
    /// Before and after, as far as the rule was or is enabled; and whether it did not match these members
    /// before.
    targets: Vec<(Target, bool)>,
}

impl Carried {
    fn of(change: &LoggedChange) -> Self {
        // Of a rule that has ended its members may be forgotten.
        let ended = |rule: &RuleView| rule.ends_at.is_some_and(|end| end <= change.now);
        let version = |rule: &Option<Json<RuleView>>| {
            let rule = rule.as_ref()?;
            Some((target(rule, change)?, ended(rule)))
        };
        let (before, after) = (version(&change.before), version(&change.after));
        let newly = after.as_ref().is_some_and(|(after, ended)| {
            let matched = before.as_ref().filter(|(_, ended)| !ended);
            !ended && !matched.is_some_and(|(before, _)| patterns(before) == patterns(after))
        });
        let targets = [(before, false), (after, newly)].into_iter();
        Self {
            sequence: change.sequence,
            targets: targets
                .filter_map(|(version, newly)| Some((version?.0, newly)))
                .collect(),
        }
    }

    fn is_literal(&self) -> bool {
        self.targets.iter().all(|(target, _)| target.is_literal())
    }
}

fn patterns(target: &Target) -> (&Pattern<GroupId>, &Pattern<Account>) {
    (&target.group, &target.account)
}

/// To members a disabled rule is none: it neither gives nor takes.
fn target(rule: &RuleView, change: &LoggedChange) -> Option<Target> {
    if !rule.enabled {
        return None;
    }
    let begun = rule.starts_at.is_none_or(|at| at <= change.now);
    let marks = rule.marks.iter().filter(|_| begun);
    Some(Target {
        group: rule.group.clone(),
        account: rule.account.clone(),
        marks: marks.copied().collect(),
        request: change.request_id.clone(),
    })
}

fn concerned(target: &Target, member: (String, String), change: i64, newly: bool) -> Concerned {
    Concerned {
        group: member.0,
        account: member.1,
        marks: target.marks.clone(),
        request: target.request.clone(),
        change,
        newly,
    }
}

/// The first changes: as many as are literal, or those that have the patterns of the first.
fn first_together(changes: &[Carried]) -> &[Carried] {
    let together = |change: &&Carried| {
        let first = &changes[0];
        let shared = |(target, _): &(Target, bool)| {
            let mut first = first.targets.iter();
            first.any(|(first, _)| patterns(first) == patterns(target))
        };
        match first.is_literal() {
            true => change.is_literal(),
            false => change.targets.iter().all(shared),
        }
    };
    &changes[..changes.iter().take_while(together).count()]
}

/// Does the next batch of these changes. Returns how far that is, and the rooms in which members became due.
async fn carry(
    transaction: &mut PgConnection,
    changes: &[Carried],
    mut position: Position,
) -> Result<(Position, Vec<String>), sqlx::Error> {
    let upto = changes.last().map_or(0, |change| change.sequence);
    let all_done = Position {
        sequence: upto,
        ..Position::default()
    };
    if changes.iter().all(Carried::is_literal) {
        return Ok((all_done, literal(transaction, changes).await?));
    }
    let stage = usize::try_from(position.stage).unwrap_or_default();
    let targets = targets(changes);
    let (done, rooms) = match targets.get(stage / 2) {
        Some(target) => wide(transaction, target, upto, &mut position).await?,
        None => (true, Vec::new()),
    };
    let next = match done {
        false => Position {
            upto: Some(upto),
            ..position
        },
        true if stage + 1 < 2 * targets.len() => Position {
            sequence: position.sequence,
            upto: Some(upto),
            stage: position.stage + 1,
            ..Position::default()
        },
        true => all_done,
    };
    Ok((next, rooms))
}

async fn literal(
    transaction: &mut PgConnection,
    changes: &[Carried],
) -> Result<Vec<String>, sqlx::Error> {
    let members = changes.iter().flat_map(|change| {
        let targets = change.targets.iter();
        targets.map(|(target, newly)| {
            let (group, account) = (target.group.text(), target.account.text());
            let member = (group.to_owned(), account.to_owned());
            concerned(target, member, change.sequence, *newly)
        })
    });
    let mut members: Vec<Concerned> = members.collect();
    let mut to_ask = Vec::new();
    if members.iter().filter(|member| member.newly).count() > TRIED {
        // Members of a room that another writer has locked wait for it by themselves.
        let rooms = members.iter().map(|member| member.group.as_str());
        let locked = locked_rooms(&mut *transaction, rooms).await?;
        let newly = members.iter_mut().filter(|member| member.newly);
        for member in newly.filter(|member| !locked.contains(&member.group)) {
            member.newly = false;
            to_ask.push(member.group.clone());
        }
    }
    let rooms = reach(transaction, members).await?;
    if !to_ask.is_empty() {
        rule_changes::ask_rooms(transaction, &to_ask).await?;
    }
    Ok(rooms)
}

/// Each target has two stages: its members, then its rooms. True after the last batch of a stage; and the
/// rooms in which members became due.
async fn wide(
    transaction: &mut PgConnection,
    (target, newly): &(Target, bool),
    upto: i64,
    position: &mut Position,
) -> Result<(bool, Vec<String>), sqlx::Error> {
    if position.stage % 2 == 0 {
        let (group, account) = (&position.after_group, &position.after_account);
        let members = rule_changes::next_members(transaction, target, (group, account)).await?;
        let full = i64::try_from(members.len()).is_ok_and(|count| count >= MEMBERS_A_BATCH);
        if let Some((group, account)) = members.last() {
            (position.after_group, position.after_account) = (group.clone(), account.clone());
        }
        let members = members.into_iter();
        let members = members.map(|member| concerned(target, member, upto, false));
        let rooms = reach(transaction, members.collect()).await?;
        return Ok((!full, rooms));
    }
    let asked = match newly {
        true => rule_changes::ask_next_rooms(transaction, target, upto).await?,
        false => 0,
    };
    let done = i64::try_from(asked).is_ok_and(|asked| asked < ROOMS_A_BATCH);
    Ok((done, Vec::new()))
}

/// Each pair of patterns once, and whether some rule with it is new.
fn targets(changes: &[Carried]) -> Vec<(Target, bool)> {
    let mut targets: Vec<(Target, bool)> = Vec::new();
    for (target, newly) in changes.iter().flat_map(|change| &change.targets) {
        let mut known = targets.iter_mut();
        match known.find(|(known, _)| patterns(known) == patterns(target)) {
            Some((known, known_newly)) => {
                known.marks.extend(target.marks.iter().copied());
                known.request.clone_from(&target.request);
                *known_newly |= newly;
            }
            None => targets.push((target.clone(), *newly)),
        }
    }
    targets
}

/// The position, locked until the batch is committed. Other locks are not waited for long, since those of
/// the batch are held meanwhile.
async fn position(transaction: &mut PgConnection) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_as!(
        Position,
        r#"
        select sequence, upto, stage, after_group, after_account,
               exists (select from unreached_members) as "some_left!"
        from propagation, (select set_config('lock_timeout', '250ms', true)) impatient
        for update of propagation skip locked
        "#
    )
    .fetch_optional(transaction)
    .await
}

async fn store(transaction: &mut PgConnection, position: &Position) -> Result<(), sqlx::Error> {
    // If a crash of the database loses this, the batch is lost with it and done again.
    sqlx::query!(
        r#"
        update propagation set
            sequence = $1, upto = $2, stage = $3, after_group = $4, after_account = $5
        from (select set_config('synchronous_commit', 'off', true)) unflushed
        "#,
        position.sequence,
        position.upto,
        position.stage,
        position.after_group,
        position.after_account,
    )
    .execute(transaction)
    .await?;
    Ok(())
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
        select least(sequence, (select change - 1 from unreached_members
                                where group_id = $1 and account = $2)) as "sequence!"
        from propagation
        "#,
        group.as_str(),
        account.as_str(),
    )
    .fetch_one(&mut *transaction)
    .await?;
    let changes = history::changes(transaction, carried, None, 4 * CHANGES).await?;
    let concerns = |change: &LoggedChange| {
        let targets = Carried::of(change).targets;
        let mut targets = targets.iter();
        targets.any(|(target, _)| target.group.matches(group) && target.account.matches(account))
    };
    let changes = changes.into_iter().filter(concerns);
    let mut rules: Vec<RuleId> = changes.map(|change| change.rule_id).collect();
    rules.sort_unstable();
    rules.dedup();
    Ok(rules)
}
