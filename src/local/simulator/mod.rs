//! A simulated Tencent Cloud Chat, for the demo and for tests.
//!
//! It takes Chat's place over real HTTP: it keeps rooms, members, presence and marks, answers the
//! REST calls with Chat's limits, checks every UserSig, and sends signed callbacks. It shares no
//! code with the service's own Chat client, so that one misreading cannot hide the other, and it
//! is stricter than Chat where Chat's documents are silent. All state is in memory and bounded.
//!
//! Limits: 500 accounts in a call (10005), 10 distinct marks in a room (10004), 1000 members with a
//! mark (one more is omitted from the answer), 200 calls of an API in any second (60007). Members
//! who are not online are omitted; if no member can be served, the call fails.
//!
//! `POST /control/{command}` (see `control`) moves members, injects faults and shows everything. A
//! movement answers when the state has changed and the callbacks are queued; with `"wait": true`
//! when they are delivered or failed.

mod callbacks;
mod client;
mod connection;
mod control;
mod faults;
mod log;
mod options;
mod program;
mod rest;
mod rooms;
mod server;
#[cfg(test)]
mod tests;
mod user_sig;

pub use callbacks::{Kind, KindCount};
pub use client::{ControlError, Result, Simulated};
pub use control::{MemberView, Moved, RoomSummary, RoomView, Stats};
pub use faults::{Effect, Fault, LostAnswer};
pub use log::{Api, ApiCount, CallRecord, CalledMember};
pub use options::{CallbackOptions, Options, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, Settings};
pub use program::{Command, run};
pub use server::{Running, start};
