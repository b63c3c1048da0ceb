//! Query parameters, read so that every wrong one is reported at once, and pages of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::form_urlencoded;
use utoipa::IntoParams;

use super::problem::Problem;

/// Items of a page where the client does not say.
const DEFAULT_LIMIT: u16 = 100;
/// Most items of a page.
pub(crate) const MAX_LIMIT: u16 = 500;

/// The query of a request. An empty parameter counts as absent.
#[derive(Debug)]
pub struct Parameters {
    open: Vec<(String, String)>,
    wrong: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            open: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            wrong: Vec::new(),
        })
    }
}

impl Parameters {
    /// Takes one parameter. `read` says what is wrong with a text.
    pub fn take<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let mut values = self
            .open
            .extract_if(.., |(given, _)| given == name)
            .map(|(_, value)| value);
        let value = values.next()?;
        let more = values.next().is_some();
        drop(values);
        if more {
            self.wrong(name, "must be given only once");
            return None;
        }
        if value.is_empty() {
            return None;
        }
        match read(&value) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.wrong(name, detail);
                None
            }
        }
    }

    /// Takes `limit` and `after` of a list of this kind; `read` makes a key of what a cursor names.
    pub fn page<K>(
        &mut self,
        kind: &'static str,
        read: impl FnOnce(&str) -> Option<K>,
    ) -> PageRequest<K> {
        let limit = self.take("limit", |text| match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
            _ => Err(format!("must be a number from 1 to {MAX_LIMIT}")),
        });
        PageRequest {
            kind,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            after: self.take("after", |text| {
                let key = read_cursor(kind, text);
                key.and_then(|key| read(&key)).ok_or_else(|| {
                    "must be the text that a page of this list has as next".to_owned()
                })
            }),
        }
    }

    /// Marks a parameter as wrong that was read before.
    pub fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        self.wrong.push((name.to_owned(), detail.into()));
    }

    /// Ends the reading: what is still open is unknown.
    ///
    /// # Errors
    /// All that is wrong, at most 32 parameters.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.open) {
            self.wrong(&name, "is not a parameter of this request");
        }
        self.wrong.truncate(32);
        if self.wrong.is_empty() {
            Ok(())
        } else {
            Err(Problem::parameters(self.wrong))
        }
    }
}

/// Paging, for the document; [`Parameters::page`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes parameters")]
pub struct PageQuery {
    /// Most items of a page; 100 if absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u16>,
    /// The cursor that the page before has as `next`.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<K> {
    kind: &'static str,
    /// Most items, 1 to 500.
    pub limit: u16,
    /// The key of the last item of the page before.
    pub after: Option<K>,
}

impl<K> PageRequest<K> {
    /// How many rows to read: one more than the page has, which tells whether another page follows.
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
    use proptest::prelude::*;

    fn parameters(query: &str) -> Parameters {
        Parameters {
            open: form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            wrong: Vec::new(),
        }
    }

    #[test]
    fn all_wrong_parameters_are_reported_at_once() {
        let mut given = parameters("limit=0&after=%FF&label=a&label=b&color=red&group=");
        let page = given.page("rules", |key| Some(key.to_owned()));
        assert_eq!(given.take("label", |text| Ok(text.to_owned())), None);
        assert_eq!(
            given.take("group", |_| Err::<(), _>("empty is absent".to_owned())),
            None
        );
        assert_eq!((page.limit, page.after), (100, None));
        let wrong: Vec<_> = given.finish().unwrap_err().details().errors.clone();
        let names: Vec<_> = wrong
            .iter()
            .filter_map(|error| error.parameter.as_deref())
            .collect();
        assert_eq!(names, ["limit", "after", "label", "color"]);
    }

    #[test]
    fn the_next_page_exists_only_if_a_row_is_left() {
        let page = parameters("limit=2").page("rules", |key| Some(key.to_owned()));
        assert_eq!(page.rows(), 3);
        assert_eq!(
            page.cut(vec![1, 2], ToString::to_string),
            (vec![1, 2], None)
        );
        let (items, next) = page.cut(vec![1, 2, 3], ToString::to_string);
        assert_eq!(items, [1, 2]);
        let next = next.unwrap();
        assert_eq!(read_cursor("rules", &next).as_deref(), Some("2"));
        assert_eq!(read_cursor("history", &next), None);
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in any::<String>()) {
            let mut given = parameters(&query);
            given.page("rules", |key| Some(key.to_owned()));
            let _ = given.finish();
        }
    }
}
