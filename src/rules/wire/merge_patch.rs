//! JSON merge patch (RFC 7396, <https://www.rfc-editor.org/rfc/rfc7396>) of a rule.

use serde_json::{Map, Value};

use super::input::{Input, InvalidField, read_rule_named, unknown_fields};
use super::object::JsonObject;
use super::view::RuleView;
use crate::domain::Rule;

/// The rule that a merge patch makes of a rule.
///
/// # Errors
/// All fields that are wrong afterwards, and all that no rule has, even if the patch removes them.
pub fn patched(rule: &Rule, patch: &JsonObject) -> Result<Input, Vec<InvalidField>> {
    let unknown = unknown_fields(&patch.0);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let Ok(Value::Object(mut target)) = serde_json::to_value(RuleView::from(rule)) else {
        return Err(Vec::new()); // cannot be: a view is an object
    };
    merge(&mut target, &patch.0);
    read_rule_named(&rule.id, &JsonObject(target))
}

/// The algorithm of RFC 7396, section 2, for a target that is an object.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, change) in patch {
        match change {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(inner) => {
                let mut object = match target.remove(name) {
                    Some(Value::Object(object)) => object,
                    _ => Map::new(),
                };
                merge(&mut object, inner);
                target.insert(name.clone(), Value::Object(object));
            }
            other => {
                target.insert(name.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        ] {
            let mut merged = target.as_object().unwrap().clone();
            merge(&mut merged, patch.as_object().unwrap());
            assert_eq!(Value::Object(merged), result);
        }
    }
}
