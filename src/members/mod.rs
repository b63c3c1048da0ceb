//! Members of live rooms: the one table that is both their state and the queue of work.
//!
//! A row says where a member is believed to be, which marks Chat confirmed for him, and when
//! somebody must look at him next (`due_at`; null: never). It holds no marks to send: those are
//! planned from the rules at the moment of the call. Only members that some rule names get a row.
//! Every change of fact raises `generation`; whoever settles a claim does so only if the generation
//! is still the one it claimed. All times are those of Postgres, so replicas need no common clock.

mod rule_changes;
mod wake;

pub use rule_changes::{RuleChange, rules_changed};
pub use wake::WakeUp;

use crate::domain::Mark;

/// Marks as the text of a Postgres array.
fn array_text(marks: impl Iterator<Item = Mark>) -> String {
    let numbers: Vec<String> = marks.map(|mark| mark.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}
