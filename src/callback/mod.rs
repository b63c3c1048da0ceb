//! The callback listener: the only part that faces the internet.
//!
//! It proves that a request comes from Chat, reads what it says of members and rooms, hands that to
//! the inbox, and answers only when it is stored. With a [`Forward`] an existing backend receives
//! the callback too, and gives the answer. Nothing sent from outside can panic it, make it hold more
//! than a bounded sum of bodies, or enter a log unescaped.
//! Source of the protocol: <https://www.tencentcloud.com/document/product/1047/34354>.

mod answer;
mod events;
mod forward;
mod listener;
mod signature;
mod wire;

#[cfg(test)]
mod tests;

pub use events::{Events, Recorded};
pub use forward::{Forward, ForwardSettings, InvalidForward};
pub use listener::{ANSWER_WITHIN, BODY_BYTES_HELD, CallbackSettings, InvalidPath, router};
pub use signature::Signatures;
