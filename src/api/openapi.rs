//! The OpenAPI 3.1 document: made from the handlers, and what they share.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::api::ProblemDetails;

/// The order in which a reader needs them.
const TAGS: [(&str, &str); 5] = [
    ("rules", "Which accounts have which marks in which rooms."),
    (
        "members",
        "Members that a rule matches, and why they have or lack marks.",
    ),
    ("rooms", "Live rooms, and their comparison with Chat."),
    ("status", "What the service does now."),
    (
        "probes",
        "For load balancers, orchestrators and Prometheus; they need no token.",
    ),
];

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

/// The document without paths.
pub(super) fn frame() -> OpenApi {
    let mut schemas = vec![(
        ProblemDetails::name().into_owned(),
        ProblemDetails::schema(),
    )];
    ProblemDetails::schemas(&mut schemas);
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some(
                    "A secret of admin.tokens. Where no tokens are configured (loopback only), \
                     none is needed.",
                ))
                .build(),
        ),
    );
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Stickymark")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(description()))
                .license(Some(
                    LicenseBuilder::new()
                        .name("Apache-2.0")
                        .identifier(Some("Apache-2.0"))
                        .build(),
                ))
                .build(),
        )
        .servers(Some([ServerBuilder::new()
            .url("/")
            .description(Some("The admin listener that serves this document."))
            .build()]))
        .tags(Some(TAGS.map(|(name, about)| {
            TagBuilder::new()
                .name(name)
                .description(Some(about))
                .build()
        })))
        .components(Some(components))
        .security(Some([SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]))
        .build()
}
