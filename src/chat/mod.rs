//! The REST client of Tencent Cloud Chat.
//!
//! It signs calls, sends them, and says what became of them. Budget, batching over rooms and
//! retries belong to the callers. No signature and no key shows in any log, error or `Debug`.

mod client;
mod error;
mod error_codes;
mod regions;
mod user_sig;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{ChatClient, ChatEndpoint, InvalidEndpoint};
pub use error::{ChatError, InvalidCall, MAX_MEMBERS_PER_CALL, NotSigned};
pub use error_codes::{ErrorClass, ErrorCode};
pub use regions::{Region, UnknownRegion};
pub use user_sig::UserSigKey;
pub use wire::{CommandType, MemberMarks, MembersPage, ModifyAnswer, OnlineMember};
