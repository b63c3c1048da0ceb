//! Mark rules: kept in Postgres, changed over REST, matched against members.
//!
//! SQL stands in the store files alone (`store`, `apply`, `history`, `matching`, `filter::store`,
//! `limits::stream`). Writes of rules are serialised, and whatever a write means for
//! members is committed with it.

pub mod filter;
mod matching;
mod row;

pub use matching::{Matched, matching_rules};
