//! Answers that many requests share, for the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use super::problem::ProblemDetails;

/// Each name stands for problems with these statuses.
macro_rules! problems {
    ($($(#[$about:meta])* $name:ident { $($status:literal: $description:literal,)+ })+) => {$(
        $(#[$about])*
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                problems([$(($status, $description)),+])
            }
        }
    )+};
}

problems! {
    /// Any request below `/v1` can meet them.
    CommonProblems {
        400: "A parameter, a header or the JSON is wrong.",
        401: "No token, or one that is not known.",
        403: "The token does not allow it, or another origin calls.",
        500: "A fault of the service.",
        503: "The database did not answer in time; see Retry-After.",
    }
    /// Of a probe, which needs no token.
    ProbeProblems {
        400: "A parameter is wrong.",
    }
    /// Of a request with a body, besides the common ones.
    BodyProblems {
        413: "The body is longer than 1 MiB.",
        415: "The body is not declared as JSON.",
        422: "Fields of the body are wrong; errors names each.",
    }
    ImportProblems {
        409: "`too-many-removals` or `mark-limit-exceeded`.",
        413: "Longer than 64 MiB, or more than 250,000 rules.",
        415: "The body is not declared as NDJSON.",
        422: "Lines are wrong; errors names the lines, up to 4 MiB of errors; bad_lines counts them.",
    }
    RuleUnknown {
        404: "No such rule.",
    }
    RuleConflict {
        409: "`mark-limit-exceeded`, or, of a new rule, `rule-exists`.",
    }
    RuleChanged {
        412: "The rule is at another version.",
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
