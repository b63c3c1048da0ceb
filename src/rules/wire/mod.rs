//! A rule as JSON: what the API answers, takes, and keeps in the history.
//!
//! Input is read into the domain's types field by field, so that every wrong field is reported at
//! once, with its RFC 6901 pointer and what would be right. Unknown and repeated fields are errors.
//! `version`, `created_at` and `updated_at` are accepted and ignored, so that what the API answered
//! can be sent back as it is.

mod input;
mod merge_patch;
mod object;
mod schema;
mod view;

pub(crate) use input::read_label;
pub use input::{Input, InvalidField, read_rule, read_rule_named};
pub use merge_patch::patched;
pub use object::JsonObject;
pub use schema::{MarkNumber, RuleInput, RulePatch};
pub use view::RuleView;
pub(super) use view::time;
