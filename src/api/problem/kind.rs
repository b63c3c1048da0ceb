//! The kinds of problem: a closed list, each with the status, title and header of all its answers.

use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! kinds {
    ($($(#[$about:meta])* $name:ident = $urn:tt $status:ident $title:literal;)+) => {
        /// Kinds of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        pub enum ProblemType {
            $($(#[$about])* #[serde(rename = $urn)] $name,)+
        }

        impl ProblemType {
            /// The status of every answer of this kind.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }

            pub(super) fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                }
            }
        }
    };
}

kinds! {
    MalformedJson = "urn:stickymark:problem:malformed-json" BAD_REQUEST "The body is not JSON";
    /// A part of the path, the query or the headers is wrong; `errors` name it.
    InvalidParameter = "urn:stickymark:problem:invalid-parameter" BAD_REQUEST "Invalid parameter";
    /// No token, or one that is not known.
    Unauthorized = "urn:stickymark:problem:unauthorized" UNAUTHORIZED "Authentication required";
    Forbidden = "urn:stickymark:problem:forbidden" FORBIDDEN "The token does not allow this";
    /// The request may come from a web page of another origin, and the listener is open to this machine
    /// alone, or the page writes with a session of the console.
    ForeignOrigin = "urn:stickymark:problem:foreign-origin"
        FORBIDDEN "Request from another origin refused";
    /// No such path, or no such rule.
    NotFound = "urn:stickymark:problem:not-found" NOT_FOUND "Not found";
    /// The path knows other methods; see `Allow`.
    MethodNotAllowed = "urn:stickymark:problem:method-not-allowed"
        METHOD_NOT_ALLOWED "The method is not allowed here";
    RuleExists = "urn:stickymark:problem:rule-exists" CONFLICT "Rule already exists";
    /// Some room would need more than ten marks; `rules` and `marks` name them.
    MarkLimitExceeded = "urn:stickymark:problem:mark-limit-exceeded"
        CONFLICT "A room would need too many marks";
    /// An import would remove more rules than it may; `max_removals` allows more.
    TooManyRemovals = "urn:stickymark:problem:too-many-removals"
        CONFLICT "The import would delete too many rules";
    /// The rule is not in the state that `If-Match` or `If-None-Match` demands.
    PreconditionFailed = "urn:stickymark:problem:precondition-failed"
        PRECONDITION_FAILED "Version conflict";
    /// The body is longer than 1 MiB; that of an import than 64 MiB.
    BodyTooLarge = "urn:stickymark:problem:body-too-large"
        PAYLOAD_TOO_LARGE "The body is too large";
    /// The body is not declared as JSON.
    UnsupportedMediaType = "urn:stickymark:problem:unsupported-media-type"
        UNSUPPORTED_MEDIA_TYPE "The body must be declared as JSON";
    /// The body is JSON, but not what is asked for; `errors` name each wrong field.
    InvalidInput = "urn:stickymark:problem:invalid-input"
        UNPROCESSABLE_ENTITY "Some fields are invalid";
    /// Too many secrets were wrong of late, or too many pages watch; see `Retry-After`.
    TooManyRequests = "urn:stickymark:problem:too-many-requests"
        TOO_MANY_REQUESTS "Too many requests";
    /// A fault of the service; the log says more.
    Internal = "urn:stickymark:problem:internal" INTERNAL_SERVER_ERROR "Internal error";
    /// The database did not answer in time. A write may have been carried out or not; it is safe to repeat
    /// with the same id.
    DatabaseUnavailable = "urn:stickymark:problem:database-unavailable"
        SERVICE_UNAVAILABLE "The database does not answer";
}

impl ProblemType {
    /// A header that belongs to every answer of this kind.
    pub(super) fn header(self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"stickymark\""),
            )),
            Self::DatabaseUnavailable | Self::TooManyRequests => {
                Some((header::RETRY_AFTER, HeaderValue::from_static("2")))
            }
            _ => None,
        }
    }
}
