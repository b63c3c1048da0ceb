//! Answers that many requests share, for the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::problem::ProblemDetails;

/// Problems that any request below `/v1` can meet.
pub struct CommonProblems;

impl IntoResponses for CommonProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            (400, "A parameter, a header or the JSON is wrong."),
            (401, "No token, or one that is not known."),
            (403, "The token does not allow it, or another origin calls."),
            (500, "A fault of the service."),
            (503, "The database did not answer in time; see Retry-After."),
        ])
    }
}

/// Problems of a probe, which needs no token.
pub struct ProbeProblems;

impl IntoResponses for ProbeProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([(400, "A parameter is wrong.")])
    }
}

/// Problems of a request with a body, besides the common ones.
pub struct BodyProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            (413, "The body is longer than 1 MiB."),
            (415, "The body is not declared as JSON."),
            (422, "Fields of the body are wrong; errors names each."),
        ])
    }
}

fn problems<const N: usize>(descriptions: [(u16, &str); N]) -> BTreeMap<String, RefOr<Response>> {
    let response = |description: &str| {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(ProblemDetails::name())))
            .build();
        ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content)
            .build()
    };
    descriptions
        .map(|(status, description)| (status.to_string(), RefOr::T(response(description))))
        .into()
}
