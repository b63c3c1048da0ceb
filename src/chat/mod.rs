//! The REST client of Tencent Cloud Chat.
//!
//! It signs calls, sends them, and says what became of them. Budget, batching over rooms and
//! retries belong to the callers. No signature and no key shows in any log, error or `Debug`.

mod answers;
mod calls;
mod client;
mod error;
mod error_codes;
mod user_sig;

#[cfg(test)]
mod tests;

pub use answers::{MembersPage, ModifyAnswer, OnlineMember};
pub use calls::{CommandType, MemberMarks};
pub use client::{ChatClient, ChatEndpoint, InvalidEndpoint};
pub use error::{ChatError, InvalidCall, MAX_MEMBERS_PER_CALL, NotSigned};
pub use error_codes::{ErrorClass, ErrorCode};
pub use user_sig::UserSigKey;
