//! The wire format by itself; the listener and the forwarding over real HTTP.

mod backend;
mod forward;
mod forward_failures;
mod listener;
mod wire;
