//! The OpenAPI 3.1 document: made from the handlers, and what they share.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::api::ProblemDetails;

/// What the API is, and the limits that hold for every request.
fn description() -> String {
    format!(
        "The management API: rules of marks, and the state of the service.\n\n\
         - Every answer that is no success is a problem (RFC 9457); `ProblemType` is the closed list \
         of its types. Unknown fields and parameters are refused.\n\
         - A body has at most {body} MiB, that of an import {import} MiB and {rules} rules of at most \
         {line} KiB a line; more is 413. Bodies come uncompressed.\n\
         - Pages of lists have up to {page} items. A cursor stays right however rows change between \
         two pages: what is there all the time comes exactly once.\n\
         - Rules carry an `ETag`. A write with `If-Match` is refused with 412 if the rule has changed; \
         `If-None-Match: *` on PUT only makes, never replaces.\n\
         - Requests may be repeated: a rule has the id its client chose, PUT of what stands changes \
         nothing, not even the version, and POST of an id that is taken is 409.\n\
         - Writes of rules take turns. One that waits longer than {patience} s, such as for imports, is \
         refused with 503 and `Retry-After`; nothing was written then.\n\
         - `X-Request-Id`, the client's own if it sends one of up to 128 letters, digits and \
         `._:/+=-`, stands in the answer, the log and the history.",
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
        .components(Some(components))
        .security(Some([SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]))
        .build()
}
