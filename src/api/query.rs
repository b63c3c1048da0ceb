//! Queries of requests, and pages of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
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
pub struct Listed<T, P = Paging>(pub T, pub P);

/// Says which page; all other parameters say which items.
pub(crate) trait Part: DeserializeOwned {
    const NAMES: &[&str];
}

impl<T: DeserializeOwned, P: Part, S: Send + Sync> FromRequestParts<S> for Listed<T, P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let of_the_page = |name: &str| P::NAMES.contains(&name);
        let items = read(query, |name| !of_the_page(name))?;
        Ok(Self(items, read(query, of_the_page)?))
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

/// An empty parameter counts as absent.
#[derive(Debug, Default, Deserialize, IntoParams)]
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

impl Part for Paging {
    const NAMES: &[&str] = &["limit", "after"];
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<K> {
    kind: &'static str,
    limit: u16,
    /// The key of the last item of the page before.
    pub after: Option<K>,
}

impl<K> Page<K> {
    /// Page of the list `kind`; `read` makes a key of what the cursor names.
    pub fn new(
        kind: &'static str,
        paging: &Paging,
        read: impl FnOnce(&str) -> Option<K>,
    ) -> Result<Self, Problem> {
        let key = |text| read_cursor(kind, text).and_then(|key| read(&key));
        let after = paging.after.as_deref().map(|text| {
            key(text).ok_or_else(|| {
                let detail = "must be the `next` cursor of a previous page of this list";
                Problem::parameter("after", detail)
            })
        });
        Ok(Self {
            kind,
            limit: paging.limit.map_or(DEFAULT_LIMIT, |limit| limit.0),
            after: after.transpose()?,
        })
    }

    /// How many rows to read: one more than the page has, which shows whether another page follows.
    pub fn rows(&self) -> u16 {
        self.limit + 1
    }

    /// Cuts the rows to the page, and makes the cursor of the next one from its last item.
    pub fn cut<T>(
        &self,
        mut rows: Vec<T>,
        key: impl FnOnce(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let more = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last| write_cursor(self.kind, &key(last)));
        (rows, next)
    }
}

/// A cursor names its list, so that one of another list is refused rather than misread.
fn write_cursor(kind: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{kind}:{key}"))
}

fn read_cursor(kind: &str, text: &str) -> Option<String> {
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let key = decoded.strip_prefix(kind)?.strip_prefix(':')?;
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GroupId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        group: Option<GroupId>,
        limit: Option<Limit>,
        after: Option<String>,
    }

    fn wrong(query: &str) -> String {
        let problem = read::<Given>(query, |_| true).unwrap_err();
        problem.details().errors[0].parameter.clone().unwrap()
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        assert_eq!(wrong("limit=0"), "limit");
        assert_eq!(wrong("limit=many"), "limit");
        assert_eq!(wrong("group=%00"), "group");
        assert_eq!(wrong("group=a&group=b"), "group");
        assert_eq!(wrong("color=red"), "color");
        let given: Given = read("group=&limit=7&after=", |_| true).unwrap();
        assert_eq!((given.group, given.after), (None, None));
        assert_eq!(given.limit, Some(Limit(7)));
    }

    #[test]
    fn the_next_page_exists_only_if_a_row_is_left() {
        let page = |after: Option<&str>| {
            let paging = Paging {
                limit: Some(Limit(2)),
                after: after.map(str::to_owned),
            };
            Page::new("rules", &paging, |key| Some(key.to_owned()))
        };
        let first = page(None).unwrap();
        assert_eq!(first.rows(), 3);
        assert_eq!(
            first.cut(vec![1, 2], ToString::to_string),
            (vec![1, 2], None)
        );
        let (items, next) = first.cut(vec![1, 2, 3], ToString::to_string);
        assert_eq!(items, [1, 2]);
        let next = next.unwrap();
        assert_eq!(page(Some(&next)).unwrap().after.as_deref(), Some("2"));
        assert_eq!(read_cursor("history", &next), None);
        assert!(page(Some("%")).is_err());
    }
}
