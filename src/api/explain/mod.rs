//! Why a member has, or lacks, a mark: everything that is known, and a summary in words.
//!
//! Rules, the member's row and the room are read one after the other, not in one snapshot; a change in
//! between shows in the next answer.

mod summary;
mod view;

use axum::extract::{FromRef, State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::marks::MarkNames;
use crate::api::{CommonProblems, Json, Problem, Query};
use crate::chat::Breaker;
use crate::database::Db;
use crate::domain::{Account, GroupId};
use crate::members::{MemberFilter, held_places, list_members};
use crate::members::{RoomFilter, list_rooms};
use crate::rules::explain::rules_for;
use view::{Explanation, Facts};

/// What explanations are made from. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Explanations {
    db: Db,
    breaker: Breaker,
    names: MarkNames,
}

impl Explanations {
    /// `breaker` is that of the calls that set marks.
    pub fn new(db: Db, breaker: Breaker, names: MarkNames) -> Self {
        Self { db, breaker, names }
    }

    async fn facts(&self, group: &GroupId, account: &Account) -> Result<Facts, sqlx::Error> {
        let rules = rules_for(&self.db, group, account).await?;
        let member = MemberFilter {
            group: Some(group.clone()),
            account: Some(account.clone()),
            state: None,
            few: false,
        };
        let room = RoomFilter {
            group: Some(group.clone()),
            state: None,
        };
        Ok(Facts {
            rules,
            member: list_members(&self.db, &member, None, 1).await?.pop(),
            room: list_rooms(&self.db, &room, "", 1).await?.pop(),
            held: held_places(&self.db, group).await?,
            paused: self.breaker.paused(),
            names: self.names.clone(),
        })
    }
}

/// The routes below `/v1`.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Explanations: FromRef<S>,
{
    OpenApiRouter::new().routes(routes!(explain))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    /// The room.
    #[param(value_type = String, pattern = "^[ -~]{1,48}$")]
    group: GroupId,
    /// The member; they need not be known.
    #[param(value_type = String, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    account: Account,
}

/// Explain the marks of a member.
///
/// What the member has, what rules require and which, what happened last, and when the next attempt is;
/// also for accounts that no rule matches and rooms that are not known.
#[utoipa::path(
    get, path = "/explain", operation_id = "explainMember", tag = "members", params(ExplainQuery),
    responses((status = 200, description = "The explanation.", body = Explanation), CommonProblems)
)]
async fn explain(
    State(explanations): State<Explanations>,
    Query(ExplainQuery { group, account }): Query<ExplainQuery>,
) -> Result<Json<Explanation>, Problem> {
    let facts = explanations.facts(&group, &account).await?;
    Ok(Json(Explanation::of(&group, &account, facts)))
}
