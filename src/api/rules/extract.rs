//! What the handlers take out of a request.

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum_extra::headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch};

use crate::api::{Caller, Problem};
use crate::domain::{RequestId, RuleId};
use crate::rules::Author;

/// The rule that the path names.
pub(crate) struct NamedRule(pub RuleId);

impl<S: Send + Sync> FromRequestParts<S> for NamedRule {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::parameter("id", detail);
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| wrong(rejection.body_text()))?;
        RuleId::parse(&id)
            .map(Self)
            .map_err(|invalid| wrong(invalid.to_string()))
    }
}

/// `If-Match` and `If-None-Match`, as in RFC 9110, section 13,
/// <https://www.rfc-editor.org/rfc/rfc9110#section-13>.
#[derive(Debug)]
pub(crate) struct Conditions {
    if_match: Option<IfMatch>,
    if_none_match: Option<IfNoneMatch>,
}

impl<S: Send + Sync> FromRequestParts<S> for Conditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The library takes any text for tags, also a version without its quotes.
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            let mut values = parts.headers.get_all(&name).iter();
            let is_tags = |value: &HeaderValue| {
                let value = value.to_str().unwrap_or_default().trim();
                let value = value.strip_prefix("W/").unwrap_or(value);
                value == "*" || (value.len() > 1 && value.starts_with('"') && value.ends_with('"'))
            };
            if !values.all(is_tags) {
                let detail = "must be * or a list of ETags in double quotes, like \"3\"";
                return Err(Problem::parameter(name.as_str(), detail));
            }
        }
        Ok(Self {
            if_match: parts.headers.typed_get(),
            if_none_match: parts.headers.typed_get(),
        })
    }
}

impl Conditions {
    /// Whether a read can be answered with 304, since the client has this version.
    pub(crate) fn is_known(&self, version: i64) -> bool {
        let none_match = self.if_none_match.as_ref();
        none_match.is_some_and(|none_match| !none_match.precondition_passes(&etag(version)))
    }

    /// Whether a write may go on, given the current version (`None`: no rule).
    pub(crate) fn permits(&self, current: Option<i64>) -> bool {
        let matches = |if_match: &IfMatch| {
            current.is_some_and(|version| if_match.precondition_passes(&etag(version)))
        };
        self.if_match.as_ref().is_none_or(matches)
            && !current.is_some_and(|version| self.is_known(version))
    }
}

/// The ETag of a version of a rule: the number in quotes.
pub(crate) fn tag(version: i64) -> String {
    format!("\"{version}\"")
}

#[expect(clippy::expect_used, reason = "a number in quotes is a tag")]
fn etag(version: i64) -> ETag {
    tag(version).parse().expect("a quoted number")
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
