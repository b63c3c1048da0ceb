//! Why a member has, or lacks, a mark: everything that is known, and a summary in words.
//!
//! Rules, the member's row and the room are read one after the other, not in one snapshot; a change in
//! between shows in the next answer.

mod summary;
mod view;

use axum::Json;
use axum::extract::{FromRef, State};
use sqlx::PgPool;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{CommonProblems, Parameters, Problem};
use crate::domain::{Account, GroupId};
use crate::members::{MemberFilter, held_places, list_members};
use crate::members::{RoomFilter, list_rooms};
use crate::reapply::Breaker;
use crate::rules::explain::rules_for;
use view::{Explanation, Facts};

/// What explanations are made from. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Explanations {
    pool: PgPool,
    breaker: Breaker,
}

impl Explanations {
    /// `breaker` is that of the calls that set marks.
    pub fn new(pool: PgPool, breaker: Breaker) -> Self {
        Self { pool, breaker }
    }

    async fn facts(&self, group: &GroupId, account: &Account) -> Result<Facts, sqlx::Error> {
        let rules = rules_for(&self.pool, group, account).await?;
        let member = MemberFilter {
            group: Some(group.clone()),
            account: Some(account.clone()),
            state: None,
        };
        let room = RoomFilter {
            group: Some(group.clone()),
            gone: None,
        };
        Ok(Facts {
            rules,
            member: list_members(&self.pool, &member, None, 1).await?.pop(),
            room: list_rooms(&self.pool, &room, "", 1).await?.pop(),
            held: held_places(&self.pool, group).await?,
            paused: self.breaker.paused(),
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

/// The parameters, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes parameters")]
struct ExplainQuery {
    /// The room.
    #[param(pattern = "^[ -~]{1,48}$")]
    group: String,
    /// The member; they need not be known.
    #[param(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,32}$")]
    account: String,
}

/// Explain the marks of a member of a room.
#[utoipa::path(
    get, path = "/explain", operation_id = "explainMember", tag = "members", params(ExplainQuery),
    responses((status = 200, description = "The explanation.", body = Explanation), CommonProblems)
)]
async fn explain(
    State(explanations): State<Explanations>,
    mut parameters: Parameters,
) -> Result<Json<Explanation>, Problem> {
    let mut absent = Vec::new();
    let mut required = |name: &'static str| {
        let text = parameters.take(name, |text| Ok(text.to_owned()));
        if text.is_none() {
            absent.push(name);
        }
        text.unwrap_or_default()
    };
    let (group, account) = (required("group"), required("account"));
    let group = GroupId::parse(&group).map_err(|invalid| ("group", invalid.to_string()));
    let account = Account::parse(&account).map_err(|invalid| ("account", invalid.to_string()));
    for (name, detail) in [group.as_ref().err(), account.as_ref().err()]
        .into_iter()
        .flatten()
    {
        let must = "must be given once";
        let detail = if absent.contains(name) { must } else { detail };
        parameters.wrong(name, detail);
    }
    parameters.finish()?;
    let (Ok(group), Ok(account)) = (group, account) else {
        return Err(Problem::internal(&"a wrong parameter went unnoticed"));
    };
    let facts = explanations.facts(&group, &account).await?;
    Ok(Json(Explanation::of(&group, &account, facts)))
}
