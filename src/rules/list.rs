//! Lists rules (filters, two orders, and the number of all that match) and the changes of one rule.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder};
use utoipa::{IntoParams, ToSchema};

use super::document::{RuleView, label};
use super::history::{Action, HistoryEntry};
use super::store::Rules;
use super::table::RuleRow;
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    pub id: RuleId,
    /// With [`Order::Updated`].
    pub updated_at: Option<DateTime<Utc>>,
}

impl Rules {
    /// Changes of one rule, the first first, behind the entry `after`; also of a deleted one.
    pub async fn history(
        &self,
        id: &RuleId,
        after: i64,
        limit: u16,
    ) -> Result<Vec<HistoryEntry>, sqlx::Error> {
        sqlx::query_as!(
            HistoryEntry,
            r#"
            select sequence, at, actor, action as "action: Action", before as "before: Json<RuleView>",
                   after as "after: Json<RuleView>", request_id
            from rule_history where rule_id = $1 and sequence > $2
            order by sequence limit $3
            "#,
            id.as_str(),
            after,
            i64::from(limit),
        )
        .fetch_all(&self.db)
        .await
    }

    /// The first rules behind `after` that the filter lets through.
    pub async fn list(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&After>,
        limit: u16,
    ) -> Result<Vec<Rule>, sqlx::Error> {
        let mut query = filter.select(
            "id, group_text, group_prefix_len, account_text, account_prefix_len, marks, enabled, \
             starts_at, ends_at, label, note, version, created_at, updated_at",
        );
        if let Some(After { id, updated_at }) = after {
            query.push(" and (");
            if let Some(at) = updated_at {
                query.push("updated_at < ").push_bind(at);
                query.push(" or updated_at = ").push_bind(at).push(" and ");
            }
            query.push("id > ").push_bind(id.as_str()).push(")");
        }
        query.push(match order {
            Order::Id => " order by id limit ",
            Order::Updated => " order by updated_at desc, id limit ",
        });
        query.push_bind(i64::from(limit));
        let mut transaction = self.db.begin_reading().await?;
        // Not kept by the connection: filters combine in too many ways.
        let rows = query.build_query_as::<RuleRow>().persistent(false);
        let rows = rows.fetch_all(&mut *transaction).await?;
        rows.into_iter().map(Rule::try_from).collect()
    }

    /// How many rules the filter lets through.
    pub async fn count(&self, filter: &Filter) -> Result<i64, sqlx::Error> {
        let mut query = filter.select("count(*)");
        let mut transaction = self.db.begin_reading().await?;
        let count = query.build_query_scalar().persistent(false);
        count.fetch_one(&mut *transaction).await
    }
}

impl Filter {
    /// A statement with the filters that are given, each in a form that an index knows.
    fn select(&self, what: &'static str) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("select ");
        query.push(what).push(" from rules where true");
        if let Some(group) = &self.group {
            query.push(" and group_text = ").push_bind(group.text());
            query
                .push(" and group_prefix_len = ")
                .push_bind(group.prefix_len());
        }
        if let Some(account) = &self.account {
            query.push(" and account_text = ").push_bind(account.text());
            query
                .push(" and account_prefix_len = ")
                .push_bind(account.prefix_len());
        }
        if let Some(mark) = self.mark {
            query
                .push(" and marks @> ")
                .push_bind(vec![i64::from(mark)]);
        }
        if let Some(label) = &self.label {
            query.push(" and label = ").push_bind(label);
        }
        if let Some(enabled) = self.enabled {
            query.push(" and enabled = ").push_bind(enabled);
        }
        if let Some(beginning) = self.q.as_deref().map(beginning) {
            let columns = ["id", "group_text", "account_text", "label"];
            for (column, or) in columns.into_iter().zip([" and (", " or ", " or ", " or "]) {
                query
                    .push(or)
                    .push(column)
                    .push(" like ")
                    .push_bind(&beginning);
            }
            query.push(")");
        }
        // Of all texts that a pattern over an id can have, those that have the right length.
        if let Some(group) = &self.matches_group {
            query
                .push(" and group_text = any(")
                .push_bind(beginnings(group.as_str()));
            query.push(") and (group_prefix_len >= 0 or group_text = ");
            query.push_bind(group.as_str()).push(")");
        }
        if let Some(account) = &self.matches_account {
            query
                .push(" and account_text = any(")
                .push_bind(beginnings(account.as_str()));
            query.push(") and (account_prefix_len >= 0 or account_text = ");
            query.push_bind(account.as_str()).push(")");
        }
        query
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
