//! The management API: everything behind the admin listener.
//!
//! `router` puts it together. `auth`, `body`, `query` and `problem` are what all requests share; each
//! resource has a file or folder of its own.

mod assets;
mod auth;
mod body;
pub mod chat;
pub mod console;
mod docs;
mod erase;
pub mod explain;
mod guesses;
mod log;
pub mod marks;
pub mod members;
mod openapi;
mod origin;
mod probes;
mod problem;
mod query;
mod request;
mod responses;
pub mod rooms;
mod router;
pub mod rules;
mod session;
pub mod status;

pub use auth::Caller;
pub(crate) use auth::{Tokens, authorize, is_write};
pub(crate) use body::MAX_BODY;
pub use body::{Json, JsonBody};
#[cfg(feature = "local")]
pub(crate) use origin::this_machine_only;
pub use problem::{Problem, ProblemDetails, ProblemType};
pub(crate) use query::{Limit, Listed, MAX_LIMIT, NoParameters, Paging, Query};
use responses::{
    BodyProblems, CommonProblems, ImportProblems, ProbeProblems, RuleChanged, RuleConflict,
    RuleUnknown,
};
pub use router::{AdminState, openapi, router};
