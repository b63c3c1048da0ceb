//! Lists rules: filters, two orders, and the number of all that match.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::document::label;
use super::table::RuleRow;
use crate::database::Db;
use crate::domain::{Account, GroupId, Mark, Pattern, Rule, RuleId};

/// Which rules to list; `None` lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The beginning of an id, a room, an account or a label.
    #[param(
        max_length = 64,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$",
        example = "class-"
    )]
    #[serde(default, deserialize_with = "label")]
    pub q: Option<String>,
    /// Rules whose pattern of rooms covers this room.
    #[param(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    pub matches_group: Option<GroupId>,
    /// Rules whose pattern of accounts covers this account.
    #[param(value_type = Option<String>, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    pub matches_account: Option<Account>,
    /// Rules with exactly this pattern of rooms, as written in the rule.
    #[param(value_type = Option<String>, pattern = r"^(?:[ -)+-~]|\\\*){0,48}\*?$")]
    pub group: Option<Pattern<GroupId>>,
    /// Rules with exactly this pattern of accounts, as written in the rule.
    #[param(
        value_type = Option<String>,
        pattern = r"^(?:[^*\u0000-\u001f\u007f-\u009f]|\\\*){0,64}\*?$"
    )]
    pub account: Option<Pattern<Account>>,
    /// Rules with this mark, among others.
    pub mark: Option<Mark>,
    /// Rules of this label.
    #[param(max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    #[serde(default, deserialize_with = "label")]
    pub label: Option<String>,
    /// Enabled or disabled rules.
    pub enabled: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RuleOrder)]
pub enum Order {
    #[default]
    Id,
    /// The latest change first.
    Updated,
}

/// The last rule of the page before. Rows neither come twice nor are left out while others come and go
/// between two pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    pub id: RuleId,
    /// With [`Order::Updated`].
    pub updated_at: Option<DateTime<Utc>>,
}

pub(super) async fn list(
    db: &Db,
    filter: &Filter,
    order: Order,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<Rule>, sqlx::Error> {
    let mut transaction = db.begin_reading().await?;
    let matching = Matching::of(filter);
    let rows = sqlx::query_as!(
        RuleRow,
        r#"
        select id, group_text, group_prefix_len, account_text, account_prefix_len, marks, enabled,
               starts_at, ends_at, label, note, version, created_at, updated_at
        from rules
        where case when $1 then $2::timestamptz is null or updated_at < $2
                                or (updated_at = $2 and id > $3)
                   else id > $3 end
          and ($4::text is null or group_text = $4)
          and ($5::smallint is null or group_prefix_len = $5)
          and ($6::text is null or account_text = $6)
          and ($7::smallint is null or account_prefix_len = $7)
          and ($8::bigint is null or marks @> array[$8])
          and ($9::text is null or label = $9)
          and ($10::boolean is null or enabled = $10)
          and ($11::text is null or id like $11 or group_text like $11 or account_text like $11
                                 or label like $11)
          and ($12::text is null or (group_text = any($13::text[]) and group_text =
               case when group_prefix_len < 0 then $12 else left($12, group_prefix_len) end))
          and ($14::text is null or (account_text = any($15::text[]) and account_text =
               case when account_prefix_len < 0 then $14 else left($14, account_prefix_len) end))
        order by case when $1 then updated_at end desc, id
        limit $16
        "#,
        order == Order::Updated,
        after.and_then(|after| after.updated_at),
        after.map_or("", |after| after.id.as_str()),
        filter.group.as_ref().map(Pattern::text),
        filter.group.as_ref().map(Pattern::prefix_len),
        filter.account.as_ref().map(Pattern::text),
        filter.account.as_ref().map(Pattern::prefix_len),
        filter.mark.map(i64::from),
        filter.label,
        filter.enabled,
        matching.beginning,
        filter.matches_group.as_ref().map(GroupId::as_str),
        &matching.groups as &[&str],
        filter.matches_account.as_ref().map(Account::as_str),
        &matching.accounts as &[&str],
        limit,
    )
    .fetch_all(&mut *transaction)
    .await?;
    rows.into_iter().map(Rule::try_from).collect()
}

pub(super) async fn count(db: &Db, filter: &Filter) -> Result<i64, sqlx::Error> {
    let mut transaction = db.begin_reading().await?;
    let matching = Matching::of(filter);
    sqlx::query_scalar!(
        r#"
        select count(*) as "count!" from rules
        where ($1::text is null or group_text = $1)
          and ($2::smallint is null or group_prefix_len = $2)
          and ($3::text is null or account_text = $3)
          and ($4::smallint is null or account_prefix_len = $4)
          and ($5::bigint is null or marks @> array[$5])
          and ($6::text is null or label = $6)
          and ($7::boolean is null or enabled = $7)
          and ($8::text is null or id like $8 or group_text like $8 or account_text like $8
                                or label like $8)
          and ($9::text is null or (group_text = any($10::text[]) and group_text =
               case when group_prefix_len < 0 then $9 else left($9, group_prefix_len) end))
          and ($11::text is null or (account_text = any($12::text[]) and account_text =
               case when account_prefix_len < 0 then $11 else left($11, account_prefix_len) end))
        "#,
        filter.group.as_ref().map(Pattern::text),
        filter.group.as_ref().map(Pattern::prefix_len),
        filter.account.as_ref().map(Pattern::text),
        filter.account.as_ref().map(Pattern::prefix_len),
        filter.mark.map(i64::from),
        filter.label,
        filter.enabled,
        matching.beginning,
        filter.matches_group.as_ref().map(GroupId::as_str),
        &matching.groups as &[&str],
        filter.matches_account.as_ref().map(Account::as_str),
        &matching.accounts as &[&str],
    )
    .fetch_one(&mut *transaction)
    .await
}

/// Filters in a form that indexes know: the beginning as a pattern of `like`, and every text that a
/// pattern over the room or the account can have.
struct Matching<'a> {
    beginning: Option<String>,
    groups: Vec<&'a str>,
    accounts: Vec<&'a str>,
}

impl<'a> Matching<'a> {
    fn of(filter: &'a Filter) -> Self {
        Self {
            beginning: filter.q.as_deref().map(beginning),
            groups: filter
                .matches_group
                .as_ref()
                .map_or_else(Vec::new, |group| beginnings(group.as_str())),
            accounts: filter
                .matches_account
                .as_ref()
                .map_or_else(Vec::new, |account| beginnings(account.as_str())),
        }
    }
}

/// A star at the end is written in patterns and means the same here.
fn beginning(q: &str) -> String {
    let mut pattern = String::with_capacity(q.len() + 1);
    for letter in q.strip_suffix('*').unwrap_or(q).chars() {
        if "\\%_".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

fn beginnings(text: &str) -> Vec<&str> {
    let ends = text.char_indices().map(|(at, _)| &text[..at]);
    ends.chain([text]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_taken_literally_but_for_a_last_star() {
        assert_eq!(beginning("class-*"), "class-%");
        assert_eq!(beginning("50%_\\"), "50\\%\\_\\\\%");
    }

    #[test]
    fn a_text_has_beginnings_of_every_length() {
        assert_eq!(beginnings("老ab"), ["", "老", "老a", "老ab"]);
    }
}
