//! Mark rules: kept in Postgres, changed over REST, matched against members.
//!
//! SQL stands in `table`, `turn`, `list`, `history`, `propagation`, `matching`, `explain`, `filter::store` and
//! `limits::stream` alone. Writes of rules take their turn; the history is committed with them.
//! [`propagation`] carries the changes to the members after the commit.

mod apply;
pub mod document;
mod erase;
pub mod explain;
pub mod filter;
mod history;
pub mod import;
pub mod json;
pub mod limits;
mod list;
mod many;
mod matching;
pub mod propagation;
mod row;
mod store;
mod table;
mod turn;

pub use erase::Erased;
pub use history::{Action, HistoryEntry, HistoryRetention};
pub use list::{After, Filter, Order};
pub use many::Deed;
pub use matching::{Matched, matching_rules};
pub use store::{Author, Precondition, Rules, WriteError};
pub(crate) use turn::PATIENCE;
