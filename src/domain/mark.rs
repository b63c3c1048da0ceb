//! Marks: the integers that an app attaches to members of a live room.

use std::collections::BTreeSet;
use std::fmt;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::Invalid;

/// Distinct marks that one room can have.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>. Whether the special marks
/// 500 and 600 count is not documented; they are counted, so that no call is refused for it.
pub const MAX_MARKS_PER_ROOM: usize = 10;

/// One mark: 500, 600, or 1000 to 4294967295.
///
/// Marks from 1000 belong to the app. 500 (always online, three days) and 600 (hidden in the
/// online list) are Chat's own. The upper end is the client SDK's integer type.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(u32);

/// Marks computed from several rules or read back from Chat; may be empty, always sorted.
pub type MarkSet = BTreeSet<Mark>;

/// The marks of one rule: 1 to 10 distinct marks, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Marks(MarkSet);

impl Mark {
    /// Keeps a member online for Chat through disconnections, for at most three days.
    pub const ALWAYS_ONLINE: Mark = Mark(500);

    /// Parses a number from JSON or from the database.
    pub fn parse(number: i64) -> Result<Self, Invalid> {
        match u32::try_from(number) {
            Ok(value @ (500 | 600 | 1000..)) => Ok(Self(value)),
            _ => Err(Invalid(format!(
                "a mark is 500, 600, or from 1000 to 4294967295, not {number}"
            ))),
        }
    }

    pub fn get(self) -> u32 {
        self.0
    }
}

impl From<Mark> for i64 {
    fn from(mark: Mark) -> i64 {
        i64::from(mark.0)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialSchema for Mark {
    fn schema() -> RefOr<Schema> {
        // A choice of two ranges would be exact, and generators make unusable types of it.
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(500))
            .maximum(Some(u32::MAX))
            .description(Some("A mark: 500, 600, or 1000 to 4294967295."))
            .examples([1000])
            .into()
    }
}

impl ToSchema for Mark {}

impl Marks {
    /// Takes distinct marks in any order.
    pub fn new(marks: impl IntoIterator<Item = Mark>) -> Result<Self, Invalid> {
        let marks: Vec<Mark> = marks.into_iter().collect();
        let set: MarkSet = marks.iter().copied().collect();
        let valid = set.len() == marks.len() && (1..=MAX_MARKS_PER_ROOM).contains(&set.len());
        let wrong = || format!("a rule has 1 to {MAX_MARKS_PER_ROOM} distinct marks");
        valid.then_some(Self(set)).ok_or_else(|| Invalid(wrong()))
    }

    pub fn iter(&self) -> impl Iterator<Item = Mark> + '_ {
        self.0.iter().copied()
    }

    pub fn as_set(&self) -> &MarkSet {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: i64) -> Mark {
        Mark::parse(number).unwrap()
    }

    #[test]
    fn only_the_numbers_that_chat_takes_are_marks() {
        for number in [500, 600, 1000, 1001, 4_294_967_295] {
            assert_eq!(i64::from(mark(number)), number);
        }
        for number in [i64::MIN, -1, 0, 499, 501, 999, 4_294_967_296, i64::MAX] {
            let says = format!("a mark is 500, 600, or from 1000 to 4294967295, not {number}");
            assert_eq!(Mark::parse(number), Err(Invalid(says)));
        }
    }

    #[test]
    fn a_rule_has_one_to_ten_distinct_marks() {
        assert!(Marks::new((1000..1010).map(mark)).is_ok());
        assert!(Marks::new([]).is_err());
        assert!(Marks::new([mark(1000), mark(1000)]).is_err());
        assert!(Marks::new((1000..1011).map(mark)).is_err());
    }
}
