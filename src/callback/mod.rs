//! The callback listener: the only part that faces the internet.
//!
//! It proves that a request comes from Chat, reads what it says of members and rooms, hands that
//! to an [`Intake`], and answers only when the intake has stored it. With a [`Forward`] an existing
//! backend receives the callback too, and gives the answer. Nothing sent from outside can
//! panic it, make it hold more than one body of 1 MiB a request, or enter a log unescaped.
//! Source of the protocol: <https://www.tencentcloud.com/document/product/1047/34354>.

mod answer;
mod body;
mod fields;
mod forward;
mod intake;
mod listener;
mod query;
mod signature;
mod wire;

#[cfg(test)]
mod tests;

pub use body::MAX_BODY_BYTES;
pub use forward::{
    FORWARD_WITHIN, FORWARDS_AT_ONCE, Forward, ForwardCounts, ForwardOutcome, ForwardSettings,
    InvalidForward, leads_to,
};
pub use intake::{Intake, NotStored, Recorded};
pub use listener::{ANSWER_WITHIN, CallbackSettings, CallbackState, InvalidPath, router};
pub use signature::{NotSigned, Signatures};
pub use wire::{Callback, Receipt, RequestOverLimit, Unreadable, parse};
