//! Why a member has these marks: the rules that match, and those that nearly do.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::matching::matching_rules_ended_within;
use super::propagation::not_carried;
use super::table;
use crate::database::Db;
use crate::domain::{Account, GroupId, MarkSet, Rule, RuleId};
use crate::members::mark_set;

/// Most rules of each kind.
pub const MOST_LISTED: usize = 20;
const LIMIT: i64 = 20;
/// Rules looked through for those that nearly name a member.
const LOOKED_THROUGH: i64 = 5000;

/// What the rules say of one member at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesFor {
    /// The moment, by the clock of the database.
    pub at: DateTime<Utc>,
    /// The marks that all active rules together require for the member.
    pub desired: MarkSet,
    /// Active rules that match, at most [`MOST_LISTED`], and how many there are.
    pub matched: (Vec<Rule>, usize),
    /// Rules that nearly match, at most [`MOST_LISTED`] of each kind.
    pub near: Vec<(Rule, Miss)>,
    /// All marks that active rules require in the room, of any member.
    pub in_room: MarkSet,
    /// Rules of which a change has not reached the member yet.
    pub under_way: Vec<RuleId>,
}

/// Why a rule requires nothing for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = NearMissReason)]
pub enum Miss {
    /// Matches the member, but is disabled.
    Disabled,
    /// Matches the member, but starts later.
    NotStarted,
    /// Matches the member, but has ended.
    Ended,
    /// Names the account, but another room.
    OtherRoom,
    /// Names the room, but another account.
    OtherAccount,
}

/// Reads what the rules say of a member, from one state of the database.
pub async fn rules_for(
    db: &Db,
    group: &GroupId,
    account: &Account,
) -> Result<RulesFor, sqlx::Error> {
    let mut transaction = db.begin_reading().await?;
    let at = sqlx::query_scalar!(r#"select now() as "at!""#)
        .fetch_one(&mut *transaction)
        .await?;
    let accounts = std::slice::from_ref(account);
    let mut named = matching_rules_ended_within(None, &mut *transaction, group, accounts).await?;
    named.sort_unstable_by(|one, other| one.rule.cmp(&other.rule));
    let mut desired = MarkSet::new();
    let (mut matched, mut idle) = (Vec::new(), Vec::new());
    for rule in named {
        let ended = rule.window.ends_at.is_some_and(|end| end <= at);
        match (rule.enabled, rule.window.contains(at), ended) {
            (true, true, _) => {
                desired.extend(rule.marks.iter());
                matched.push(rule.rule);
            }
            (false, ..) => idle.push((rule.rule, Miss::Disabled)),
            (true, false, true) => idle.push((rule.rule, Miss::Ended)),
            (true, false, false) => idle.push((rule.rule, Miss::NotStarted)),
        }
    }
    let count = matched.len();
    matched.truncate(MOST_LISTED);
    let mut near = first_of_each(idle);
    near.extend(other_patterns(&mut transaction, group, account).await?);
    let ids = matched.iter().chain(near.iter().map(|(id, _)| id));
    let mut rules = table::fetch_all(&mut *transaction, ids).await?;
    let matched = matched.iter().filter_map(|id| rules.remove(id)).collect();
    let near = near
        .iter()
        .filter_map(|(id, miss)| Some((rules.remove(id)?, *miss)));
    Ok(RulesFor {
        at,
        desired,
        matched: (matched, count),
        near: near.collect(),
        in_room: marks_in_room(&mut transaction, group).await?,
        under_way: not_carried(&mut transaction, group, account).await?,
    })
}

fn first_of_each(rules: Vec<(RuleId, Miss)>) -> Vec<(RuleId, Miss)> {
    let kinds = [Miss::NotStarted, Miss::Ended, Miss::Disabled];
    let of = |kind: Miss| {
        let rules = rules.iter().filter(move |(_, miss)| *miss == kind);
        rules.take(MOST_LISTED).cloned()
    };
    kinds.into_iter().flat_map(of).collect()
}

/// Rules with exactly this account but other rooms, and with exactly this room but other accounts. Of each
/// those first that differ in upper and lower case only.
async fn other_patterns(
    transaction: &mut PgConnection,
    group: &GroupId,
    account: &Account,
) -> Result<Vec<(RuleId, Miss)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        (select id as "id!: RuleId", true as "other_room!" from (
            select * from rules
            where account_text = $2 and account_prefix_len < 0
              and group_text <> case when group_prefix_len < 0 then $1
                                     else left($1, group_prefix_len) end
            limit $3
         ) r
         order by lower(group_text) = lower($1) desc, id limit $4)
        union all
        (select id, false from (
            select * from rules
            where group_text = $1 and group_prefix_len < 0
              and account_text <> case when account_prefix_len < 0 then $2
                                       else left($2, account_prefix_len) end
            limit $3
         ) r
         order by lower(account_text) = lower($2) desc, left(account_text, 3) = left($2, 3) desc, id
         limit $4)
        "#,
        group.as_str(),
        account.as_str(),
        LOOKED_THROUGH,
        LIMIT,
    )
    .fetch_all(transaction)
    .await?;
    let miss = |other_room| match other_room {
        true => Miss::OtherRoom,
        false => Miss::OtherAccount,
    };
    let rules = rows.into_iter().map(|row| (row.id, miss(row.other_room)));
    Ok(rules.collect())
}

/// The marks that active rules require in a room.
async fn marks_in_room(
    transaction: &mut PgConnection,
    group: &GroupId,
) -> Result<MarkSet, sqlx::Error> {
    let numbers = sqlx::query_scalar!(
        r#"
        select distinct mark as "mark!"
        from (select distinct group_prefix_len as length from rule_shapes) l
        join room_demands d
            on d.group_prefix_len = l.length
           and d.group_text = case when l.length < 0 then $1 else left($1, l.length) end
        cross join unnest(d.marks) as mark
        where d.starts_at <= now() and d.ends_at > now()
        "#,
        group.as_str(),
    )
    .fetch_all(transaction)
    .await?;
    Ok(mark_set(&numbers))
}
