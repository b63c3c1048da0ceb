//! The kinds of problem: a closed list, each with the status, title and header of all its answers.

use axum::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// Kinds of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum ProblemType {
    /// 400: the body is not JSON.
    #[serde(rename = "urn:stickymark:problem:malformed-json")]
    MalformedJson,
    /// 400: a part of the path, the query or the headers is wrong; `errors` name it.
    #[serde(rename = "urn:stickymark:problem:invalid-parameter")]
    InvalidParameter,
    /// 401: no token, or one that is not known.
    #[serde(rename = "urn:stickymark:problem:unauthorized")]
    Unauthorized,
    /// 403: the token's role does not allow it.
    #[serde(rename = "urn:stickymark:problem:forbidden")]
    Forbidden,
    /// 403: the request may come from a web page of another origin, and the listener is open to
    /// this machine alone, or the page writes with a session of the console.
    #[serde(rename = "urn:stickymark:problem:foreign-origin")]
    ForeignOrigin,
    /// 404: no such path, or no such rule.
    #[serde(rename = "urn:stickymark:problem:not-found")]
    NotFound,
    /// 405: the path knows other methods; see `Allow`.
    #[serde(rename = "urn:stickymark:problem:method-not-allowed")]
    MethodNotAllowed,
    /// 409: the id of a new rule is taken.
    #[serde(rename = "urn:stickymark:problem:rule-exists")]
    RuleExists,
    /// 409: some room would need more than ten marks; `rules` and `marks` name them.
    #[serde(rename = "urn:stickymark:problem:mark-limit-exceeded")]
    MarkLimitExceeded,
    /// 409: an import would remove more rules than it may; `max_removals` allows more.
    #[serde(rename = "urn:stickymark:problem:too-many-removals")]
    TooManyRemovals,
    /// 412: the rule is not in the state that `If-Match` or `If-None-Match` demands.
    #[serde(rename = "urn:stickymark:problem:precondition-failed")]
    PreconditionFailed,
    /// 413: the body is longer than 1 MiB; that of an import than 64 MiB.
    #[serde(rename = "urn:stickymark:problem:body-too-large")]
    BodyTooLarge,
    /// 415: the body is not declared as JSON.
    #[serde(rename = "urn:stickymark:problem:unsupported-media-type")]
    UnsupportedMediaType,
    /// 422: the body is JSON, but not what is asked for; `errors` name each wrong field.
    #[serde(rename = "urn:stickymark:problem:invalid-input")]
    InvalidInput,
    /// 429: too many secrets were wrong of late, or too many pages watch; see `Retry-After`.
    #[serde(rename = "urn:stickymark:problem:too-many-requests")]
    TooManyRequests,
    /// 500: a fault of the service; the log says more.
    #[serde(rename = "urn:stickymark:problem:internal")]
    Internal,
    /// 503: the database did not answer in time. A write may have been carried out or not; it is
    /// safe to repeat with the same id.
    #[serde(rename = "urn:stickymark:problem:database-unavailable")]
    DatabaseUnavailable,
}

impl ProblemType {
    /// The status of every answer of this kind.
    pub fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson | Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RuleExists | Self::MarkLimitExceeded | Self::TooManyRemovals => {
                StatusCode::CONFLICT
            }
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidInput => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::DatabaseUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not JSON",
            Self::InvalidParameter => "Invalid parameter",
            Self::Unauthorized => "Authentication required",
            Self::Forbidden => "The token does not allow this",
            Self::ForeignOrigin => "Request from another origin refused",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::RuleExists => "Rule already exists",
            Self::MarkLimitExceeded => "A room would need too many marks",
            Self::TooManyRemovals => "The import would delete too many rules",
            Self::PreconditionFailed => "Version conflict",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body must be declared as JSON",
            Self::InvalidInput => "Some fields are invalid",
            Self::TooManyRequests => "Too many requests",
            Self::Internal => "Internal error",
            Self::DatabaseUnavailable => "The database does not answer",
        }
    }

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
