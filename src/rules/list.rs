//! Lists rules by exact filters, in the order of their ids.

use sqlx::PgConnection;

use super::row::RuleRow;
use crate::domain::{Account, GroupId, Mark, Pattern, Rule, RuleId};

/// Which rules to list; `None` lets everything through. Patterns are compared as they are written,
/// not by what they match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Rules over exactly this pattern of rooms.
    pub group: Option<Pattern<GroupId>>,
    /// Rules over exactly this pattern of accounts.
    pub account: Option<Pattern<Account>>,
    /// Rules that demand this mark, among others.
    pub mark: Option<Mark>,
    /// Rules of this label.
    pub label: Option<String>,
    /// Enabled or disabled rules.
    pub enabled: Option<bool>,
}

/// The first rules behind the id `after`. The order is by id alone, so a rule neither comes twice
/// nor is left out while others come and go between two pages.
pub(super) async fn list(
    transaction: &mut PgConnection,
    filter: &Filter,
    after: Option<&RuleId>,
    limit: i64,
) -> Result<Vec<Rule>, sqlx::Error> {
    // A plan made for any filter could walk all ids to find a handful of rules.
    sqlx::query!("set local plan_cache_mode = force_custom_plan")
        .execute(&mut *transaction)
        .await?;
    let rows = sqlx::query_as!(
        RuleRow,
        r#"
        select * from rules
        where id > $1
          and ($2::text is null or group_text = $2)
          and ($3::smallint is null or group_prefix_len = $3)
          and ($4::text is null or account_text = $4)
          and ($5::smallint is null or account_prefix_len = $5)
          and ($6::bigint is null or marks @> array[$6])
          and ($7::text is null or label = $7)
          and ($8::boolean is null or enabled = $8)
        order by id limit $9
        "#,
        after.map_or("", RuleId::as_str),
        filter.group.as_ref().map(Pattern::text),
        filter.group.as_ref().map(Pattern::prefix_len),
        filter.account.as_ref().map(Pattern::text),
        filter.account.as_ref().map(Pattern::prefix_len),
        filter.mark.map(i64::from),
        filter.label,
        filter.enabled,
        limit,
    )
    .fetch_all(transaction)
    .await?;
    rows.into_iter().map(Rule::try_from).collect()
}
