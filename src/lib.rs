//! Stickymark keeps member marks of Tencent Cloud Chat live rooms in place.

pub mod callback;
pub mod chat;
pub mod clock;
pub mod domain;
