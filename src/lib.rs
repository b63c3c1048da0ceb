//! Stickymark keeps member marks of Tencent Cloud Chat live rooms in place.

pub mod domain;
pub mod simulator;
