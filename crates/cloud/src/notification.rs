//! What a cloud tells by itself. Told at most once, so whoever listens must also look.

use model::{CloudChange, InstanceId, Timestamp, VolumeId};

/// Something that happened in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    pub subject: Subject,
    pub change: CloudChange,
    /// For people: where to, how large.
    pub detail: String,
    pub happened_at: Timestamp,
}

/// What it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    Instance(InstanceId),
    Volume(VolumeId),
}
