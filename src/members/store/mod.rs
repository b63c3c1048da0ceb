//! Every statement on `members` and `rooms`.

pub(crate) mod claim;
pub(crate) mod cleanup;
pub mod figures;
pub(crate) mod list;
pub(crate) mod places;
pub(crate) mod record;
pub(crate) mod retry;
pub(crate) mod room_end;
pub(crate) mod rooms;
pub(crate) mod rule_changes;
pub(crate) mod settle;
pub(crate) mod sweep;
