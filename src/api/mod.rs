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
mod json;
mod log;
pub mod marks;
pub mod members;
mod metrics;
mod openapi;
mod probes;
mod problem;
mod query;
mod request;
mod responses;
pub mod rooms;
mod router;
pub mod rules;
pub mod session;
pub mod status;

pub use auth::Caller;
#[cfg(feature = "local")]
pub(crate) use auth::is_loopback;
pub(crate) use auth::{Tokens, authorize, foreign_page, is_write};
pub use body::JsonBody;
pub(crate) use body::MAX_BODY;
pub use json::Json;
pub use problem::{FieldError, Problem, ProblemDetails, ProblemType};
pub(crate) use query::MAX_LIMIT;
pub use query::{Limit, NoParameters, Page, Query};
pub use responses::{BodyProblems, CommonProblems, ProbeProblems};
pub use router::{AdminState, openapi, router};
