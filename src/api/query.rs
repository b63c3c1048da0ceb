//! Queries of requests, and pages of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use url::form_urlencoded;

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
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let given = form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty());
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
        Problem::parameters(vec![(name, detail)])
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
    ///
    /// # Errors
    /// When `after` is no cursor of this list.
    pub fn new(
        kind: &'static str,
        limit: Option<Limit>,
        after: Option<&str>,
        read: impl FnOnce(&str) -> Option<K>,
    ) -> Result<Self, Problem> {
        let key = |text| read_cursor(kind, text).and_then(|key| read(&key));
        let after = after.map(|text| {
            key(text).ok_or_else(|| {
                let detail = "must be the `next` cursor of a previous page of this list";
                Problem::parameters(vec![("after".to_owned(), detail.to_owned())])
            })
        });
        Ok(Self {
            kind,
            limit: limit.map_or(DEFAULT_LIMIT, |limit| limit.0),
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
    use proptest::prelude::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        group: Option<GroupId>,
        limit: Option<Limit>,
        after: Option<String>,
    }

    fn wrong(query: &str) -> String {
        let problem = read::<Given>(query).unwrap_err();
        problem.details().errors[0].parameter.clone().unwrap()
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        assert_eq!(wrong("limit=0"), "limit");
        assert_eq!(wrong("limit=many"), "limit");
        assert_eq!(wrong("group=%00"), "group");
        assert_eq!(wrong("group=a&group=b"), "group");
        assert_eq!(wrong("color=red"), "color");
        let given: Given = read("group=&limit=7&after=").unwrap();
        assert_eq!((given.group, given.after), (None, None));
        assert_eq!(given.limit, Some(Limit(7)));
    }

    #[test]
    fn the_next_page_exists_only_if_a_row_is_left() {
        let page = |after| Page::new("rules", Some(Limit(2)), after, |key| Some(key.to_owned()));
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

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in any::<String>()) {
            let _ = read::<Given>(&query);
        }
    }
}
