//! The name of one request, by which its traces are found again: in logs, in spans, in the row of a
//! member it concerned, and in the history of a rule.

use std::fmt;
use std::sync::Arc;

/// At most so many ids of a round or a batch are logged; a storm has thousands.
const MOST_SHOWN: usize = 8;

/// A request's id: 1 to 128 letters, digits and `. _ : / + = -`, so that it is safe in any log.
///
/// Chat gives callbacks a UUID as `RequestID`, which no page mentions; clients of the management API
/// send `X-Request-Id`. A request without one, or with one that cannot be such an id, gets a generated one. Cloning
/// is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId {
    id: Arc<str>,
    /// The trace of the request, while traces are sent: `traceparent` of W3C Trace Context.
    trace: Option<Arc<str>>,
}

impl RequestId {
    pub const MAX_BYTES: usize = 128;

    /// A new one: a UUIDv7, so that ids sort by time. On the way of every callback: no system call, no
    /// lock.
    pub fn generate() -> Self {
        let millis = chrono::Utc::now().timestamp_millis().unsigned_abs();
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
        Self {
            id: uuid.to_string().into(),
            trace: None,
        }
    }

    /// The given one, if it can be an id.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte);
        let fits = (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self {
            id: text.into(),
            trace: None,
        })
    }

    pub fn as_str(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn in_trace(self, traceparent: Option<String>) -> Self {
        let trace = traceparent.map(Arc::from);
        Self { trace, ..self }
    }

    pub fn traceparent(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// The first distinct ones of many, separated by commas.
    pub fn list<'a>(ids: impl IntoIterator<Item = &'a str>) -> String {
        let mut shown: Vec<&str> = Vec::new();
        for id in ids {
            if shown.contains(&id) {
                continue;
            }
            if shown.len() == MOST_SHOWN {
                shown.push("…");
                break;
            }
            shown.push(id);
        }
        shown.join(",")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_can_stand_in_any_log() {
        for good in [
            "5f0c-7",
            "2c6bd2a1-3a0e-4f0a-9c3f-0a5b1c2d3e4f",
            &"a".repeat(128),
        ] {
            assert_eq!(RequestId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a b",
            "a\nb",
            "a,b",
            "ä",
            "\u{1b}[31m",
            &"a".repeat(129),
        ] {
            assert_eq!(RequestId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_made_here_is_an_id_and_no_two_are_alike() {
        let made = RequestId::generate();
        assert_eq!(RequestId::parse(made.as_str()), Some(made.clone()));
        assert_ne!(made, RequestId::generate());
        let uuid = uuid::Uuid::parse_str(made.as_str()).unwrap();
        assert_eq!(uuid.get_version_num(), 7);
    }

    #[test]
    fn a_list_tells_the_first_distinct_ones() {
        assert_eq!(RequestId::list([]), "");
        assert_eq!(RequestId::list(["1", "1", "2", "1"]), "1,2");
        let many: Vec<String> = (1..=500).map(|number| number.to_string()).collect();
        let list = |ids: &[String]| RequestId::list(ids.iter().map(String::as_str));
        assert_eq!(list(&many[..8]), "1,2,3,4,5,6,7,8");
        assert_eq!(list(&many), "1,2,3,4,5,6,7,8,…");
    }
}
