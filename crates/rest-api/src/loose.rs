//! Booleans as T4O's clients send them: `true`, `"True"`, `"true"`, `1`.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// A boolean that is read loosely and written strictly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct LooseBool(pub bool);

impl std::str::FromStr for LooseBool {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Self(true)),
            "false" | "0" | "no" | "off" | "" => Ok(Self(false)),
            _ => Err(format!("{text:?} is no boolean: expected true or false")),
        }
    }
}

impl<'de> Deserialize<'de> for LooseBool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl Visitor<'_> for LooseVisitor {
    type Value = LooseBool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean, \"True\", \"False\", 1 or 0")
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<LooseBool, E> {
        Ok(LooseBool(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<LooseBool, E> {
        match value {
            0 | 1 => Ok(LooseBool(value == 1)),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
        }
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<LooseBool, E> {
        Err(E::invalid_value(de::Unexpected::Signed(value), &self))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<LooseBool, E> {
        value.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))
    }
    fn visit_unit<E: de::Error>(self) -> Result<LooseBool, E> {
        Ok(LooseBool(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_clients_send_them() {
        for text in ["true", "\"True\"", "\"true\"", "1", "\"1\""] {
            assert_eq!(serde_json::from_str::<LooseBool>(text).unwrap(), LooseBool(true), "{text}");
        }
        for text in ["false", "\"False\"", "0", "null", "\"\""] {
            assert_eq!(serde_json::from_str::<LooseBool>(text).unwrap(), LooseBool(false), "{text}");
        }
    }

    #[test]
    fn what_is_no_boolean_is_refused_and_named() {
        for text in ["2", "-1", "\"maybe\"", "[]"] {
            let error = serde_json::from_str::<LooseBool>(text).unwrap_err().to_string();
            assert!(error.contains("a boolean"), "{text}: {error}");
        }
    }
}
