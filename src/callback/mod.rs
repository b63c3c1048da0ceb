//! The callback listener: the only part that faces the internet.
//!
//! It checks that a request comes from Chat, reads what it says of members and rooms, passes that to
//! the inbox, and answers only when it is stored. With `callback.forward_url` an existing backend receives
//! the callback too, and gives the answer. Nothing sent from outside can make it panic, exceed its
//! memory for bodies, or enter a log unescaped.
//! Source of the protocol: <https://www.tencentcloud.com/document/product/1047/34354>.

mod answer;
mod arrivals;
mod events;
mod forward;
mod listener;
mod signature;
mod wire;

#[cfg(test)]
mod tests;

pub use arrivals::Arrivals;
pub(crate) use arrivals::{MINUTES, OtherPath, Report};
pub use events::{Events, Recorded};
pub use listener::Listener;
