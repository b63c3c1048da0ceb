//! Which rules match some members of one room.
//!
//! A rule is found by equality alone: a prefix of length n matches an id when the first n characters
//! of the id are its text. So each member needs one index probe for each shape of rule in use (the
//! pair of prefix lengths, kept in `rule_shapes`), however many rules there are.

use std::time::Duration;

use sqlx::PgExecutor;

use super::table::{corrupt, marks_of};
use crate::database::interval;
use crate::domain::{Account, GroupId, Marks, REMEMBERED, RuleId, Window};

/// A rule that matches a member, whether or not it is active now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The member: index into the accounts that were asked for.
    pub account: usize,
    pub rule: RuleId,
    pub marks: Marks,
    pub enabled: bool,
    pub window: Window,
}

/// All rules whose patterns match the room and one of the accounts: also those that are disabled, not yet
/// begun, or ended within the last day, since the marks of such a rule are marks of ours. One
/// entry for each pair of account and rule, in no order.
pub async fn matching_rules(
    executor: impl PgExecutor<'_>,
    group: &GroupId,
    accounts: &[Account],
) -> Result<Vec<Matched>, sqlx::Error> {
    matching_rules_ended_within(Some(REMEMBERED), executor, group, accounts).await
}

/// The same, with rules that ended earlier (`None`: whenever).
pub(super) async fn matching_rules_ended_within(
    remembered: Option<Duration>,
    executor: impl PgExecutor<'_>,
    group: &GroupId,
    accounts: &[Account],
) -> Result<Vec<Matched>, sqlx::Error> {
    let accounts: Vec<&str> = accounts.iter().map(Account::as_str).collect();
    // `offset 0` keeps the probe of one shape a step of its own: the planner, who knows nothing of
    // the length of the list, could else think of reading the whole table.
    let rows = sqlx::query!(
        r#"
        select a.position as "position!", r.id as "id: RuleId", r.marks, r.enabled, r.starts_at, r.ends_at
        from rule_shapes s
        cross join unnest($2::text[]) with ordinality as a (account, position)
        cross join lateral (
            select * from rules
            where account_text = case when s.account_prefix_len < 0 then a.account
                                      else left(a.account, s.account_prefix_len) end
              and group_text = case when s.group_prefix_len < 0 then $1
                                    else left($1, s.group_prefix_len) end
              and account_prefix_len = s.account_prefix_len
              and group_prefix_len = s.group_prefix_len
              and (ends_at is null or $3::interval is null or ends_at > now() - $3)
            offset 0
        ) r
        "#,
        group.as_str(),
        &accounts as &[&str],
        remembered.map(interval),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Matched {
                account: usize::try_from(row.position - 1).map_err(corrupt)?,
                rule: row.id,
                marks: marks_of(&row.marks)?,
                enabled: row.enabled,
                window: Window {
                    starts_at: row.starts_at,
                    ends_at: row.ends_at,
                },
            })
        })
        .collect()
}
