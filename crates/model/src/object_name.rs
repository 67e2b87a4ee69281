//! Names of objects on a backup target.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that cannot name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid object name: expected segments of letters, digits, '.', '_' or '-', divided by '/', \
     none beginning with '.', at most {} bytes",
    ObjectName::LENGTH_MAX
)]
pub struct InvalidObjectName {
    text: String,
}

/// A name relative to the root of a target: `l/<lineage>/pack/8f/<pack>.pack`.
///
/// Invariant: never absolute, no empty segment, none that begins with a dot. So neither `.` nor `..` can occur, and what
/// a target writes for itself under a dotted name is never an object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(String);

impl ObjectName {
    /// Units: bytes. The longest name of the format has 144; room for others, and far below `PATH_MAX`.
    pub const LENGTH_MAX: usize = 512;
    /// Units: bytes. Below the 255 of all file systems.
    const SEGMENT_LENGTH_MAX: usize = 200;

    /// Gives the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the segments, outermost first.
    ///
    /// Shape: at least one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Divides into the folder and the last segment; the folder of a name in the root is `None`.
    #[must_use]
    pub fn split_last(&self) -> (Option<&str>, &str) {
        self.0.rsplit_once('/').map_or((None, self.0.as_str()), |(folder, last)| (Some(folder), last))
    }

    /// The name `segment` in the folder `self`.
    ///
    /// Errors: `segment` is not one valid segment, or the whole is too long.
    pub fn join(&self, segment: &str) -> Result<Self, InvalidObjectName> {
        format!("{}/{segment}", self.0).parse()
    }

    /// Whether this name lies in the folder, at any depth.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        self.0.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn is_segment(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    let length_fits = !text.is_empty() && text.len() <= ObjectName::SEGMENT_LENGTH_MAX;
    length_fits && !text.starts_with('.') && text.bytes().all(allowed)
}

impl FromStr for ObjectName {
    type Err = InvalidObjectName;
    fn from_str(text: &str) -> Result<Self, InvalidObjectName> {
        if text.len() <= Self::LENGTH_MAX && text.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            // Hostile input may be long: an error names its beginning only.
            Err(InvalidObjectName { text: text.chars().take(80).collect() })
        }
    }
}

impl TryFrom<String> for ObjectName {
    type Error = InvalidObjectName;
    fn try_from(text: String) -> Result<Self, InvalidObjectName> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectName({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_could_leave_the_root_are_refused() {
        for text in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", ".hidden", "a/.tmp-x", "a\0b", "a b",
            "ü", "a\\b",
        ] {
            let error = text.parse::<ObjectName>().expect_err(text).to_string();
            assert!(error.contains("is not a valid object name"), "{error}");
        }
    }

    #[test]
    fn a_name_is_bounded_in_all_and_per_segment() {
        assert!("x".repeat(200).parse::<ObjectName>().is_ok());
        assert!("x".repeat(201).parse::<ObjectName>().is_err());
        assert!(["x"; 256].join("/").parse::<ObjectName>().is_ok());
        let error = ["x"; 257].join("/").parse::<ObjectName>().unwrap_err().to_string();
        assert!(error.len() < 300, "{error}");
    }

    #[test]
    fn a_name_knows_its_folder() {
        let name: ObjectName = "l/a/snap".parse().unwrap();
        assert_eq!(name.split_last(), (Some("l/a"), "snap"));
        assert_eq!("repo.json".parse::<ObjectName>().unwrap().split_last(), (None, "repo.json"));
        assert!(name.is_within(&"l/a".parse().unwrap()));
        assert!(!name.is_within(&"l/a/snap".parse().unwrap()));
        assert!(!"l/ab".parse::<ObjectName>().unwrap().is_within(&"l/a".parse().unwrap()));
        assert_eq!(name.join("manifest").unwrap().as_str(), "l/a/snap/manifest");
        assert!(name.join("../x").is_err());
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_beneath_the_root(text in "[a-z./_-]{0,24}") {
            if let Ok(name) = text.parse::<ObjectName>() {
                prop_assert!(name.segments().all(|segment| !segment.is_empty() && segment != "." && segment != ".."));
                prop_assert!(!name.as_str().starts_with('/'));
            }
        }
    }
}
