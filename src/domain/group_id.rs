//! The id of a live room (`GroupId` in Chat's documents).

use std::fmt;

/// A group id: 1 to 48 bytes of printable ASCII.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/33529> (custom ids) and
/// <https://www.tencentcloud.com/document/product/1047/34381> (length). Ids that Chat generates
/// start with `@TGS#`, so `@` and `#` must be encoded wherever an id enters a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(Box<str>);

/// Why a text is no group id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroupId {
    #[error("a group id must not be empty")]
    Empty,
    #[error("a group id has at most {max} bytes, this one has {0}", max = GroupId::MAX_BYTES)]
    TooLong(usize),
    /// A byte outside `0x20..=0x7E`.
    #[error("a group id is printable ASCII; the character at byte {0} is not")]
    NotPrintableAscii(usize),
}

impl GroupId {
    pub const MAX_BYTES: usize = 48;

    pub fn parse(text: &str) -> Result<Self, InvalidGroupId> {
        if text.is_empty() {
            return Err(InvalidGroupId::Empty);
        }
        Self::check_text(text)?;
        Ok(Self(text.into()))
    }

    /// What is true of an id and of any beginning of one.
    pub(super) fn check_text(text: &str) -> Result<(), InvalidGroupId> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidGroupId::TooLong(text.len()));
        }
        match text.bytes().position(|byte| !(0x20..=0x7e).contains(&byte)) {
            Some(at) => Err(InvalidGroupId::NotPrintableAscii(at)),
            None => Ok(()),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_made_by_chat_are_accepted() {
        assert_eq!(
            GroupId::parse("@TGS#2ABCDEF").unwrap().as_str(),
            "@TGS#2ABCDEF"
        );
    }

    #[test]
    fn the_limits_are_those_of_chat() {
        assert_eq!(GroupId::parse(""), Err(InvalidGroupId::Empty));
        assert!(GroupId::parse(&"g".repeat(48)).is_ok());
        assert_eq!(
            GroupId::parse(&"g".repeat(49)),
            Err(InvalidGroupId::TooLong(49))
        );
        assert_eq!(
            GroupId::parse("a\nb"),
            Err(InvalidGroupId::NotPrintableAscii(1))
        );
        assert_eq!(
            GroupId::parse("a\u{e9}"),
            Err(InvalidGroupId::NotPrintableAscii(1))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_kept_whole_or_refused(text in any::<String>()) {
            if let Ok(id) = GroupId::parse(&text) {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
