use super::*;
use crate::rules::json::{self, Unreadable};
use proptest::prelude::*;
use serde_json::json;

fn read(value: Value) -> Result<(Option<RuleId>, RuleDraft), Vec<InvalidField>> {
    match json::read::<RuleInput>(value.to_string().as_bytes()) {
        Ok(input) => input.parse(),
        Err(Unreadable::Field(field)) => Err(vec![field]),
        Err(Unreadable::Malformed(reason)) => panic!("{reason}"),
    }
}

fn pointers(value: Value) -> Vec<String> {
    let invalid = read(value).unwrap_err();
    invalid.into_iter().map(|field| field.pointer).collect()
}

#[test]
fn a_field_of_another_type_or_an_unknown_one_is_named() {
    for (field, value) in [
        ("account", json!(7)),
        ("enabled", json!("yes")),
        ("marks", json!({})),
        ("color", json!(null)),
    ] {
        let mut rule = json!({"group": "g", "account": "a", "marks": [1000]});
        rule[field] = value;
        assert_eq!(pointers(rule), [format!("/{field}")]);
    }
    let mark = json!({"group": "g", "account": "a", "marks": [1000, "x"]});
    assert_eq!(pointers(mark), ["/marks/1"]);
    let twice = br#"{"marks":[1000],"marks":[2000]}"#;
    let Unreadable::Field(field) = json::read::<RuleInput>(twice).unwrap_err() else {
        panic!("it is JSON");
    };
    assert_eq!(field.pointer, "/marks");
}

#[test]
fn a_window_must_not_end_before_it_starts() {
    let window = |starts_at: &str, ends_at: &str| {
        read(json!({"group": "g", "account": "a", "marks": [1000],
                    "starts_at": starts_at, "ends_at": ends_at}))
    };
    assert!(window("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z").is_ok());
    // Other zones are the same moments.
    assert!(window("2026-01-01T08:00:00+08:00", "2026-01-01T00:00:00Z").is_err());
    assert!(window("2026-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00").is_err());
}

const FIELDS: &str = "id group account marks enabled starts_at ends_at label note";

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 16, 12, |inner| {
        proptest::collection::vec(inner, 0..12).prop_map(Value::from)
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_with_pointers_into_it(
        values in proptest::collection::vec(any_json(), 9)
    ) {
        let object: Map<String, Value> =
            FIELDS.split(' ').map(str::to_owned).zip(values).collect();
        let whole = Value::Object(object.clone());
        match read(Value::Object(object)) {
            Ok(_) => {}
            Err(invalid) => for field in invalid {
                prop_assert!(whole.pointer(&field.pointer).is_some());
            }
        }
    }
}

#[test]
fn an_integer_may_be_written_with_a_point_and_nothing_else_may() {
    let marks = |mark: Value| read(json!({"group": "g", "account": "a", "marks": [mark]}));
    let read = marks(json!(1000.0)).unwrap().1.marks;
    assert_eq!(read.iter().map(Mark::get).collect::<Vec<_>>(), [1000]);
    for wrong in [
        json!(1000.5),
        json!(4_294_967_296.0),
        json!(1e300),
        json!(-1.0),
        json!(0.0),
    ] {
        assert!(marks(wrong.clone()).is_err(), "{wrong}");
    }
}
