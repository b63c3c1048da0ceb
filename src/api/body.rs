//! JSON bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::problem::{Problem, ProblemType};

/// Longest body in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// A body declared and read as JSON. Whatever is wrong becomes a [`Problem`].
///
/// The declaration is demanded: a web page can send other types to any site without asking.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                ProblemType::UnsupportedMediaType,
                "send the body uncompressed with Content-Type: application/json \
                 (or application/merge-patch+json)",
            ));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                    let detail = format!("a body has at most {MAX_BODY} bytes");
                    return Problem::new(ProblemType::BodyTooLarge, detail);
                }
                Problem::new(
                    ProblemType::MalformedJson,
                    "the body ended before its announced length",
                )
            })?;
        read(&bytes).map(Self)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A list would be read too, as the fields in their order, and one of nulls as an empty object.
    if bytes.trim_ascii_start().first() == Some(&b'[')
        && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
    {
        let detail = "must be a JSON object, not a list";
        return Err(Problem::fields([(String::new(), detail.to_owned())]));
    }
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut text).map_err(wrong)?;
    text.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn wrong(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let reason = error.inner();
    if reason.classify() != Category::Data {
        return malformed(reason);
    }
    let detail = format!("is not right: {reason}");
    Problem::fields([(pointer(error.path(), &reason.to_string()), detail)])
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: {error}");
    Problem::new(ProblemType::MalformedJson, detail)
}

/// RFC 6901 pointer to what is wrong. Of a field that is missing, or that nobody knows, serde tells
/// the name in its words alone.
fn pointer(path: &serde_path_to_error::Path, reason: &str) -> String {
    let mut names: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let named = ["missing field `", "unknown field `"]
        .iter()
        .find_map(|beginning| reason.strip_prefix(beginning));
    if let Some((name, _)) = named.and_then(|named| named.split_once('`'))
        && names.last().is_none_or(|last| last != name)
    {
        names.push(name.to_owned());
    }
    let escaped = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    names.iter().map(escaped).collect()
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = match text(header::CONTENT_ENCODING) {
        Some(encoding) => encoding.eq_ignore_ascii_case("identity"),
        None => !headers.contains_key(header::CONTENT_ENCODING),
    };
    let declared = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = declared
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    plain && ["application/json", "application/merge-patch+json"].contains(&essence.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[allow(dead_code, reason = "only read")]
        group: String,
    }

    fn pointer_of(text: &str) -> String {
        let problem = read::<Body>(text.as_bytes()).unwrap_err();
        problem.details().errors[0].pointer.clone().unwrap()
    }

    #[test]
    fn the_field_that_is_wrong_is_pointed_at() {
        assert_eq!(pointer_of(r#"{"group":5}"#), "/group");
        assert_eq!(pointer_of("{}"), "/group");
        assert_eq!(pointer_of(r#"{"group":"a","x/y~":1}"#), "/x~1y~0");
        assert_eq!(pointer_of("[]"), "");
        assert_eq!(pointer_of("5"), "");
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        for text in ["", "{", r#"{"group":"a"} x"#] {
            let problem = read::<Body>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.details().kind, ProblemType::MalformedJson, "{text}");
        }
    }
}
