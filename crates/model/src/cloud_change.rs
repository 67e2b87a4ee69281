//! What users and operators did to protected instances and volumes, as the cloud tells of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::InvalidState;

/// What happened to an instance or a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudChange {
    /// An instance or a volume is gone.
    Deleted,
    /// An instance runs on another host.
    Migrated,
    /// An instance has another flavor, or went to another host while it was off.
    Resized,
    /// An instance was made anew from an image: its local disk with it.
    Rebuilt,
    /// An instance's local disk is an image now, and no host has it.
    Shelved,
    /// An instance has one volume more.
    VolumeAttached,
    /// An instance has one volume less.
    VolumeDetached,
    /// A volume is larger.
    Extended,
}

impl CloudChange {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Deleted,
        Self::Migrated,
        Self::Resized,
        Self::Rebuilt,
        Self::Shelved,
        Self::VolumeAttached,
        Self::VolumeDetached,
        Self::Extended,
    ];

    /// The word in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Migrated => "migrated",
            Self::Resized => "resized",
            Self::Rebuilt => "rebuilt",
            Self::Shelved => "shelved",
            Self::VolumeAttached => "volume_attached",
            Self::VolumeDetached => "volume_detached",
            Self::Extended => "extended",
        }
    }
}

impl fmt::Display for CloudChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CloudChange {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        let found = Self::ALL.into_iter().find(|change| change.as_str() == text);
        found.ok_or_else(|| InvalidState { noun: "change in the cloud", text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_read_back() {
        for change in CloudChange::ALL {
            assert_eq!(change.as_str().parse(), Ok(change));
            assert_eq!(serde_json::to_value(change).unwrap(), change.as_str());
        }
        assert!("exploded".parse::<CloudChange>().is_err());
    }
}
