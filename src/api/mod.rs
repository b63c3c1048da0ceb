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
mod json;
mod log;
pub mod marks;
pub mod members;
mod metrics;
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
pub use body::JsonBody;
pub(crate) use body::MAX_BODY;
pub use json::Json;
#[cfg(feature = "local")]
pub(crate) use origin::this_machine_only;
pub use problem::{Problem, ProblemDetails, ProblemType};
pub(crate) use query::MAX_LIMIT;
pub use query::{Limit, NoParameters, Page, Query};
pub use responses::{BodyProblems, CommonProblems, ProbeProblems};
pub use router::{AdminState, openapi, router};
