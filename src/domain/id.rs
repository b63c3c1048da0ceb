//! The ids of live rooms and users, as Chat writes them, and of rules.

use std::fmt;

use super::{Invalid, PatternText};

/// The id of a live room (`GroupId` in Chat's documents): 1 to 48 bytes of printable ASCII.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/33529> (custom ids) and
/// <https://www.tencentcloud.com/document/product/1047/34381> (length). Ids that Chat generates
/// start with `@TGS#`, so `@` and `#` must be encoded wherever an id enters a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct GroupId(Box<str>);

/// The id of a user (`UserID`, `Member_Account` in Chat's documents): 1 to 64 bytes without control
/// characters.
///
/// Chat's pages disagree on the alphabet (letters and digits only, or `_` and `-` too), so every
/// printable text is accepted. They say 32 bytes; apps with longer accounts exist (a UUID with
/// hyphens has 36). Sources: <https://www.tencentcloud.com/document/product/1047/34381>,
/// <https://www.tencentcloud.com/document/product/1047/34385>.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct Account(Box<str>);

/// The name of a rule: 1 to 64 of `A–Z a–z 0–9 . _ -`, chosen by the client or generated (UUIDv7).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct RuleId(Box<str>);

macro_rules! shown_as_it_is {
    ($($id:ty),+) => {$(
        impl $id {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )+};
}

shown_as_it_is!(GroupId, Account, RuleId);

impl GroupId {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::check(text)?;
        match text {
            "" => Err(Invalid("a group id must not be empty".to_owned())),
            text => Ok(Self(text.into())),
        }
    }
}

impl PatternText for GroupId {
    fn check(text: &str) -> Result<(), Invalid> {
        let length = text.len();
        if length > 48 {
            let wrong = format!("a group id has at most 48 bytes, this one has {length}");
            return Err(Invalid(wrong));
        }
        match text.bytes().position(|byte| !(0x20..=0x7e).contains(&byte)) {
            Some(at) => Err(Invalid(format!(
                "a group id is printable ASCII; the character at byte {at} is not"
            ))),
            None => Ok(()),
        }
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl Account {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::check(text)?;
        match text {
            "" => Err(Invalid("an account must not be empty".to_owned())),
            text => Ok(Self(text.into())),
        }
    }

    /// True for the ids Chat gives to viewers who are not logged in. They can carry no mark.
    pub fn is_anonymous(&self) -> bool {
        self.0.starts_with("@TLS#")
    }
}

impl PatternText for Account {
    fn check(text: &str) -> Result<(), Invalid> {
        let length = text.len();
        if length > 64 {
            let wrong = format!("an account has at most 64 bytes, this one has {length}");
            return Err(Invalid(wrong));
        }
        // No log should see one.
        match text.char_indices().find(|(_, letter)| letter.is_control()) {
            Some((at, _)) => Err(Invalid(format!(
                "an account has no control characters; there is one at byte {at}"
            ))),
            None => Ok(()),
        }
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl RuleId {
    /// Parses an id chosen by a client. An id is part of a URL: `.` and `..` would be resolved away, and
    /// two words are routes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let taken = [".", "..", "import", "export"].contains(&text);
        match (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !taken {
            true => Ok(Self(text.into())),
            false => Err(Invalid(
                "a rule id has 1 to 64 characters of A-Z a-z 0-9 . _ - and is not \".\", \"..\", \
                 \"import\" or \"export\""
                    .to_owned(),
            )),
        }
    }

    /// A new id that sorts by its time.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_rooms_are_those_of_chat() {
        for good in ["@TGS#2ABCDEF", &"g".repeat(48)] {
            assert_eq!(GroupId::parse(good).unwrap().as_str(), good);
        }
        for (bad, says) in [
            ("", "a group id must not be empty"),
            (
                &"g".repeat(49),
                "a group id has at most 48 bytes, this one has 49",
            ),
            (
                "a\nb",
                "a group id is printable ASCII; the character at byte 1 is not",
            ),
            (
                "a\u{e9}",
                "a group id is printable ASCII; the character at byte 1 is not",
            ),
        ] {
            assert_eq!(GroupId::parse(bad).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn the_limits_of_accounts_are_those_of_chat() {
        for good in ["老师10", &"a".repeat(64)] {
            assert_eq!(Account::parse(good).unwrap().as_str(), good);
        }
        for (bad, says) in [
            ("", "an account must not be empty"),
            (
                &"a".repeat(65),
                "an account has at most 64 bytes, this one has 65",
            ),
            (
                "a\u{7f}",
                "an account has no control characters; there is one at byte 1",
            ),
        ] {
            assert_eq!(Account::parse(bad).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn rule_ids_stand_in_a_path_without_escapes() {
        for good in ["class-7_teacher.1", "...", "imports", &"r".repeat(64)] {
            assert!(RuleId::parse(good).is_ok());
        }
        let long = "r".repeat(65);
        for bad in ["", "a b", "a/b", "ä", &long, ".", "..", "import", "export"] {
            assert!(RuleId::parse(bad).is_err(), "{bad}");
        }
        assert!(RuleId::parse(RuleId::generate().as_str()).is_ok());
    }
}
