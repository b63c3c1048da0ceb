//! Queries of requests, and pages of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use url::form_urlencoded;
use utoipa::IntoParams;

use super::problem::Problem;

/// Items of a page if the client does not say.
const DEFAULT_LIMIT: u16 = 100;
/// Most items of a page.
pub(crate) const MAX_LIMIT: u16 = 500;

/// The query of a request. An empty parameter counts as absent; unknown and repeated ones are errors.
#[derive(Debug)]
pub struct Query<T>(pub T);

/// For requests that take no parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default(), |_| true).map(Self)
    }
}

/// The query of a list: which items, and which page of them.
#[derive(Debug)]
pub struct Listed<T, P>(pub T, pub P);

/// The parameters that say which page; all others say which items.
const OF_THE_PAGE: [&str; 3] = ["sort", "limit", "after"];

impl<T: DeserializeOwned, P: DeserializeOwned, S: Send + Sync> FromRequestParts<S>
    for Listed<T, P>
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let items = read(query, |name| !OF_THE_PAGE.contains(&name))?;
        Ok(Self(
            items,
            read(query, |name| OF_THE_PAGE.contains(&name))?,
        ))
    }
}

/// Reads the parameters of the names that are wanted.
fn read<T: DeserializeOwned>(query: &str, wanted: impl Fn(&str) -> bool) -> Result<T, Problem> {
    let given = form_urlencoded::parse(query.as_bytes());
    let given = given.filter(|(name, value)| !value.is_empty() && wanted(name));
    let given = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish();
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(given.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let reason = error.inner().to_string();
        let path = error.path().to_string();
        // Serde names a missing, unknown or repeated parameter in its message only.
        let name = match reason.split('`').nth(1) {
            Some(name) if reason.contains(" field `") => name.to_owned(),
            _ => path,
        };
        let detail = match reason.split_once(" field `") {
            Some(("missing", _)) => "is required".to_owned(),
            Some(("duplicate", _)) => "must be given only once".to_owned(),
            Some(("unknown", _)) => "is not a parameter of this request".to_owned(),
            _ => reason,
        };
        Problem::parameter(name, detail)
    })
}

/// Items of a page, 1 to 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u16);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer) {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(Self(limit)),
            _ => Err(D::Error::custom(format_args!(
                "must be a number from 1 to {MAX_LIMIT}"
            ))),
        }
    }
}

/// Which page of a list. A cursor is the key of a row, by which the list is ordered. The keys of lists differ in
/// their form, so that a cursor of another list is refused rather than misread.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// Most items of a page; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    pub limit: Option<Limit>,
    /// The `next` cursor of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    pub after: Option<String>,
}

impl Paging {
    /// The key of the last item of the page before.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let read = |cursor| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok();
        let key = |cursor| read(cursor).ok_or_else(invalid_cursor);
        self.after.as_ref().map(key).transpose()
    }

    fn limit(&self) -> u16 {
        self.limit.map_or(DEFAULT_LIMIT, |limit| limit.0)
    }

    /// How many rows to read: one more than the page has, which shows whether another page follows.
    pub fn rows(&self) -> u16 {
        self.limit() + 1
    }

    /// Cuts the rows to the page, and makes the cursor of the next one from its last item.
    pub fn cut<T, K: Serialize>(
        &self,
        mut rows: Vec<T>,
        key: impl FnOnce(&T) -> K,
    ) -> (Vec<T>, Option<String>) {
        let limit = usize::from(self.limit());
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        let next = last.and_then(|last| serde_json::to_vec(&key(last)).ok());
        (rows, next.map(|key| URL_SAFE_NO_PAD.encode(key)))
    }
}

pub(super) fn invalid_cursor() -> Problem {
    let detail = "must be the `next` cursor of a previous page of this list";
    Problem::parameter("after", detail)
}
