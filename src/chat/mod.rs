//! The REST client of Tencent Cloud Chat.
//!
//! It signs calls, sends them, and says what became of them. Budget, batching over rooms and
//! retries belong to the callers.

mod regions;

pub use regions::{Region, UnknownRegion};
