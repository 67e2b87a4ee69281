//! The nouns of Holdfast and their state machines.
//!
//! Everything imports this crate; it imports none of ours, does no I/O and has no async. Wire, database, REST and
//! target have their own types and convert at their edge.

mod cloud_change;
mod disk_location;
mod failure;
mod id;
mod job;
mod object_name;
mod owner;
mod restore;
mod size;
mod snapshot;
mod time;
mod transition;
mod volume_fact;
mod workload;

pub use cloud_change::CloudChange;
pub use disk_location::{DiskLocation, ImageFile, NbdExport, RbdImage};
pub use failure::{Chain, ErrorClass, Failure};
pub use id::{
    DiskId, HostName, InstanceId, InvalidId, JobId, LineageId, MessageId, PackId, PoolName, ProjectId,
    RestoreId, SagaId, ServiceName, SnapshotId, TargetId, UserId, VolumeId, VolumeSnapshotId, WorkloadId,
};
pub use job::{JobKey, JobKind};
pub use object_name::{InvalidObjectName, ObjectName};
pub use owner::Owner;
pub use restore::{RestoreEvent, RestoreState};
pub use size::{ByteCount, Extent};
pub use snapshot::{Consistency, DiskFormat, SnapshotEvent, SnapshotKind, SnapshotState};
pub use time::Timestamp;
pub use transition::{IllegalTransition, InvalidState};
pub use volume_fact::VolumeFact;
pub use workload::{KeepBase, WorkloadEvent, WorkloadState, WorkloadType};
