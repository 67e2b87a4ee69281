//! The only place that knows YAML.

use serde_json::Value;

/// Reads a document. Keys that are no text, and tags, are refused by their values having no place in the result.
///
/// Errors: line and column.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    serde_yaml_ng::from_str(text).map_err(|error| error.to_string())
}
