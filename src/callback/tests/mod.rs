//! The wire format by itself, and the listener over real HTTP.

mod listener;
mod wire;
