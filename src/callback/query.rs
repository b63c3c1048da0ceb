//! The query that Chat appends to the callback URL.
//!
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>. `RequestID` stands in no page; real
//! requests have it.

use std::borrow::Cow;

use url::form_urlencoded;

/// The keys of the URL that are looked at; of one that stands twice, the first.
#[derive(Default)]
pub(super) struct Query<'a> {
    pub sdk_app_id: Option<Cow<'a, str>>,
    pub command: Option<Cow<'a, str>>,
    pub sign: Option<Cow<'a, str>>,
    pub request_time: Option<Cow<'a, str>>,
    pub request_id: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    /// Reads it in place; what is not looked at is skipped.
    pub fn parse(query: &'a str) -> Self {
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*key {
                "SdkAppid" => &mut found.sdk_app_id,
                "CallbackCommand" => &mut found.command,
                "Sign" => &mut found.sign,
                "RequestTime" => &mut found.request_time,
                "RequestID" => &mut found.request_id,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        found
    }
}
