//! Every statement on `members` and `rooms`.
//!
//! # Who works on a row
//!
//! A row of `members` belongs to the queue while the queue works on it: it is pending
//! (`pending_since` has come) and due soon (`due_at`). Otherwise it belongs to the sweep, once nothing was
//! recorded or confirmed for a minute. No other column decides, so no row is left out by both; a test runs
//! both over every combination.
//!
//! | Column | Set by | Cleared by | Means for others |
//! |---|---|---|---|
//! | `due_at` | events, claims (end of the lease), write-backs (next try; start or end of a rule), rule changes, retries, corrections of the sweep | leaves, room ends, write-backs without a next time | null: the queue does nothing |
//! | `pending_since` | events, claims, rule changes, retries, corrections | write-backs that are final, leaves, room ends | the sweep leaves the row to the queue |
//! | `in_doubt` | claims; write-backs after a call whose result is unknown | other write-backs, leaves that are not doubtful, room ends, corrections | the plan sends everything and removes what may be left; rule changes reach absent members too |
//! | `revoked` | rule changes, of members in doubt | as `in_doubt` | the next plan removes these marks |
//! | `failed_at` | write-backs after the last try | events, rule changes, retries, room ends, write-backs that succeed, corrections that find nothing missing | the sweep does not make the member due for a missing mark |
//! | `tries`, `last_error` | write-backs | events, rule changes, retries, room ends, write-backs that succeed | a busy room does not take the member along before their time |
//! | `waits_for` | write-backs, when a mark has no place | events, room ends, the next write-back, corrections | a busy room does not take the member along before their time |
//! | `rooms.gone_at` | destroyed events, Chat's answer that the room does not exist | arrivals, confirmed marks, a sweep of which Chat knows the room | no sweep after the one that checks it; deleted after an hour |
//!
//! A doubtful leave is one whose time, or that of the event in the row, is missing.
//!
//! # Locks and generations
//!
//! Members are locked in the order of their key, then the room. Only against the deletion of the room it
//! is locked first, by `for key share`, for which no other writer waits. Every change of fact raises `generation`;
//! who decided something about a row writes it only if the generation is still the one they read.

pub(crate) mod claim;
pub(crate) mod cleanup;
pub(crate) mod erase;
pub(crate) mod figures;
pub(crate) mod list;
pub(crate) mod record;
pub(crate) mod room_end;
pub(crate) mod rooms;
pub(crate) mod rule_changes;
pub(crate) mod sweep;
pub(crate) mod write_back;
