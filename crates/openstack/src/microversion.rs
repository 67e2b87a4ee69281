//! Versions within an API: `2.79`.

use std::fmt;
use std::str::FromStr;

/// A microversion. Ordered by its numbers: 2.9 comes before 2.10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Microversion {
    pub major: u16,
    pub minor: u16,
}

impl Microversion {
    /// `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A text that is no microversion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a microversion like 2.79")]
pub struct InvalidMicroversion {
    text: String,
}

impl FromStr for Microversion {
    type Err = InvalidMicroversion;
    fn from_str(text: &str) -> Result<Self, InvalidMicroversion> {
        let parsed = text.split_once('.').and_then(|(major, minor)| {
            let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number(major) || !is_number(minor) {
                return None;
            }
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        });
        parsed.ok_or_else(|| InvalidMicroversion { text: text.chars().take(40).collect() })
    }
}
