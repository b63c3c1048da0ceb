//! Who calls, and what he may do.
//!
//! A bearer token names the caller, or a session of the console that was begun with one; the role of
//! the token decides by the method: a viewer reads, an editor writes. Only digests of the secrets are
//! kept, and every one of them is compared, so that the time tells nothing. Without tokens, which is
//! allowed on loopback alone, everybody is an editor called `anonymous`; then a web page open in a
//! browser of this machine must be kept out, by the `Host` (DNS rebinding) and the `Origin` (requests
//! of other sites) that browsers send.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::problem::{Problem, ProblemType};
use super::session::{Guesses, Session, is_own_page};
use crate::config::{AdminToken, Role};

/// The tokens that are known. Clones count wrong guesses together.
#[derive(Clone)]
pub(crate) struct Tokens {
    known: Arc<[Known]>,
    guesses: Arc<Guesses>,
}

struct Known {
    digest: [u8; 32],
    caller: Caller,
}

/// Who calls. Stands in the extensions of every request below `/v1`, and of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token.
    pub name: Arc<str>,
    /// What he may do.
    pub role: Role,
}

impl Tokens {
    pub(crate) fn new(tokens: &[AdminToken]) -> Self {
        let known = tokens.iter().map(|token| Known {
            digest: digest(token.secret.expose_secret()),
            caller: Caller {
                name: token.name.as_str().into(),
                role: token.role,
            },
        });
        Self {
            known: known.collect(),
            guesses: Arc::default(),
        }
    }

    /// Whether anybody on this machine may do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    fn token(&self, secret: &str) -> Option<&Known> {
        let given = digest(secret);
        let mut found = u32::MAX;
        for (index, known) in (0u32..).zip(self.known.iter()) {
            let equal: Choice = known.digest.ct_eq(&given);
            found.conditional_assign(&index, equal);
        }
        self.known.get(usize::try_from(found).ok()?)
    }

    /// Begins a session of the console.
    ///
    /// # Errors
    /// When the secret is not known, or too many were wrong of late.
    pub(crate) fn sign_in(&self, secret: &str) -> Result<(Caller, Session), Problem> {
        let known = self.guesses.attempt(Instant::now(), || self.token(secret));
        let known = known.ok_or_else(|| {
            let detail = "too many secrets were wrong; try again in some seconds";
            Problem::new(ProblemType::TooManyRequests, detail)
        })?;
        let known = known.ok_or_else(unknown_token)?;
        let session = Session::begin(&known.caller.name, &known.digest, Utc::now());
        Ok((known.caller.clone(), session))
    }

    /// Whose session a request brings.
    fn in_session(&self, headers: &HeaderMap) -> Option<&Caller> {
        let now = Utc::now();
        Session::of(headers).find_map(|session| {
            let mut named = self.known.iter();
            let known = named.find(|known| *known.caller.name == *session.name)?;
            session.holds(&known.digest, now).then_some(&known.caller)
        })
    }

    /// Who calls.
    ///
    /// # Errors
    /// When that is not known, or a page of another origin calls in his name.
    pub(crate) fn identify(
        &self,
        method: &Method,
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Caller, Problem> {
        if self.is_open() {
            refuse_web_pages(headers, uri)?;
            return Ok(Caller {
                name: "anonymous".into(),
                role: Role::Editor,
            });
        }
        if let Some(secret) = bearer(headers) {
            let known = self.token(secret).ok_or_else(unknown_token)?;
            return Ok(known.caller.clone());
        }
        match self.in_session(headers) {
            Some(_) if is_write(method) && !is_own_page(headers) => Err(foreign_page()),
            Some(caller) => Ok(caller.clone()),
            None => Err(Problem::new(
                ProblemType::Unauthorized,
                "send the header Authorization: Bearer <secret of an entry of admin.tokens>",
            )),
        }
    }
}

fn unknown_token() -> Problem {
    Problem::new(
        ProblemType::Unauthorized,
        "this token is not in admin.tokens",
    )
}

/// What a write in a session must show.
pub(crate) fn foreign_page() -> Problem {
    Problem::new(
        ProblemType::ForeignOrigin,
        "a session of the console writes only from its own pages, with the header \
         X-Stickymark-Console: 1; elsewhere send Authorization: Bearer",
    )
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
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match tokens.identify(request.method(), request.headers(), request.uri()) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let mut response = if caller.role < Role::Editor && is_write(request.method()) {
        let name = &caller.name;
        let detail = format!("{name} is a viewer; writing takes a token of the role editor");
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

fn refuse_web_pages(headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let host = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok()),
    };
    let origin = headers.get(header::ORIGIN).map(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").map_or("", |(_, host)| host)
    });
    if host.is_some_and(is_loopback) && origin.is_none_or(is_loopback) {
        Ok(())
    } else {
        Err(Problem::new(
            ProblemType::ForeignOrigin,
            "without admin.tokens only this machine may call, as localhost or 127.0.0.1; \
             set admin.tokens to allow others",
        ))
    }
}

/// Whether `host` or `host:port` means this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use secrecy::SecretString;

    fn tokens() -> Tokens {
        Tokens::new(&[
            AdminToken {
                name: "eve".to_owned(),
                role: Role::Editor,
                secret: SecretString::from("editor-secret"),
            },
            AdminToken {
                name: "vic".to_owned(),
                role: Role::Viewer,
                secret: SecretString::from("viewer-secret"),
            },
        ])
    }

    fn identify(
        tokens: &Tokens,
        headers: &[(header::HeaderName, &'static str)],
    ) -> Result<String, u16> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        tokens
            .identify(&Method::GET, &headers, &Uri::from_static("/v1/rules"))
            .map(|caller| caller.name.to_string())
            .map_err(|problem| problem.details().status)
    }

    #[test]
    fn a_secret_names_its_caller_and_nothing_else_does() {
        let given = |value| identify(&tokens(), &[(header::AUTHORIZATION, value)]);
        assert_eq!(given("Bearer editor-secret").as_deref(), Ok("eve"));
        assert_eq!(given("bearer viewer-secret").as_deref(), Ok("vic"));
        for wrong in [
            "Bearer editor-secre",
            "Bearer ",
            "Bearer",
            "Basic editor-secret",
            "editor-secret",
        ] {
            assert_eq!(given(wrong), Err(401), "{wrong}");
        }
        assert_eq!(identify(&tokens(), &[]), Err(401));
    }

    #[test]
    fn without_tokens_only_this_machine_may_call_and_no_web_page() {
        let open = Tokens::new(&[]);
        for host in [
            "localhost:8081",
            "127.0.0.1",
            "127.8.8.8:1",
            "[::1]:8081",
            "a.localhost",
            "LOCALHOST.",
        ] {
            assert_eq!(
                identify(&open, &[(header::HOST, host)]).as_deref(),
                Ok("anonymous"),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
            "[",
        ] {
            assert_eq!(identify(&open, &[(header::HOST, host)]), Err(403), "{host}");
        }
        assert_eq!(identify(&open, &[]), Err(403));
        let from = |origin| {
            identify(
                &open,
                &[(header::HOST, "localhost"), (header::ORIGIN, origin)],
            )
        };
        assert!(from("http://localhost:8081").is_ok());
        assert_eq!(from("https://evil.example"), Err(403));
        assert_eq!(from("null"), Err(403));
    }
}
