//! What the handlers take out of a request.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};

use crate::api::{Caller, Parameters, Problem};
use crate::domain::{Mark, Pattern, RequestId, RuleId};
use crate::rules::{Author, Filter, Precondition, wire};

/// The rule that the path names.
pub(crate) struct NamedRule(pub RuleId);

impl<S: Send + Sync> FromRequestParts<S> for NamedRule {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::parameters(vec![("id".to_owned(), detail)]);
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| wrong(rejection.body_text()))?;
        RuleId::parse(&id)
            .map(Self)
            .map_err(|invalid| wrong(invalid.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let joined = |name: HeaderName| {
            let lines = parts.headers.get_all(name);
            let lines: Vec<_> = lines.iter().map(HeaderValue::as_bytes).collect();
            (!lines.is_empty()).then(|| String::from_utf8_lossy(&lines.join(&b',')).into_owned())
        };
        let (if_match, if_none_match) = (joined(header::IF_MATCH), joined(header::IF_NONE_MATCH));
        Self::parse(if_match.as_deref(), if_none_match.as_deref()).map_err(|(name, invalid)| {
            Problem::parameters(vec![(name.to_owned(), invalid.to_string())])
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Author {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Extension::<Caller>::from_request_parts(parts, state)
            .await
            .map_err(|missing| Problem::internal(&missing))?;
        let request_id = parts.extensions.get::<RequestId>().cloned();
        let name = caller.name.to_string();
        Ok(Self { name, request_id })
    }
}

/// The filters of the list; what is wrong stays with the parameters.
pub(crate) fn read_filter(parameters: &mut Parameters) -> Filter {
    let mark = |text: &str| match text.parse::<i64>().map(Mark::parse) {
        Ok(Ok(mark)) => Ok(mark),
        Ok(Err(invalid)) => Err(invalid.to_string()),
        Err(_) => Err("must be an integer".to_owned()),
    };
    let boolean = |text: &str| text.parse().map_err(|_| "must be true or false".to_owned());
    Filter {
        group: parameters.take("group", |text| {
            Pattern::parse(text).map_err(|invalid| invalid.to_string())
        }),
        account: parameters.take("account", |text| {
            Pattern::parse(text).map_err(|invalid| invalid.to_string())
        }),
        mark: parameters.take("mark", mark),
        label: parameters.take("label", read_label),
        enabled: parameters.take("enabled", boolean),
    }
}

/// A label as it stands in a rule.
pub(crate) fn read_label(text: &str) -> Result<String, String> {
    wire::read_label(text)
}
