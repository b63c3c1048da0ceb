//! A simulated Tencent Cloud Chat, for the demo and for tests.
//!
//! It stands in for Chat over real HTTP: it keeps rooms, members, presence and marks, answers the
//! REST calls with Chat's limits, checks every UserSig, and sends signed callbacks. It shares no
//! code with the service's own Chat client, so that one misreading cannot hide the other, and it
//! is stricter than Chat where Chat's documents are silent. All state is in memory and bounded.
//!
//! # REST API
//!
//! `POST /v4/group_open_avchatroom_http_svc/{modify_user_info,get_members,check_members}` and
//! `POST /v4/group_open_http_svc/{get_online_member_num,get_group_info}`. A call is limited to 500
//! accounts (10005), a room to 10 distinct marks (10004), a mark to 1000 members (who is one too
//! many is omitted from the answer), an API to 200 calls in any second (60007). Members who are
//! not online are omitted; if none can be served, the call fails.
//!
//! # Control API
//!
//! JSON in, JSON out; unknown fields are errors. A refused command answers `{"error": "…"}`.
//!
//! | Request | Does |
//! |---|---|
//! | `POST /control/create` `{group, owner?, name?}` | opens a room; also one that was destroyed |
//! | `POST /control/join` `{group, accounts, wait?, members_per_callback?}` | members enter; opens a room that never existed. `NewMemberJoin`, `Online`/`Join` |
//! | `POST /control/leave` `{…, kicked?}` | members leave. `MemberExit`, `Offline`/`Quit` |
//! | `POST /control/drop` | connections are lost, marks are wiped. `Offline`/`HeartbeatInterrupt`; nothing for holders of mark 500, who stay online |
//! | `POST /control/back` | lost connections return, without marks. `Online`/`HeartbeatRecover` |
//! | `POST /control/expire` | the three days of mark 500 are over for these members |
//! | `POST /control/destroy` `{group, wait?}` | closes the room. `GroupDestroyed` |
//! | `PUT /control/callback` `{url?, token?, kinds?}` | where callbacks go, how they are signed, which are sent (`new_member_join`, `member_exit`, `member_state_change`, `group_destroyed`, `request_over_limit`) |
//! | `GET`, `PATCH /control/settings` | [`Settings`]: `latency_ms`, `calls_per_second`, `page_size`, `set_replaces`, `all_offline_code`, `callback_timeout_ms`, `callback_retries` |
//! | `POST /control/faults` | injects a [`Fault`]: `{api?, group?, account?, count?, fraction?, seed?, effect}`, `effect` one of `{"error_code": n}`, `{"late_error_code": n}` (carried out all the same), `{"http_status": n}`, `{"delay_ms": n}`, `{"lost_answer": "close"\|"hang"}`, `"omit"`. Answers `{id}` |
//! | `POST /control/callback-faults` | injects a [`CallbackFault`]: `{kind?, group?, account?, count?, fraction?, seed?, effect}`, `effect` one of `"lose"`, `{"duplicate": n}`, `{"delay_ms": n}`, `"hold"` (sent when the fault is cleared), `"shuffle"`. Answers `{id}` |
//! | `GET`, `DELETE /control/faults`, `DELETE /control/faults/{id}` | lists faults of both sorts, clears all or one |
//! | `GET /control/rooms`, `GET /control/room?group=` | rooms in short; one room with members, presence and marks |
//! | `GET /control/calls?after=&api=&group=&limit=` | [`CallRecord`]s, oldest first, `{items, next}`; the last 100,000 calls |
//! | `GET /control/moment?after=&wait_ms=` | `{moment}`: begins and ends of calls so far; waits for one after `after` |
//! | `GET /control/stats` | [`Stats`]: calls, peaks and batch sizes for each API, callbacks by outcome, answer times |
//! | `POST /control/reset` | forgets all but settings and the callback's receiver |
//!
//! A movement answers [`Moved`]: `{changed, unchanged, at, callbacks, delivered, failed}`. By then
//! the state has changed and the callbacks are queued; with `"wait": true` they are also delivered
//! or given up. Two movements of one member never have the same `EventTime`.

mod api;
mod callback;
mod calls;
pub mod client;
mod clock;
mod command;
mod connection;
mod control;
mod fault;
mod in_force;
mod options;
mod rate;
mod rest;
mod room;
mod rooms;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod trigger;
mod user_sig;
mod wire;

pub use api::Api;
pub use callback::{AnswerTimes, CallbackEffect, CallbackFault, Kind, KindCount};
pub use calls::{ApiCount, CallRecord, CalledMember};
pub use client::Simulated;
pub use command::{Command, run};
pub use fault::{Effect, Fault, LostAnswer};
pub use options::{CallbackOptions, Options, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, Settings};
pub use server::{Running, serve, start};
pub use wire::{
    CallPage, CreateRoom, FaultId, FaultList, MemberView, Moment, MoveMembers, Moved, Problem,
    Receiver, RoomSummary, RoomView, Stats, Token,
};
