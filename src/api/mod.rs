//! What every request of the admin listener shares, whatever it asks for: who calls, bodies,
//! parameters and pages, and problems, the one shape of every answer that is no success.
//!
//! The rooms with handlers (rules, members, rooms, explain, status, console) stand on this; `admin`
//! puts them together.

mod auth;
mod body;
pub mod console;
mod docs;
pub mod explain;
mod log;
pub mod members;
mod metrics;
mod openapi;
mod parameters;
mod probes;
mod problem;
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
pub(crate) use parameters::MAX_LIMIT;
pub use parameters::{PageQuery, PageRequest, Parameters};
pub use problem::{FieldError, Problem, ProblemDetails, ProblemType};
pub use responses::{BodyProblems, CommonProblems, ProbeProblems};
pub use router::{AdminState, openapi, router};
