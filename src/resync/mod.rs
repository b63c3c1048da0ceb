//! The sweep: compares each room with Chat, and heals what callbacks did not tell.
//!
//! Callbacks are hints that Chat may lose; the sweep is the guarantee. Every replica runs one
//! [`Sweeper`]; a room is claimed (`SKIP LOCKED` and a lease), there is no leader. The sweep itself changes
//! no mark: it corrects the members table, and members who lack a mark or carry a wrong one become due for
//! the worker. It removes only marks that a rule once demanded in the room, and leaves alone what was
//! recorded or confirmed within the last minute, since Chat's lists lag by 40 s. Its calls have budgets of
//! their own, so that it neither starves nor delays the worker.

mod compare;
mod found;
mod heartbeat;
mod room;
mod schedule;
mod sweep;
mod sweeper;

pub use found::{SweepTotals, TotalsSnapshot};
pub use schedule::request;
pub use sweep::SweeperSettings;
pub use sweeper::Sweeper;
