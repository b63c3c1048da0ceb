//! The answers to Chat, all of one shape.
//!
//! Chat counts everything but 200 with a JSON body as a failure of the callback, and repeats at
//! most those that it got no answer to in time.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::signature::NotSigned;
use super::wire::Unreadable;
use crate::members::NotTaken;
use crate::metrics::CallbackOutcome;

const OK: &str = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn ok() -> Response {
    let mut response = Response::new(Body::from(OK));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Why a callback is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is nothing here; callbacks go to callback.path")]
    NotFound,
    /// A callback of this application, with the path that it came to.
    #[error("there is nothing here; callbacks go to callback.path")]
    OtherPath(String),
    #[error("the method must be POST")]
    OtherMethod,
    #[error("the body is longer than 1 MiB")]
    TooLong,
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body broke off")]
    BrokenOff,
    #[error("too many bodies are being read")]
    NoRoom,
    #[error("SdkAppid must be the one of this service")]
    OtherApp,
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("the events are not stored yet; they will be")]
    NotStoredYet,
    #[error("this callback was forwarded before; callback.forward_url leads back here")]
    Loop,
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::OtherPath(_) => StatusCode::NOT_FOUND,
            Self::OtherMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::OtherApp | Self::NotSigned(_) | Self::Unreadable(Unreadable::CommandsDiffer) => {
                StatusCode::FORBIDDEN
            }
            Self::BrokenOff | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::NoRoom | Self::NotTaken(_) | Self::NotStoredYet => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The word for the metrics.
    pub fn outcome(&self) -> CallbackOutcome {
        match self {
            Self::NotFound | Self::OtherMethod => CallbackOutcome::NotFound,
            Self::OtherPath(_) => CallbackOutcome::OtherPath,
            Self::TooLong => CallbackOutcome::TooLong,
            Self::TooSlow => CallbackOutcome::TooSlow,
            Self::OtherApp => CallbackOutcome::OtherApp,
            Self::NotSigned(NotSigned::Stale { .. }) => CallbackOutcome::Stale,
            Self::NotSigned(_) => CallbackOutcome::BadSignature,
            Self::BrokenOff | Self::Unreadable(_) => CallbackOutcome::Unreadable,
            Self::NoRoom | Self::NotTaken(_) | Self::NotStoredYet => CallbackOutcome::NotStored,
            Self::Loop => CallbackOutcome::Loop,
        }
    }

    /// The word for clients of the management API, which translate it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::OtherMethod => "not_found",
            Self::OtherPath(_) => "other_path",
            Self::TooLong => "too_long",
            Self::TooSlow => "too_slow",
            Self::BrokenOff => "broken_off",
            Self::OtherApp => "other_app",
            Self::NotSigned(NotSigned::Missing(_)) => "not_signed",
            Self::NotSigned(NotSigned::WrongSign) => "wrong_sign",
            Self::NotSigned(NotSigned::NoTime) => "no_time",
            Self::NotSigned(NotSigned::Stale { .. }) => "stale",
            Self::Unreadable(Unreadable::NotJson(_)) => "not_json",
            Self::Unreadable(Unreadable::CommandsDiffer) => "commands_differ",
            Self::Unreadable(Unreadable::Field(_)) => "wrong_field",
            Self::NoRoom | Self::NotTaken(_) | Self::NotStoredYet => "not_stored",
            Self::Loop => "loop",
        }
    }

    /// What is left of an unfinished body is in the way of the next request on its connection.
    pub fn answer(self, body_is_finished: bool) -> Response {
        let mut response = fail(self.status(), self.to_string());
        let headers = response.headers_mut();
        if matches!(self, Self::OtherMethod) {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if !body_is_finished {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Fail {
    action_status: &'static str,
    error_code: u8,
    error_info: String,
}

pub(super) fn fail(status: StatusCode, error_info: String) -> Response {
    let fail = Fail {
        action_status: "FAIL",
        error_code: 1,
        error_info,
    };
    (status, axum::Json(fail)).into_response()
}
