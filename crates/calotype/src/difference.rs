//! Where two settings differ, for messages.

use serde_json::{Map, Value};

/// Where two settings first differ: `.key.of.it`, and both values.
pub(crate) fn difference(began: &Value, now: &Value) -> (String, String, String) {
    let inside = |key: String, began: &Value, now: &Value| {
        let (rest, began, now) = difference(began, now);
        (format!(".{key}{rest}"), began, now)
    };
    match (began, now) {
        (Value::Array(began), Value::Array(now)) if began.len() == now.len() => {
            let mut pairs = began.iter().zip(now).enumerate();
            if let Some((i, (began, now))) = pairs.find(|(_, (began, now))| began != now) {
                return inside(i.to_string(), began, now);
            }
        }
        (Value::Object(began), Value::Object(now)) => {
            let mut keys = began.keys().chain(now.keys());
            if let Some(key) = keys.find(|&key| began.get(key) != now.get(key)) {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                return inside(key.clone(), &of(began), &of(now));
            }
        }
        _ => {}
    }
    (String::new(), began.to_string(), now.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let (one, other) = (json!({ "commit": "a", "recipe": 1 }), json!({ "commit": "a", "recipe": 2 }));
        assert_eq!(difference(&one, &other), (".recipe".into(), "1".into(), "2".into()));
        let (one, other) = (json!({ "a": [1, { "b": 2 }] }), json!({ "a": [1, { "b": 3 }] }));
        assert_eq!(difference(&one, &other), (".a.1.b".into(), "2".into(), "3".into()));
    }
}
