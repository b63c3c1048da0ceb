//! The answers to Chat, all of one shape.
//!
//! Chat counts everything but 200 with a JSON body as a failure of the callback, and repeats at
//! most those that it got no answer to in time.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode as Status};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::members::NotTaken;
use crate::metrics::CallbackOutcome as Outcome;

const OK: &str = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn ok() -> Response {
    let mut response = Response::new(Body::from(OK));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Why a callback is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
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
    #[error("{0} is missing in the URL; switch on callback authentication in the console")]
    NotSigned(&'static str),
    #[error("Sign was not made with a token of this service")]
    WrongSign,
    #[error("RequestTime must be Unix seconds")]
    NoTime,
    #[error("RequestTime is {distance} s away from now; at most {allowed} s are allowed")]
    Stale { distance: u64, allowed: u64 },
    #[error("the body must be a JSON object: {0}")]
    NotJson(String),
    /// Someone may reuse a URL that they saw.
    #[error("CallbackCommand must be the same in URL and body")]
    CommandsDiffer,
    /// A field that the event cannot do without.
    #[error("{0}")]
    Field(String),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("the events are not stored yet; they will be")]
    NotStoredYet,
    #[error("this callback was forwarded before; callback.forward_url leads back here")]
    Loop,
}

impl Refusal {
    /// The status, the word for the metrics, and the one for clients of the management API, which
    /// translate it.
    pub fn kind(&self) -> (Status, Outcome, &'static str) {
        match self {
            Self::NotFound => (Status::NOT_FOUND, Outcome::NotFound, "not_found"),
            Self::OtherPath(_) => (Status::NOT_FOUND, Outcome::OtherPath, "other_path"),
            Self::OtherMethod => (
                Status::METHOD_NOT_ALLOWED,
                Outcome::NotFound,
                "other_method",
            ),
            Self::TooLong => (Status::PAYLOAD_TOO_LARGE, Outcome::TooLong, "too_long"),
            Self::TooSlow => (Status::REQUEST_TIMEOUT, Outcome::TooSlow, "too_slow"),
            Self::BrokenOff => (Status::BAD_REQUEST, Outcome::Unreadable, "broken_off"),
            Self::OtherApp => (Status::FORBIDDEN, Outcome::OtherApp, "other_app"),
            Self::NotSigned(_) => (Status::FORBIDDEN, Outcome::BadSignature, "not_signed"),
            Self::WrongSign => (Status::FORBIDDEN, Outcome::BadSignature, "wrong_sign"),
            Self::NoTime => (Status::FORBIDDEN, Outcome::BadSignature, "no_time"),
            Self::Stale { .. } => (Status::FORBIDDEN, Outcome::Stale, "stale"),
            Self::NotJson(_) => (Status::BAD_REQUEST, Outcome::Unreadable, "not_json"),
            Self::CommandsDiffer => (Status::FORBIDDEN, Outcome::Unreadable, "commands_differ"),
            Self::Field(_) => (Status::BAD_REQUEST, Outcome::Unreadable, "wrong_field"),
            Self::NoRoom | Self::NotTaken(_) | Self::NotStoredYet => (
                Status::SERVICE_UNAVAILABLE,
                Outcome::NotStored,
                "not_stored",
            ),
            Self::Loop => (Status::LOOP_DETECTED, Outcome::Loop, "loop"),
        }
    }

    /// What is left of an unfinished body is in the way of the next request on its connection.
    pub fn answer(self, body_is_finished: bool) -> Response {
        let mut response = fail(self.kind().0, self.to_string());
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

pub(super) fn fail(status: Status, reason: String) -> Response {
    let fail = json!({ "ActionStatus": "FAIL", "ErrorCode": 1, "ErrorInfo": reason });
    (status, axum::Json(fail)).into_response()
}
