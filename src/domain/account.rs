//! The id of a user (`UserID`, `Member_Account` in Chat's documents).

use std::fmt;

/// An account: 1 to 64 bytes without control characters.
///
/// Chat's pages disagree on the alphabet (letters and digits only, or `_` and `-` too), so every
/// printable text is accepted. They say 32 bytes; apps with longer accounts exist (a UUID with
/// hyphens has 36). Sources: <https://www.tencentcloud.com/document/product/1047/34381>,
/// <https://www.tencentcloud.com/document/product/1047/34385>.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account(Box<str>);

/// Why a text is no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccount {
    #[error("an account must not be empty")]
    Empty,
    #[error("an account has at most {max} bytes, this one has {0}", max = Account::MAX_BYTES)]
    TooLong(usize),
    /// No log should see one.
    #[error("an account has no control characters; there is one at byte {0}")]
    ControlCharacter(usize),
}

impl Account {
    pub const MAX_BYTES: usize = 64;

    pub fn parse(text: &str) -> Result<Self, InvalidAccount> {
        if text.is_empty() {
            return Err(InvalidAccount::Empty);
        }
        Self::check_text(text)?;
        Ok(Self(text.into()))
    }

    /// What is true of an account and of any beginning of one.
    pub(super) fn check_text(text: &str) -> Result<(), InvalidAccount> {
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidAccount::TooLong(text.len()));
        }
        match text.char_indices().find(|(_, letter)| letter.is_control()) {
            Some((at, _)) => Err(InvalidAccount::ControlCharacter(at)),
            None => Ok(()),
        }
    }

    /// True for the ids Chat gives to viewers who are not logged in. They can carry no mark.
    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with("@TLS#")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limits_are_those_of_chat() {
        assert_eq!(Account::parse(""), Err(InvalidAccount::Empty));
        assert!(Account::parse(&"a".repeat(64)).is_ok());
        assert_eq!(
            Account::parse(&"a".repeat(65)),
            Err(InvalidAccount::TooLong(65))
        );
        assert_eq!(
            Account::parse("a\u{7f}"),
            Err(InvalidAccount::ControlCharacter(1))
        );
        assert!(Account::parse("老师10").is_ok());
    }

    #[test]
    fn viewers_without_login_are_recognised() {
        assert!(Account::parse("@TLS#144115").unwrap().is_anonymous());
        assert!(!Account::parse("teacher10").unwrap().is_anonymous());
    }

    proptest! {
        #[test]
        fn any_text_is_kept_whole_or_refused(text in any::<String>()) {
            if let Ok(account) = Account::parse(&text) {
                prop_assert_eq!(account.as_str(), text);
            }
        }
    }
}
