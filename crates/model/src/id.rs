//! Ids parse or refuse: whatever holds one of these types needs no further check before it becomes part of a file
//! name, a routing key or a statement.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is not what it should name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {noun}: {rule}")]
pub struct InvalidId {
    noun: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidId {
    fn new(noun: &'static str, text: &str, rule: &'static str) -> Self {
        // Hostile input may be long: an error names its beginning only.
        Self { noun, text: text.chars().take(80).collect(), rule }
    }
}

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident = $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a uuid that `runtime::Entropy` drew or the database kept.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self { Self(uuid) }
            /// Gives the bare uuid.
            #[must_use]
            pub const fn uuid(self) -> Uuid { self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.hyphenated().fmt(f) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}({})", stringify!($name), self.0) }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let refusal = || InvalidId::new($noun, text, "expected a uuid like 018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f");
                // One spelling only: ids become file names, and names that compare differently must be different.
                let uuid = Uuid::try_parse(text).map_err(|_| refusal())?;
                if uuid.hyphenated().to_string() == text { Ok(Self(uuid)) } else { Err(refusal()) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> { text.parse() }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self { id.to_string() }
        }
    )*};
}

uuid_id! {
    /// Instances protected together.
    WorkloadId = "workload id";
    /// A VM of the cloud: its server id.
    InstanceId = "instance id";
    /// Our point in time of a workload.
    SnapshotId = "snapshot id";
    /// One bringing back.
    RestoreId = "restore id";
    /// The durable run of a job.
    SagaId = "saga id";
    /// One piece of remote work of a saga: one branch of one step, or its compensation.
    JobId = "job id";
    /// One disk's history on a target.
    LineageId = "lineage id";
    /// Where packs rest: the uuid in `repo.json`.
    TargetId = "backup target id";
    /// A volume of the cloud.
    VolumeId = "volume id";
    /// A point in time of a volume, kept by the cloud.
    VolumeSnapshotId = "volume snapshot id";
    /// An immutable object of many chunks.
    PackId = "pack id";
    /// A message on the bus; the same on every republish.
    MessageId = "message id";
}

macro_rules! name_id {
    ($($(#[$doc:meta])* $name:ident = $noun:literal, $max:literal, $allowed:expr, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Gives the text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}({:?})", stringify!($name), self.0) }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let allowed: fn(char) -> bool = $allowed;
                let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
                if starts_well && text.len() <= $max && text.chars().all(allowed) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId::new($noun, text, $rule))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> { text.parse() }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self { id.0 }
        }
    )*};
}

name_id! {
    /// A tenant. Keystone's are 32 hex digits; other clouds may use names.
    ProjectId = "project id", 64, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
        "expected 1 to 64 letters, digits, '-' or '_', beginning with a letter or digit";
    /// Who asked.
    UserId = "user id", 64, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
        "expected 1 to 64 letters, digits, '-' or '_', beginning with a letter or digit";
    /// A compute node. Part of a queue name and of a user name, but never of a routing key word: dots are replaced there.
    HostName = "host name", 128, |c| c.is_ascii_alphanumeric() || c == '-' || c == '.',
        "expected 1 to 128 letters, digits, '-' or '.', beginning with a letter or digit";
    /// Datamovers that reach the same targets and storage.
    PoolName = "pool name", 64, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
        "expected 1 to 64 letters, digits, '-' or '_', beginning with a letter or digit";
    /// Another service that uses the bus. Part of a queue name and of a user name.
    ServiceName = "service name", 40, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
        "expected 1 to 40 letters, digits, '-' or '_', beginning with a letter or digit";
    /// A disk of an instance: a volume id, or the device name of a local disk.
    DiskId = "disk id", 64, |c| c.is_ascii_alphanumeric() || c == '-',
        "expected 1 to 64 letters, digits or '-', beginning with a letter or digit";
}

impl HostName {
    /// Gives the host as one word of a routing key, where a dot would divide words.
    #[must_use]
    pub fn routing_word(&self) -> String {
        self.0.replace('.', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused<T: FromStr<Err = InvalidId> + fmt::Debug>(text: &str) {
        let error = text.parse::<T>().expect_err("parsed");
        assert!(error.to_string().contains("is not a valid"), "{error}");
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for text in ["", "..", "../x", "a/b", ".hidden", "a\0b", "-rf", "ü"] {
            check_refused::<HostName>(text);
            check_refused::<DiskId>(text);
            check_refused::<ProjectId>(text);
            check_refused::<WorkloadId>(text);
        }
    }

    #[test]
    fn a_uuid_has_one_spelling() {
        let id: WorkloadId = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
        assert_eq!(id.to_string(), "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f");
        check_refused::<WorkloadId>("018F3C1E-6F3A-7C52-9D7E-0A4B5C6D7E8F");
        check_refused::<WorkloadId>("018f3c1e6f3a7c529d7e0a4b5c6d7e8f");
    }

    #[test]
    fn a_refusal_names_the_thing_and_the_beginning_of_the_text() {
        let error = "x".repeat(500).parse::<SnapshotId>().unwrap_err().to_string();
        assert!(error.contains("snapshot id") && error.len() < 250, "{error}");
    }

    #[test]
    fn ids_read_from_json_are_checked_too() {
        assert!(serde_json::from_str::<DiskId>("\"../etc\"").is_err());
        assert_eq!(serde_json::from_str::<DiskId>("\"vda\"").unwrap().as_str(), "vda");
    }
}
