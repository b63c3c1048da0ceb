//! The OpenAPI 3.1 document: made from the handlers, and what they share.

use serde_json::json;
use utoipa::OpenApi as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, Schema};

use crate::api::ProblemDetails;

/// The tags stand in the order in which a reader needs them.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Stickymark", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    servers((url = "/", description = "The admin listener that serves this document.")),
    tags(
        (name = "rules", description = "Which accounts have which marks in which rooms."),
        (name = "members", description = "Members that a rule matches, and why they have or lack marks."),
        (name = "rooms", description = "Live rooms, and their comparison with Chat."),
        (name = "status", description = "What the service does now."),
        (
            name = "probes",
            description = "For load balancers, orchestrators and Prometheus; they need no token."
        ),
    ),
    components(schemas(ProblemDetails)),
    security(("token" = [])),
)]
struct Frame;

/// What the API is, and the limits that hold for every request.
fn description() -> String {
    format!(
        "The management API: mark rules, and the state of the service.\n\n\
         - Every error is a problem (RFC 9457); `ProblemType` is the closed list of its types. `code` \
         and `params` say the same as `detail` for clients that translate. Unknown fields and \
         parameters are refused.\n\
         - A body has at most {body} MiB, that of an import {import} MiB and {rules} rules of at most \
         {line} KiB a line; more is 413. Bodies are sent uncompressed.\n\
         - Pages of lists have up to {page} items. A cursor stays valid when rows change between two \
         pages: a row that is there all the time comes exactly once.\n\
         - Rules carry an `ETag`. A write with `If-Match` is refused with 412 if the rule has changed; \
         `If-None-Match: *` on PUT creates only, and never replaces.\n\
         - All writes are idempotent: PUT of an unchanged rule changes nothing, not even its version, \
         and POST of an id that exists is 409.\n\
         - Rules are written one request at a time. A request that waits longer than {patience} s, such as \
         for an import, is refused with 503 and `Retry-After`; nothing was written then.\n\
         - `X-Request-Id`, the client's own if it sends one of up to 128 letters, digits and \
         `._:/+=-`, is in the answer, the log and the history.",
        body = crate::api::MAX_BODY >> 20,
        import = crate::api::rules::MAX_IMPORT >> 20,
        rules = crate::rules::import::MAX_RULES,
        line = crate::rules::import::MAX_LINE >> 10,
        page = crate::api::MAX_LIMIT,
        patience = crate::rules::PATIENCE.as_secs(),
    )
}

/// Answers name all their fields, with null for what is absent. Only a request may leave such a field out;
/// its schema takes no other fields.
pub(super) fn require_what_may_be_null(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    for schema in components.schemas.values_mut() {
        if let RefOr::T(Schema::Object(object)) = schema
            && object.additional_properties.is_none()
        {
            let nullable = object.properties.iter().filter(|(_, field)| {
                let field = serde_json::to_value(field).unwrap_or_default();
                let mut kinds = field["oneOf"].as_array().into_iter().flatten();
                let null = json!("null");
                kinds.any(|kind| kind["type"] == null)
                    || field["type"]
                        .as_array()
                        .is_some_and(|types| types.contains(&null))
            });
            let nullable = nullable.map(|(name, _)| name.clone());
            object.required.extend(nullable);
            object.required.sort_unstable();
            object.required.dedup();
        }
    }
}

/// The document without paths.
pub(super) fn frame() -> OpenApi {
    let mut document = Frame::openapi();
    document.info.description = Some(description());
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A secret of admin.tokens. Where no tokens are configured (loopback only), none is needed.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    document
}
