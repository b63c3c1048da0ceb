//! The callbacks that the simulated Chat sends: what they say, what may go wrong with them, and
//! the queue that sends them.
//!
//! General form: <https://www.tencentcloud.com/document/product/1047/34354>.

mod counters;
mod event;
mod outbox;
mod routing;
mod target;

pub use counters::{AnswerTimes, KindCount};
pub use event::Kind;
pub(super) use event::{Cause, Event, What};
pub(super) use outbox::{Delivery, Outbox};
pub(super) use routing::Routing;
pub use routing::{CallbackEffect, CallbackFault};
pub(super) use target::Target;
