//! Times as T4O writes them: UTC without a zone, always six digits of a second.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use model::Timestamp;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.6f";

/// An instant in a body: `2026-01-31T23:59:59.000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiTime(pub Timestamp);

impl From<Timestamp> for ApiTime {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

impl fmt::Display for ApiTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0.0).unwrap_or(DateTime::UNIX_EPOCH);
        time.naive_utc().format(FORMAT).fmt(f)
    }
}

impl FromStr for ApiTime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_suffix('Z').unwrap_or(text);
        NaiveDateTime::parse_from_str(bare, "%Y-%m-%dT%H:%M:%S%.f")
            .map(|time| Self(Timestamp(time.and_utc().timestamp_micros())))
            .map_err(|_| format!("{text:?} is no time: expected YYYY-MM-DDTHH:MM:SS.ffffff"))
    }
}

impl TryFrom<String> for ApiTime {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ApiTime> for String {
    fn from(time: ApiTime) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_always_has_six_digits_and_no_zone() {
        assert_eq!(ApiTime(Timestamp(0)).to_string(), "1970-01-01T00:00:00.000000");
        assert_eq!(ApiTime(Timestamp(1_769_903_999_000_001)).to_string(), "2026-01-31T23:59:59.000001");
    }

    #[test]
    fn a_time_reads_back_with_and_without_fraction() {
        let time: ApiTime = "2026-01-31T23:59:59.5".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-31T23:59:59.500000");
        assert_eq!("2026-01-31T23:59:59Z".parse::<ApiTime>().unwrap().0.0 % 1_000_000, 0);
        assert!("yesterday".parse::<ApiTime>().is_err());
    }
}
