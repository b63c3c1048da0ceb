//! The names of marks, as the service has them.

use std::collections::HashMap;

use serde_json::Value;

use super::{Remote, table};

#[derive(Debug, Clone, Default)]
pub(super) struct Names(HashMap<u64, String>);

impl Names {
    /// Asks the service. An older one has none.
    pub(super) async fn of(remote: &Remote) -> Self {
        let answer = remote.get(&["marks"], &[]).await.unwrap_or_default();
        let items = answer["items"].as_array().into_iter().flatten();
        let named =
            items.filter_map(|one| Some((one["mark"].as_u64()?, table::plain(&one["name"]))));
        Self(named.collect())
    }

    /// `1000 (teacher)`, or the number alone.
    pub(super) fn shown(&self, mark: &Value) -> String {
        let name = mark.as_u64().and_then(|mark| self.0.get(&mark));
        match name {
            Some(name) => format!("{mark} ({name})"),
            None => table::plain(mark),
        }
    }
}
