//! Real processes over real sockets, and everything that can go wrong around them.
//!
//! After each fault the same check: a member whose callback was answered 200 carries exactly the marks that the
//! rules demand, no member carries another, the budget of calls was never passed by all replicas
//! together, and no two calls for one room overlapped.

mod callbacks;
mod chat;
#[cfg(target_os = "linux")]
mod clocks;
mod drain;
mod postgres;
mod replicas;
mod soak;
mod sweeps;
