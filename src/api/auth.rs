//! Who calls, and what the caller may do.
//!
//! A bearer token names the caller, or a session of the console that began with one; the role of the
//! token decides by the method: a viewer reads, an editor writes. Only digests of the secrets are kept,
//! and every one of them is compared, so that the time says nothing. Without tokens, which is allowed
//! on loopback alone, everyone on this machine is an editor called `anonymous`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::guesses::{Guesses, Source};
use super::problem::{Problem, ProblemType};
use super::{origin, session};
use crate::config::{AdminToken, Role};
use crate::metrics::{AdminRefusal, Metrics};
use crate::telemetry::warn_seldom;

/// The tokens of `admin.tokens`. Clones count wrong ones together.
#[derive(Clone)]
pub(crate) struct Tokens {
    known: Arc<[Known]>,
    guesses: Arc<Guesses>,
    metrics: Metrics,
}

struct Known {
    digest: [u8; 32],
    /// Whether the secret is too long to be guessed.
    long: bool,
    caller: Caller,
}

/// Characters of a secret that need no limit of guesses.
const LONG: usize = 32;

/// Who calls: an extension of every request below `/v1`, and of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token.
    pub name: Arc<str>,
    pub role: Role,
}

impl Tokens {
    /// Refusals count in `metrics`.
    pub(crate) fn new(tokens: &[AdminToken], metrics: &Metrics) -> Self {
        let known = tokens.iter().map(|token| Known {
            digest: digest(token.secret.expose_secret()),
            long: token.secret.expose_secret().len() >= LONG,
            caller: Caller {
                name: token.name.as_str().into(),
                role: token.role,
            },
        });
        Self {
            known: known.collect(),
            guesses: Arc::default(),
            metrics: metrics.clone(),
        }
    }

    /// Whether everyone on this machine may do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    fn token(&self, secret: &str) -> Option<&Known> {
        let given = digest(secret);
        let mut found = None;
        for known in self.known.iter() {
            if known.digest.ct_eq(&given).into() {
                found = Some(known);
            }
        }
        found
    }

    /// The token with this secret. A short secret is refused while too many wrong ones come from the same
    /// address; a long one is accepted, so that a guesser does not lock out its neighbours.
    fn given(&self, secret: &str, head: &Parts) -> Result<&Known, Problem> {
        let known = self.token(secret);
        if let Some(known) = known
            && known.long
        {
            return Ok(known);
        }
        let source = Source::of(head);
        let permitted = self.guesses.permit(source, known.is_some(), Instant::now());
        let (refusal, kind, detail) = match known {
            _ if !permitted => (
                AdminRefusal::TooManyGuesses,
                ProblemType::TooManyRequests,
                "too many unknown tokens came from your address; try again in some seconds",
            ),
            Some(known) => return Ok(known),
            None => (
                AdminRefusal::UnknownToken,
                ProblemType::Unauthorized,
                "unknown token",
            ),
        };
        self.metrics.admin_refusals.of(refusal).inc();
        let Source { peer, client } = source;
        warn_seldom!(%peer, %client, "refused an unknown token");
        Err(Problem::new(kind, detail))
    }

    /// Begins a session of the console; `secure`: its page came over TLS. Returns the header
    /// `Set-Cookie` too.
    pub(crate) fn sign_in(
        &self,
        secret: &str,
        secure: bool,
        head: &Parts,
    ) -> Result<(Caller, String), Problem> {
        let Known { digest, caller, .. } = self.given(secret, head)?;
        let cookie = session::begin(&caller.name, digest, secure, Utc::now());
        Ok((caller.clone(), cookie))
    }

    /// Whose session a request brings.
    fn in_session(&self, headers: &HeaderMap) -> Option<&Caller> {
        let now = Utc::now();
        let mut known = self.known.iter();
        let known =
            known.find(|known| session::is_of(headers, &known.caller.name, &known.digest, now));
        known.map(|known| &known.caller)
    }

    /// Who calls.
    pub(crate) fn identify(&self, head: &Parts) -> Result<Caller, Problem> {
        if self.is_open() {
            self.foreign(origin::this_machine_only(head))?;
            return Ok(Caller {
                name: "anonymous".into(),
                role: Role::Editor,
            });
        }
        if let Some(secret) = bearer(&head.headers) {
            return Ok(self.given(secret, head)?.caller.clone());
        }
        let Some(caller) = self.in_session(&head.headers) else {
            return Err(Problem::new(
                ProblemType::Unauthorized,
                "send the header Authorization: Bearer <secret of an entry of admin.tokens>",
            ));
        };
        if is_write(&head.method) {
            self.console_only(&head.headers)?;
        }
        Ok(caller.clone())
    }

    /// Lets only the pages of the console itself pass.
    pub(crate) fn console_only(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.foreign(origin::console_only(headers))
    }

    fn foreign(&self, checked: Result<(), Problem>) -> Result<(), Problem> {
        if checked.is_err() {
            let refusals = &self.metrics.admin_refusals;
            refusals.of(AdminRefusal::ForeignOrigin).inc();
        }
        checked
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The secret of `Authorization: Bearer`, RFC 6750; the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// Lets a request pass whose caller is known and may do what it asks for.
pub(crate) async fn authorize(
    State(tokens): State<Tokens>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let caller = match tokens.identify(&head) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let mut request = Request::from_parts(head, body);
    let mut response = if caller.role < Role::Editor && is_write(request.method()) {
        let name = &caller.name;
        let detail = format!("{name} is a viewer; writes require a token of the role editor");
        Problem::new(ProblemType::Forbidden, detail).into_response()
    } else {
        request.extensions_mut().insert(caller.clone());
        next.run(request).await
    };
    response.extensions_mut().insert(caller);
    response
}

/// Whether a request of this method changes something.
pub(crate) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
