//! No room may need more than ten marks at any moment.
//!
//! Chat refuses an eleventh mark in a room, so a write that could lead there is refused instead.
//! `walk` decides over rules in the order of their rooms and does no I/O; `area` says which part
//! of all rules a write can bring into conflict; `stream` reads just that part. Accounts play no
//! role: the limit belongs to the room. Disabled and ended rules do not count, and rules whose
//! windows are disjoint never add up.

mod area;
mod stream;
mod walk;

pub(super) use area::areas;
pub(super) use stream::{Unwritten, check, rules_of};
pub use walk::{Conflict, Demand};
