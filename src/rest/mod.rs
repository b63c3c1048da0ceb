//! What every request of the admin listener shares, whatever it asks for: who calls, bodies,
//! parameters and pages, and problems, the one shape of every answer that is no success.
//!
//! The rooms with handlers (rules, members, rooms, explain, status, console) stand on this; `admin`
//! puts them together.

mod auth;
mod body;
mod parameters;
mod problem;
mod responses;
pub mod session;

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
