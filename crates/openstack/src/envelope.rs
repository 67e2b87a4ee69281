//! What services say when they refuse: each wraps its sentence in another way.

use serde_json::Value;

/// A sentence, not a page.
const MESSAGE_LENGTH_MAX: usize = 500;

/// The service's own words in the body of an answer.
pub(crate) fn message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let found = serde_json::from_str::<Value>(&text).ok().and_then(|value| in_json(&value));
    let sentence = found.unwrap_or_else(|| without_tags(&text));
    let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    // Nova repeats what it was sent: user data, for example.
    let sentence = sentence.split_once(" Value: ").map_or(sentence.as_str(), |(words, _)| words);
    match sentence.is_empty() {
        true => "without a word".to_owned(),
        false => sentence.chars().take(MESSAGE_LENGTH_MAX).collect(),
    }
}

/// Keystone: `{"error": {"message"}}`; Nova, Cinder: `{"itemNotFound": {"message"}}`; Neutron: `{"NeutronError": {"message"}}` or
/// a text; Placement: `{"errors": [{"detail"}]}`; Glance and others: `{"message"}` or HTML.
fn in_json(value: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let object = value.as_object()?;
    for key in ["message", "detail", "description", "faultstring"] {
        if let Some(message) = object.get(key).and_then(text) {
            return Some(message);
        }
    }
    if let Some(errors) = object.get("errors").and_then(Value::as_array) {
        return errors.iter().find_map(in_json);
    }
    let only = object.values().next().filter(|_| object.len() == 1)?;
    text(only).or_else(|| in_json(only))
}

fn without_tags(text: &str) -> String {
    let mut bare = String::new();
    let mut is_inside = false;
    // The title says no more than the heading.
    let body = text.split_once("</title>").map_or(text, |(_, rest)| rest);
    for c in body.chars() {
        match c {
            '<' => is_inside = true,
            '>' => {
                is_inside = false;
                bare.push(' ');
            }
            c if !is_inside => bare.push(c),
            _ => {}
        }
    }
    bare
}

/// Which microversions a service offers, from its refusal of ours.
pub(crate) fn offered_versions(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // Placement.
    let error = &value["errors"][0];
    if let (Some(min), Some(max)) = (error["min_version"].as_str(), error["max_version"].as_str()) {
        return Some(format!("{min} to {max}"));
    }
    // Nova and Cinder: "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is 2.93."
    let message = in_json(&value)?;
    let word_after = |mark: &str| {
        let (_, rest) = message.split_once(mark)?;
        Some(rest.split_whitespace().next()?.trim_end_matches('.').to_owned())
    };
    Some(format!("{} to {}", word_after("Minimum is ")?, word_after("maximum is ")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_service_answers_gives_one_short_line(body in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let message = message(&body);
            prop_assert!(!message.is_empty() && message.chars().count() <= MESSAGE_LENGTH_MAX);
            prop_assert!(!message.contains('\n'));
            let _ = offered_versions(&body);
        }

        #[test]
        fn a_sentence_is_found_in_any_envelope(sentence in "[a-z]{1,20}( [a-z]{1,20}){0,5}", key in "[a-zA-Z]{1,12}") {
            let body = serde_json::json!({ key: { "code": 400, "message": sentence } }).to_string();
            prop_assert_eq!(message(body.as_bytes()), sentence);
        }
    }
}
