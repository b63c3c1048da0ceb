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
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::document::RuleView;
use super::history::{self, LoggedChange};
use crate::database::Db;
use crate::domain::{Account, GroupId, Mark, Pattern, RuleId};
use crate::members::store::rule_changes::{
    self, Concerned, MEMBERS_A_BATCH, ROOMS_A_BATCH, Target, reach, reach_left,
};
use crate::members::wake_rooms;
use crate::metrics::DatabasePart;
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

/// Carries changes, one per replica.
#[derive(Debug)]
pub struct Propagator(Replica);

/// How far the changes have been carried.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    Done(Batch),
    /// Only members whose rows others keep locked are left.
    Locked,
    /// Nothing is to be done, or another replica does it.
    Nothing,
}

/// What a batch did.
#[derive(Debug, Default)]
struct Batch {
    /// Rooms in which members became due.
    rooms: Vec<String>,
    /// Whether rooms are to be compared with Chat.
    asks: bool,
}

/// Changes of rules that have not reached the members they concern yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Propagation)]
pub struct Backlog {
    pub changes: i64,
    /// When the oldest of them was made; null: none waits.
    #[schema(required = true)]
    pub since: Option<DateTime<Utc>>,
    /// Rooms that wait for a comparison that a rule or a person requested.
    pub rooms: i64,
}

impl Propagator {
    pub fn new(replica: &Replica) -> Self {
        Self(replica.part(DatabasePart::Rules))
    }

    /// Works until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            let pause = match self.0.db.run(step(&self.0.db)).await {
                Ok(Step::Done(batch)) => {
                    if !batch.rooms.is_empty() {
                        self.0.wake_worker.now();
                    }
                    if batch.asks {
                        self.0.wake_sweeper.now();
                    }
                    match cancel.is_cancelled() {
                        true => return,
                        false => continue,
                    }
                }
                Ok(Step::Nothing) => self.0.wake_propagation.wait(LONGEST_SLEEP),
                Ok(Step::Locked) => {
                    warn_seldom!("rule changes wait for members whose rows are locked");
                    self.0.wake_propagation.wait(LOCKED_RETRY)
                }
                Err(error) => {
                    warn_seldom!(%error, "cannot carry a rule change to its members yet; trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            if cancel.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

/// Carries all changes, except to members that are locked. For tests.
pub async fn propagate(db: &Db) -> Result<(), sqlx::Error> {
    while let Step::Done(_) = step(db).await? {}
    Ok(())
}

/// The next batch.
async fn step(db: &Db) -> Result<Step, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let Some(position) = position(&mut transaction).await? else {
        return Ok(Step::Nothing);
    };
    let mut batch = Batch::default();
    if position.some_left {
        batch.rooms = reach_left(&mut transaction).await?;
    }
    // What follows may wait for a lock, so members who were reached just now are not kept locked for it.
    if batch.rooms.is_empty() {
        let (after, upto) = (position.sequence, position.upto);
        let changes = history::changes(&mut transaction, after, upto, CHANGES).await?;
        let changes: Vec<Carried> = changes.iter().map(Carried::of).collect();
        let Some(walk) = Walk::begin(&changes) else {
            let some_left = position.some_left;
            transaction.commit().await?;
            return Ok(if some_left {
                Step::Locked
            } else {
                Step::Nothing
            });
        };
        let next = walk.batch(&mut transaction, position, &mut batch).await?;
        store(&mut transaction, &next).await?;
    }
    transaction.commit().await?;
    batch.rooms.sort_unstable();
    batch.rooms.dedup();
    wake_rooms(db, &batch.rooms, Duration::ZERO, Duration::ZERO).await?;
    Ok(Step::Done(batch))
}

/// A change, and the members that it concerns.
#[derive(Debug)]
struct Carried {
    sequence: i64,
    /// Before and after, as far as the rule was or is enabled.
    targets: Vec<Target>,
    /// The target of an enabled rule that did not match these members before.
    new: Option<Target>,
}

impl Carried {
    fn of(change: &LoggedChange) -> Self {
        let before = change.before.as_ref().and_then(|rule| target(rule, change));
        let after = change.after.as_ref().and_then(|rule| target(rule, change));
        let same = |one: &Target, other: &Target| {
            (&one.group, &one.account) == (&other.group, &other.account)
        };
        // Of a rule that has ended its members may be forgotten.
        let ended = |rule: &Option<RuleView>| {
            let end = rule.as_ref().and_then(|rule| rule.ends_at);
            end.is_some_and(|end| end <= change.now)
        };
        let new = after.clone().filter(|after| {
            let before = before.as_ref().filter(|_| !ended(&change.before));
            !ended(&change.after) && !before.is_some_and(|before| same(before, after))
        });
        Self {
            sequence: change.sequence,
            targets: [before, after].into_iter().flatten().collect(),
            new,
        }
    }

    fn is_literal(&self) -> bool {
        self.targets.iter().all(Target::is_literal)
    }

    fn concerned(&self, target: &Target, newly: bool) -> Concerned {
        Concerned {
            group: target.group.text().to_owned(),
            account: target.account.text().to_owned(),
            marks: target.marks.clone(),
            request: target.request.clone(),
            change: self.sequence,
            newly,
        }
    }
}

/// To members a disabled rule is none: it neither gives nor takes.
fn target(rule: &RuleView, change: &LoggedChange) -> Option<Target> {
    if !rule.enabled {
        return None;
    }
    let begun = rule.starts_at.is_none_or(|at| at <= change.now);
    let marks = rule.marks.iter().filter(|_| begun);
    Some(Target {
        group: Pattern::<GroupId>::parse(&rule.group).ok()?,
        account: Pattern::<Account>::parse(&rule.account).ok()?,
        marks: marks
            .filter_map(|mark| Mark::parse(i64::from(*mark)).ok())
            .collect(),
        request: change.request_id.clone(),
    })
}

/// The changes that are carried together.
#[derive(Debug)]
struct Walk<'a> {
    changes: &'a [Carried],
    upto: i64,
}

impl<'a> Walk<'a> {
    /// The first changes: as many as are literal, or those that have the patterns of the first.
    fn begin(changes: &'a [Carried]) -> Option<Self> {
        let first = changes.first()?;
        let together = |change: &&Carried| match first.is_literal() {
            true => change.is_literal(),
            false => change.targets.iter().all(|target| {
                let same = |other: &Target| {
                    (&other.group, &other.account) == (&target.group, &target.account)
                };
                first.targets.iter().any(same)
            }),
        };
        let count = changes.iter().take_while(together).count();
        let changes = &changes[..count];
        Some(Self {
            upto: changes.last()?.sequence,
            changes,
        })
    }

    /// Does the next batch, and says how far that is.
    async fn batch(
        &self,
        transaction: &mut PgConnection,
        mut position: Position,
        batch: &mut Batch,
    ) -> Result<Position, sqlx::Error> {
        let literal = self.changes.iter().all(Carried::is_literal);
        let last = match literal {
            true => {
                let stage = position.stage;
                self.literal(transaction, stage, batch).await?;
                position.stage += 1;
                position.stage >= 2
            }
            false => self.wide(transaction, &mut position, batch).await?,
        };
        position.upto = Some(self.upto);
        if last {
            position = Position {
                sequence: self.upto,
                upto: None,
                stage: 0,
                after_group: String::new(),
                after_account: String::new(),
                ..position
            };
        }
        Ok(position)
    }

    /// Two stages, since both write members, each in the order of their keys.
    async fn literal(
        &self,
        transaction: &mut PgConnection,
        stage: i32,
        batch: &mut Batch,
    ) -> Result<(), sqlx::Error> {
        if stage == 0 {
            let members = self.changes.iter().flat_map(|change| {
                let targets = change.targets.iter();
                targets.map(|target| change.concerned(target, false))
            });
            batch.rooms = reach(transaction, members.collect(), false).await?;
            return Ok(());
        }
        let new = self.changes.iter().filter_map(|change| {
            let target = change.new.as_ref()?;
            Some(change.concerned(target, true))
        });
        let new: Vec<Concerned> = new.collect();
        if new.len() <= TRIED {
            batch.rooms = reach(transaction, new, true).await?;
        } else {
            rule_changes::ask_rooms(transaction, &new).await?;
            batch.asks = true;
        }
        Ok(())
    }

    /// Each target has two stages: its members, then its rooms. True after the last batch.
    async fn wide(
        &self,
        transaction: &mut PgConnection,
        position: &mut Position,
        batch: &mut Batch,
    ) -> Result<bool, sqlx::Error> {
        let targets = self.targets();
        let stage = usize::try_from(position.stage).unwrap_or_default();
        let Some((target, is_new)) = targets.get(stage / 2) else {
            return Ok(true);
        };
        let done = if stage.is_multiple_of(2) {
            let after = (
                position.after_group.as_str(),
                position.after_account.as_str(),
            );
            let members = rule_changes::next_members(transaction, target, after).await?;
            let full = i64::try_from(members.len()).is_ok_and(|count| count >= MEMBERS_A_BATCH);
            if let Some((group, account)) = members.last() {
                (position.after_group, position.after_account) = (group.clone(), account.clone());
            }
            let concerned = |(group, account)| Concerned {
                group,
                account,
                marks: target.marks.clone(),
                request: target.request.clone(),
                change: self.upto,
                newly: false,
            };
            let members = members.into_iter().map(concerned).collect();
            batch.rooms = reach(transaction, members, false).await?;
            !full
        } else if *is_new {
            let asked = rule_changes::ask_next_rooms(transaction, target, self.upto).await?;
            batch.asks = asked > 0;
            i64::try_from(asked).is_ok_and(|asked| asked < ROOMS_A_BATCH)
        } else {
            true
        };
        if done {
            position.stage += 1;
            (position.after_group, position.after_account) = (String::new(), String::new());
        }
        Ok(usize::try_from(position.stage).unwrap_or_default() >= 2 * targets.len())
    }

    /// Each pair of patterns once, and whether some rule with it is new.
    fn targets(&self) -> Vec<(Target, bool)> {
        let mut targets: Vec<(Target, bool)> = Vec::new();
        for change in self.changes {
            for target in &change.targets {
                let is_new = change.new.as_ref().is_some_and(|new| {
                    (&new.group, &new.account) == (&target.group, &target.account)
                });
                let known = targets.iter_mut().find(|(known, _)| {
                    (&known.group, &known.account) == (&target.group, &target.account)
                });
                match known {
                    Some((known, known_new)) => {
                        known.marks.extend(target.marks.iter().copied());
                        known.request.clone_from(&target.request);
                        *known_new |= is_new;
                    }
                    None => targets.push((target.clone(), is_new)),
                }
            }
        }
        targets
    }
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
    let concerns = |change: &&LoggedChange| {
        let targets = Carried::of(change).targets;
        targets
            .iter()
            .any(|target| target.group.matches(group) && target.account.matches(account))
    };
    let mut rules: Vec<RuleId> = changes
        .iter()
        .filter(concerns)
        .filter_map(|change| RuleId::parse(&change.rule).ok())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    Ok(rules)
}
