//! The REST client of Tencent Cloud Chat.
//!
//! It takes a slot of the budget for each call, signs and sends it, and says what became of it.
//! Batching over rooms and retries belong to the callers. No signature and no key shows in any log,
//! error or `Debug`.

mod answers;
mod breaker;
mod budget;
mod calls;
mod client;
mod error;
mod error_codes;
mod recent;
mod user_sig;

#[cfg(test)]
mod tests;

pub use crate::metrics::ErrorClass;
pub use answers::ModifyAnswer;
pub use breaker::{Breaker, PauseState, Tried};
pub use budget::{Budget, BudgetState, Budgets, CallRate};
pub use calls::{CommandType, MemberMarks};
pub use client::{ChatClient, ClientError};
#[cfg(test)]
pub(crate) use error::InvalidCall;
pub use error::{ChatError, MAX_MEMBERS_PER_CALL, Reach};
pub use error_codes::ErrorCode;
pub use recent::CallSummary;
pub use user_sig::UserSigKey;
