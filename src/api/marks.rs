//! The names of marks, as the settings give them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{AdminState, CommonProblems, Json, NoParameters, Problem, Query};
use crate::domain::{Mark, MarkSet};

/// `marks.names` of the settings. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MarkNames(Arc<BTreeMap<Mark, String>>);

impl MarkNames {
    pub fn new(names: BTreeMap<Mark, String>) -> Self {
        Self(Arc::new(names))
    }

    /// A mark for people: `1000 (teacher)`, or the number alone.
    pub(crate) fn shown(&self, mark: Mark) -> String {
        match self.0.get(&mark) {
            Some(name) => format!("{mark} ({name})"),
            None => mark.to_string(),
        }
    }

    /// The names of those of the marks that have one.
    pub(crate) fn of(&self, marks: &MarkSet) -> Vec<NamedMark> {
        let named = marks.iter().filter_map(|mark| {
            let name = self.0.get(mark)?.clone();
            Some(NamedMark { mark: *mark, name })
        });
        named.collect()
    }
}

/// The named marks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MarkNameList {
    /// Ascending.
    items: Vec<NamedMark>,
}

/// A mark and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MarkName)]
pub(crate) struct NamedMark {
    mark: Mark,
    #[schema(example = "teacher")]
    name: String,
}

/// List the names of marks.
///
/// Those that `marks.names` in the settings gives them.
#[utoipa::path(
    get, path = "/marks", operation_id = "listMarkNames", tag = "rules",
    responses((status = 200, description = "The named marks.", body = MarkNameList), CommonProblems)
)]
pub(super) async fn names(
    State(state): State<AdminState>,
    _: Query<NoParameters>,
) -> Result<Json<MarkNameList>, Problem> {
    let names = state.mark_names;
    let items = names.of(&names.0.keys().copied().collect());
    Ok(Json(MarkNameList { items }))
}
