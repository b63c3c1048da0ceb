//! Errors as RFC 9457 problem details, <https://www.rfc-editor.org/rfc/rfc9457>: the one shape of
//! every answer that is no success. The types are a closed list.

mod kind;

use std::collections::{BTreeMap, HashSet};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::messages::{Message, MessageCode, OTHER};
use crate::rules::json::InvalidField;

pub use self::kind::ProblemType;

/// A problem, as handlers return it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub(super) Box<ProblemDetails>);

/// Problem details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// The kind.
    #[serde(rename = "type")]
    pub kind: ProblemType,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what would help.
    pub detail: String,
    /// What `detail` says; `other` where it has no code, such as one that joins several errors.
    #[schema(value_type = MessageCode)]
    pub code: &'static str,
    /// The values in `detail`.
    #[schema(value_type = Object)]
    pub params: BTreeMap<&'static str, Value>,
    /// What is wrong in the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// With an import: all lines that are wrong. `errors` names them, up to 4 MiB of errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bad_lines: Option<u64>,
    /// With `mark-limit-exceeded`: rooms of this pattern are concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub group: Option<String>,
    /// With `mark-limit-exceeded`: all marks that would be needed there at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Vec<i64>>)]
    pub marks: Option<Vec<u32>>,
    /// With `mark-limit-exceeded`: rules that together demand them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rules: Option<Vec<String>>,
}

/// One wrong part of a request. It has a `pointer` or a `parameter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// With an import: the line, from 1. `pointer` points into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub line: Option<u64>,
    /// RFC 6901 pointer into the body; empty for the body as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pointer: Option<String>,
    /// The query parameter, path segment or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parameter: Option<String>,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// What `detail` says.
    #[schema(value_type = MessageCode)]
    pub code: &'static str,
    /// The values in `detail`.
    #[schema(value_type = Object)]
    pub params: BTreeMap<&'static str, Value>,
}

impl FieldError {
    fn new(detail: String) -> Self {
        let Message {
            code,
            params,
            detail,
        } = Message::of(detail);
        Self {
            line: None,
            pointer: None,
            parameter: None,
            detail,
            code,
            params,
        }
    }
}

impl From<InvalidField> for FieldError {
    fn from(field: InvalidField) -> Self {
        Self {
            pointer: Some(field.pointer),
            ..Self::new(field.detail)
        }
    }
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let Message {
            code,
            params,
            detail,
        } = Message::of(detail);
        Self(Box::new(ProblemDetails {
            kind,
            title: kind.title(),
            status: kind.status().as_u16(),
            detail,
            code,
            params,
            errors: Vec::new(),
            bad_lines: None,
            group: None,
            marks: None,
            rules: None,
        }))
    }

    /// A wrong parameter, path segment or header, with what is wrong and what would be right.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError {
            parameter: Some(name.into()),
            ..FieldError::new(detail.into())
        };
        Self::with_errors(ProblemType::InvalidParameter, vec![error])
    }

    /// One wrong field of the body.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.to_owned(), detail.into());
        Self::fields(
            ProblemType::InvalidInput,
            [InvalidField { pointer, detail }],
        )
    }

    /// Fields of the body that are wrong, or name what does not exist.
    pub fn fields(kind: ProblemType, wrong: impl IntoIterator<Item = InvalidField>) -> Self {
        Self::with_errors(kind, wrong.into_iter().map(FieldError::from).collect())
    }

    /// Lines of an import that are wrong: number, pointer and what is wrong; and how many there are.
    pub fn lines(wrong: impl IntoIterator<Item = (u64, String, String)>, bad_lines: u64) -> Self {
        let errors = wrong.into_iter().map(|(line, pointer, detail)| FieldError {
            line: Some(line),
            pointer: Some(pointer),
            ..FieldError::new(detail)
        });
        let errors: Vec<FieldError> = errors.collect();
        let named: HashSet<_> = errors.iter().map(|error| error.line).collect();
        let mut detail = format!("nothing was imported: {bad_lines} invalid lines");
        if named.len() as u64 != bad_lines {
            detail.push_str(&format!("; `errors` lists the first {}", named.len()));
        }
        let mut problem = Self::new(ProblemType::InvalidInput, detail);
        problem.0.errors = errors;
        problem.0.bad_lines = Some(bad_lines);
        problem
    }

    fn with_errors(kind: ProblemType, errors: Vec<FieldError>) -> Self {
        let places: Vec<String> = errors
            .iter()
            .map(|error| {
                let place = error.pointer.as_ref().or(error.parameter.as_ref());
                match place.map_or("", String::as_str) {
                    "" => format!("the body {}", error.detail),
                    place => format!("{place}: {}", error.detail),
                }
            })
            .collect();
        let mut problem = Self::new(kind, places.join("; "));
        (problem.0.code, problem.0.params) = (OTHER, BTreeMap::new());
        problem.0.errors = errors;
        problem
    }

    /// A fault of ours. The cause goes to the log, never to the client.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "the service has a fault");
        Self::new(
            ProblemType::Internal,
            "the log of the service says more, under the request id",
        )
    }

    /// The database did not answer in time.
    pub fn database_unavailable() -> Self {
        Self::new(
            ProblemType::DatabaseUnavailable,
            "the database did not answer in time; try again in a moment",
        )
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if !is_unavailable(&error) {
            return Self::internal(&error);
        }
        tracing::warn!(%error, "the database does not answer a request of the API");
        Self::database_unavailable()
    }
}

/// Whether an error passes by itself when the database is back, or less busy.
fn is_unavailable(error: &sqlx::Error) -> bool {
    // Classes and codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>:
    // connection, resources, operator's intervention; deadlock, lock timeout, read-only.
    const PASSING: [&str; 6] = ["08", "53", "57", "40", "55P03", "25006"];
    match error {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| PASSING.iter().any(|passing| code.starts_with(passing))),
        _ => false,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let header = self.0.kind.header();
        // Texts and numbers can always be written.
        let body = serde_json::to_string(&*self.0).unwrap_or_default() + "\n";
        let json = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.0.kind.status(), json, body).into_response();
        response.headers_mut().extend(header);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{ChatError, InvalidCall};
    use crate::domain::{Account, GroupId, Mark, Pattern, RuleId};

    #[test]
    fn what_passes_by_itself_is_told_from_faults() {
        assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
        assert!(!is_unavailable(&sqlx::Error::RowNotFound));
        let gone = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(Problem::from(sqlx::Error::Io(gone)).0.status, 503);
        assert_eq!(Problem::from(sqlx::Error::RowNotFound).0.status, 500);
    }

    /// Fails when an error gets other words and the list keeps the old ones.
    #[test]
    fn every_error_of_chat_and_of_the_domain_has_a_code() {
        let account = || Account::parse("a").unwrap();
        let lost = || "reset".to_owned();
        let chat = [
            ChatError::refusal(10004),
            ChatError::HttpStatus(502),
            ChatError::Timeout,
            ChatError::Unreachable(lost()),
            ChatError::Interrupted(lost()),
            ChatError::BadAnswer("it is no JSON object"),
            ChatError::NoSlot(lost()),
            InvalidCall::NoMembers.into(),
            InvalidCall::TooManyMembers(501).into(),
            InvalidCall::MemberTwice(account()).into(),
            InvalidCall::NoMarks(account()).into(),
            InvalidCall::TooManyMarks(11).into(),
        ];
        let of_chat = chat.iter().map(ToString::to_string);
        let group = |text: &str| Pattern::<GroupId>::parse(text).unwrap_err().to_string();
        let of_account = |text: &str| Pattern::<Account>::parse(text).unwrap_err().to_string();
        let of_the_domain = [
            group(""),
            group("a*b"),
            group(&"g".repeat(49)),
            group("\u{e9}"),
            of_account(&"a".repeat(65)),
            of_account("\n"),
            GroupId::parse("").unwrap_err().to_string(),
            Account::parse("").unwrap_err().to_string(),
            RuleId::parse("").unwrap_err().to_string(),
            Mark::parse(7).unwrap_err().to_string(),
        ];
        for text in of_chat.chain(of_the_domain) {
            assert_ne!(Message::of(&*text).code, OTHER, "{text}");
        }
    }
}
