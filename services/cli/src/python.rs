//! The restore files of T4O's old command line are Python literals: single quotes, `True`, `None`, trailing commas.
//! They become JSON here, and only here: the API takes JSON.

use serde_json::Value;

/// Reads JSON, or failing that a Python literal.
///
/// Errors: why it is no JSON, for a file that is neither.
pub(crate) fn parse_literal(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) => {
            to_json(text).and_then(|json| serde_json::from_str(&json).ok()).ok_or_else(|| error.to_string())
        }
    }
}

/// Rewrites a literal token by token; `None` for what no literal has.
fn to_json(text: &str) -> Option<String> {
    let mut json = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            '\'' | '"' => {
                let (content, length) = read_string(rest, c)?;
                json.push_str(&Value::from(content).to_string());
                rest = &rest[length..];
            }
            '#' => rest = rest.find('\n').map_or("", |end| &rest[end..]),
            _ if c.is_ascii_alphabetic() => {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                let (word, after) = rest.split_at(length);
                if word == "u" && after.starts_with(['\'', '"']) {
                    rest = after;
                    continue;
                }
                json.push_str(match word {
                    "True" | "true" => "true",
                    "False" | "false" => "false",
                    "None" | "null" => "null",
                    _ => return None,
                });
                rest = after;
            }
            ']' | '}' => {
                if json.trim_end().ends_with(',') {
                    json.truncate(json.trim_end().len() - 1);
                }
                json.push(c);
                rest = &rest[1..];
            }
            _ => {
                json.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Some(json)
}

/// The content of the string that `text` begins with, and how many bytes it takes with its quotes.
fn read_string(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((content, index + 1)),
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                't' => content.push('\t'),
                escaped @ ('\\' | '\'' | '"') => content.push(escaped),
                _ => return None,
            },
            _ => content.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_restore_file_reads_as_its_json_twin() {
        let old = "{ # old\n 'oneclickrestore': False, u'restore_type': 'selective', 'openstack': {'instances': \
                   [{'id': \"a\", 'include': True, 'name': 'it\\'s',},], 'zone': None}, }";
        let json = r#"{"oneclickrestore":false,"restore_type":"selective","openstack":{"instances":
                   [{"id":"a","include":true,"name":"it's"}],"zone":null}}"#;
        assert_eq!(parse_literal(old), parse_literal(json));
        assert!(parse_literal(old).is_ok());
    }

    #[test]
    fn what_is_neither_is_refused_with_the_place() {
        for text in ["{'a': __import__('os')}", "{'a': 'open", "{\"a\": }", "", "é"] {
            let error = parse_literal(text).unwrap_err();
            assert!(error.contains("line 1"), "{text}: {error}");
        }
    }
}
