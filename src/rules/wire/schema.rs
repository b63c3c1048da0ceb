//! The shape of requests, for the OpenAPI document. [`super::input`] reads them by hand, to report
//! every wrong field at once; what it takes and what stands here are kept equal by tests.

#[allow(unused_imports, reason = "stands in schemas alone")]
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A rule to be made, or to take the place of another. Only `group`, `account` and `marks` are
/// required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleInput {
    /// The name of the rule; made by the service if absent. In a PUT it must be that of the path.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "class-7-teacher")]
    pub id: Option<String>,
    /// The rooms: a group id (at most 48 bytes of printable ASCII), the beginning of one followed
    /// by `*`, or `*` for all. A literal star is written `\*`.
    #[schema(
        min_length = 1,
        pattern = r"^(?:[ -)+-~]|\\\*){0,48}\*?$",
        example = "class-7"
    )]
    pub group: String,
    /// The accounts (at most 32 bytes), written like the rooms.
    #[schema(
        min_length = 1,
        pattern = r"^(?:[^*\u0000-\u001f\u007f-\u009f]|\\\*){0,32}\*?$",
        example = "teacher10"
    )]
    pub account: String,
    /// 1 to 10 distinct marks.
    #[schema(value_type = BTreeSet<MarkNumber>, min_items = 1, max_items = 10, example = json!([1000]))]
    pub marks: Vec<u32>,
    /// A disabled rule demands nothing. Absent or null: true.
    pub enabled: Option<bool>,
    /// First moment at which the rule holds. Absent or null: since ever.
    pub starts_at: Option<DateTime<Utc>>,
    /// First moment at which it holds no more; later than `starts_at`. Absent or null: for ever.
    pub ends_at: Option<DateTime<Utc>>,
    /// The set of rules it belongs to; no control characters. Absent or null: empty.
    #[schema(
        max_length = 64,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$",
        example = "school"
    )]
    pub label: Option<String>,
    /// Free text for people; tabs and line feeds are the only control characters. Absent or null:
    /// empty.
    #[schema(
        max_length = 1000,
        pattern = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"
    )]
    pub note: Option<String>,
    /// Ignored, so that an answer can be sent back as it is.
    #[schema(value_type = Option<Value>)]
    pub version: Option<Value>,
    /// Ignored.
    #[schema(value_type = Option<Value>)]
    pub created_at: Option<Value>,
    /// Ignored.
    #[schema(value_type = Option<Value>)]
    pub updated_at: Option<Value>,
}

/// Changes to a rule, as a JSON merge patch (RFC 7396): what is absent stays, null resets to the
/// default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RulePatch {
    /// Cannot be changed: the rule's own, if given.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub id: Option<String>,
    /// The rooms.
    #[schema(
        nullable = false,
        min_length = 1,
        pattern = r"^(?:[ -)+-~]|\\\*){0,48}\*?$",
        example = "class-*"
    )]
    pub group: Option<String>,
    /// The accounts.
    #[schema(
        nullable = false,
        min_length = 1,
        pattern = r"^(?:[^*\u0000-\u001f\u007f-\u009f]|\\\*){0,32}\*?$"
    )]
    pub account: Option<String>,
    /// All marks that the rule is to have.
    #[schema(
        nullable = false,
        value_type = Option<BTreeSet<MarkNumber>>,
        min_items = 1,
        max_items = 10
    )]
    pub marks: Option<Vec<u32>>,
    /// Null: true.
    pub enabled: Option<bool>,
    /// Null: since ever.
    pub starts_at: Option<DateTime<Utc>>,
    /// Null: for ever.
    pub ends_at: Option<DateTime<Utc>>,
    /// Null: empty.
    #[schema(max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub label: Option<String>,
    /// Null: empty.
    #[schema(
        max_length = 1000,
        pattern = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"
    )]
    pub note: Option<String>,
    /// Ignored.
    #[schema(value_type = Option<Value>)]
    pub version: Option<Value>,
    /// Ignored.
    #[schema(value_type = Option<Value>)]
    pub created_at: Option<Value>,
    /// Ignored.
    #[schema(value_type = Option<Value>)]
    pub updated_at: Option<Value>,
}

/// 500, 600, or 1000 to 4294967295.
pub struct MarkNumber;

impl PartialSchema for MarkNumber {
    fn schema() -> RefOr<Schema> {
        let integer = || ObjectBuilder::new().schema_type(Type::Integer);
        OneOfBuilder::new()
            .description(Some("A mark: 500, 600, or 1000 to 4294967295."))
            .item(integer().enum_values(Some([500, 600])))
            .item(integer().minimum(Some(1000)).maximum(Some(u32::MAX)))
            .into()
    }
}

impl ToSchema for MarkNumber {
    fn name() -> std::borrow::Cow<'static, str> {
        "Mark".into()
    }
}
