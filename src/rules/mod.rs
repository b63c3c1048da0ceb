//! Mark rules: kept in Postgres, changed over REST, matched against members.
//!
//! A write goes from `store`, which keeps the mark limit and the history, to `table`.
//! [`propagation`] carries the change to the members after the commit, and [`filter`] keeps most events of
//! members without a rule away from the database.

pub mod document;
mod erase;
pub mod explain;
pub mod filter;
mod history;
pub mod import;
pub mod json;
pub mod limits;
mod list;
mod matching;
pub mod propagation;
mod store;
mod table;

pub use erase::Erased;
pub use history::{Author, HistoryEntry, delete_old_history};
pub use import::Deed;
pub use list::{After, Filter, Order};
pub use matching::{Matched, matching_rules};
pub(crate) use store::PATIENCE;
pub use store::{Rules, WriteError};
