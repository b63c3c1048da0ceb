//! The sweep: compares each live room with what Chat holds, and heals what callbacks did not tell.
//!
//! Callbacks are hints that Chat may lose; this is the guarantee. Every replica runs one
//! [`Sweeper`]; a room is taken by claim (`SKIP LOCKED` and a lease), never by a leader. The sweep
//! itself changes no mark: it corrects what the members table believes, and whoever lacks a mark or
//! holds a wrong one comes due for the worker. It touches only marks that rules name, and leaves
//! alone whatever was heard or confirmed within the last minute, since Chat's lists lag by 40 s.
//! Its calls have budgets of their own, so nothing starves it and it starves nobody.

mod beat;
mod calls;
mod chores;
mod compare;
mod found;
mod room;
mod schedule;
mod sweep;
mod sweeper;

pub use found::{SweepTotals, TotalsSnapshot};
pub use schedule::request;
pub use sweep::SweeperSettings;
pub use sweeper::Sweeper;
