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
        self.kind().0
    }

    /// The word for the metrics.
    pub fn outcome(&self) -> CallbackOutcome {
        self.kind().1
    }

    /// The word for clients of the management API, which translate it.
    pub fn code(&self) -> &'static str {
        self.kind().2
    }

    fn kind(&self) -> (StatusCode, CallbackOutcome, &'static str) {
        use CallbackOutcome as Outcome;
        const NOT_STORED: (StatusCode, CallbackOutcome, &str) = (
            StatusCode::SERVICE_UNAVAILABLE,
            Outcome::NotStored,
            "not_stored",
        );
        let forbidden = |outcome, code| (StatusCode::FORBIDDEN, outcome, code);
        let unreadable = |code| (StatusCode::BAD_REQUEST, Outcome::Unreadable, code);
        match self {
            Self::NotFound => (StatusCode::NOT_FOUND, Outcome::NotFound, "not_found"),
            Self::OtherPath(_) => (StatusCode::NOT_FOUND, Outcome::OtherPath, "other_path"),
            Self::OtherMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                Outcome::NotFound,
                "other_method",
            ),
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, Outcome::TooLong, "too_long"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, Outcome::TooSlow, "too_slow"),
            Self::OtherApp => forbidden(Outcome::OtherApp, "other_app"),
            Self::NotSigned(reason) => match reason {
                NotSigned::Missing(_) => forbidden(Outcome::BadSignature, "not_signed"),
                NotSigned::WrongSign => forbidden(Outcome::BadSignature, "wrong_sign"),
                NotSigned::NoTime => forbidden(Outcome::BadSignature, "no_time"),
                NotSigned::Stale { .. } => forbidden(Outcome::Stale, "stale"),
            },
            Self::Unreadable(reason) => match reason {
                Unreadable::NotJson(_) => unreadable("not_json"),
                Unreadable::Field(_) => unreadable("wrong_field"),
                Unreadable::CommandsDiffer => forbidden(Outcome::Unreadable, "commands_differ"),
            },
            Self::BrokenOff => unreadable("broken_off"),
            Self::NoRoom | Self::NotTaken(_) | Self::NotStoredYet => NOT_STORED,
            Self::Loop => (StatusCode::LOOP_DETECTED, Outcome::Loop, "loop"),
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
