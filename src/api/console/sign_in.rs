//! Signing in and out over HTTP.

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::api::session;
use crate::api::{AdminState, Caller, Json, JsonBody, Problem};
use crate::config::Role;
use crate::version;

pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/console/session", get(read).post(begin).delete(end))
}

/// Who looks at the console.
#[derive(Serialize)]
struct Who {
    signed_in: bool,
    /// False where no tokens are configured: everyone on this machine may do everything.
    sign_in_needed: bool,
    name: Option<String>,
    role: Option<Role>,
    /// Version and commit of the replica that answers.
    version: &'static str,
    /// True where the stage of the demo is at `/stage`.
    stage: bool,
}

/// In the extensions of every request where the stage of the demo is served beside the console.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage;

impl Who {
    fn of(caller: Option<&Caller>, sign_in_needed: bool) -> Self {
        Self {
            signed_in: caller.is_some(),
            sign_in_needed,
            name: caller.map(|caller| caller.name.to_string()),
            role: caller.map(|caller| caller.role),
            version: version::FULL,
            stage: false,
        }
    }
}

/// To be signed out is no error here: the page asks this first.
async fn read(
    State(state): State<AdminState>,
    head: Parts,
    stage: Option<Extension<Stage>>,
) -> Result<Json<Who>, Problem> {
    let tokens = state.tokens;
    let caller = tokens.identify(&head);
    let who = match tokens.is_open() {
        true => Who::of(Some(&caller?), false),
        false => Who::of(caller.ok().as_ref(), true),
    };
    let stage = stage.is_some();
    Ok(Json(Who { stage, ..who }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: SecretString,
    /// The page came over TLS.
    #[serde(default)]
    secure: bool,
}

async fn begin(
    State(state): State<AdminState>,
    head: Parts,
    JsonBody(input): JsonBody<SignIn>,
) -> Result<Response, Problem> {
    // Otherwise another site could sign a person in under another name.
    state.tokens.console_only(&head.headers)?;
    let secret = input.token.expose_secret().trim();
    let (caller, cookie) = state.tokens.sign_in(secret, input.secure, &head)?;
    let who = Json(Who::of(Some(&caller), true));
    let mut response = ([(header::SET_COOKIE, cookie)], who).into_response();
    response.extensions_mut().insert(caller);
    Ok(response)
}

async fn end(State(state): State<AdminState>, headers: HeaderMap) -> Result<Response, Problem> {
    state.tokens.console_only(&headers)?;
    let ended = session::end().map(|cookie| (header::SET_COOKIE, cookie));
    Ok((StatusCode::NO_CONTENT, AppendHeaders(ended)).into_response())
}
