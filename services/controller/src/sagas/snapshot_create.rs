//! `snapshot_create`: makes one snapshot of a workload.
//!
//! When it starts, the workload is locked by this saga and the snapshot's row says `creating`. Each step stands beside
//! what takes it back; a saga that turns back walks the compensations in reverse order. What each leaves behind:
//!
//! | step | leaves | taken back by |
//! |---|---|---|
//! | `begin` | the snapshot is `executing` | `end_snapshot`: `error` or `cancelled`, workload free, a fact told |
//! | `describe_instances` | nothing; `Facts` know the instances | - |
//! | `check_quotas` | nothing; refuses what the project's quotas have no room for | - |
//! | `describe_connectors` | nothing; `Facts` know the hosts of volumes that are reached by an attachment only | - |
//! | `acquire_lineage_leases` | leases, and lineages of disks never seen before | `release_lineage_leases` |
//! | `write_first_records` | folders and records on the target | `remove_records`: what was not there before |
//! | `freeze_guests` | frozen file systems, for 20 s at most | `thaw_guests` |
//! | `cut_local_disks` | cuts of disks that are no volumes, kept by their hypervisors | `end_cuts` |
//! | `create_volume_snapshots` | volume snapshots in the cloud, tagged | `delete_volume_snapshots` |
//! | `thaw_guests` | nothing; settles the freeze on both paths | - |
//! | `describe_instances_again`, `check_instances` | the snapshot is `uploading` | - |
//! | `create_temporary_volumes` | of volumes that are reached by an attachment only: one from each volume snapshot, tagged | `delete_temporary_volumes` |
//! | `attach_temporary_volumes` | their attachments to the host that reads them | `detach_temporary_volumes` |
//! | `transfer_disks` | packs and a manifest per disk, which no snapshot names yet | `purge_transfers` |
//! | the second round | the same, for instances whose point in time was lost | the same |
//! | `verify_manifests` | nothing | - |
//! | **`record_snapshot`** | the pivot: the snapshot is `available` | never |
//! | `write_final_records` | markers and final records on the target | |
//! | `end_cuts_keeping_changes` | hypervisors as they were, but for their records of changes | |
//! | `delete_temporary_volumes` | the cloud without them and their attachments | |
//! | `delete_volume_snapshots`, `delete_earlier_bases` | the cloud as it was, but for kept bases | |
//! | `find_orphaned_bases`, `delete_orphaned_bases` | no bases of disks that left the workload | |
//! | `purge_left_out_transfers`, `end_left_out_cuts`, `remove_left_out_records` | nothing of instances that failed | |
//! | `release` | leases and workload free, a fact told | |
//!
//! Why this order. The target is written to before guests are frozen, so that a target which is away costs no freeze.
//! Guests are frozen only while the cloud cuts; hours of transfer come after the thaw. Cuts and volume snapshots go only
//! after the pivot: until then they are the one copy of the point in time. Where the storage can list what changed since a
//! volume snapshot, that one is kept as the base of the next snapshot, and the base before it goes.
//!
//! A temporary volume is made and attached after the thaw: storage may take minutes for it, or hours where it copies. The
//! transfer connects it on its host and disconnects it at its end, whatever that is; so it is disconnected before it is detached.
//!
//! The second round. Users go on using their instances: they attach a disk while the cloud cuts, or stop the instance while
//! its disks are on their way. Then this instance has no point in time any more, and it never goes on with other bytes: all
//! that was stored of it is purged, and it is frozen and cut once more, all its disks. When that fails in the same way, so
//! does the instance. Where nothing was lost, the steps of the second round have no branches and pass.
//!
//! Serial workloads. The steps from `freeze_guests` to `transfer_disks` are walked in laps, one for each instance, in the order
//! of the workload: it is frozen, cut and transferred before the next is touched. A parallel workload has one lap. Either way
//! the point in time is one per instance, and none across instances.
//!
//! What cannot be removed behind the pivot holds no workload: see `given_over`.
//!
//! An instance that fails fails the snapshot, unless its workload allows partial ones and another instance is left: see
//! `left_out`.

mod again;
mod commit;
mod cut;
mod given_over;
mod left_out;
mod prepare;
mod round;
mod temporary;
mod transfer;

use std::time::Duration;

use model::{InstanceId, ProjectId, SnapshotId, SnapshotKind, TargetId, Timestamp, WorkloadId};
use saga::{Saga, Steps};
use serde::{Deserialize, Serialize};

use super::budget;
use super::catalog_op::SnapshotBegun;
use super::clearing::TaggedBase;
use super::{Output, Request};
use given_over::GivenOver;
use round::{Round, RoundFacts};
pub use temporary::HostConnector;

/// The definition.
#[derive(Debug)]
pub struct SnapshotCreate;

type Ctx<'a> = saga::Ctx<'a, SnapshotCreate>;

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    pub project_id: ProjectId,
    pub workload_id: WorkloadId,
    pub snapshot_id: SnapshotId,
    pub target_id: TargetId,
    pub kind: SnapshotKind,
    /// The instances of the workload at the time of the request.
    pub instance_ids: Vec<InstanceId>,
}

/// What the steps learned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    begun: Option<SnapshotBegun>,
    first: RoundFacts,
    /// Of the instances whose point in time was lost.
    again: RoundFacts,
    committed_at: Option<Timestamp>,
    /// Of disks that no instance of the workload has any more.
    #[serde(default)]
    orphaned_bases: Vec<TaggedBase>,
    #[serde(default)]
    given_over: Vec<GivenOver>,
}

impl Saga for SnapshotCreate {
    const KIND: &'static str = "snapshot_create";
    const VERSION: u32 = 5;
    const DEADLINE: Duration = budget::JOB_DEADLINE;
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = Output;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(prepare::begin())
            .step(prepare::describe_instances())
            .step(prepare::check_quotas())
            .step(temporary::describe_connectors(Round::First))
            .step(prepare::acquire_lineage_leases())
            .step(prepare::write_first_records())
            .step(cut::freeze_guests(Round::First))
            .step(cut::cut_local_disks(Round::First))
            .step(cut::create_volume_snapshots(Round::First))
            .step(cut::thaw_guests(Round::First))
            .step(cut::describe_instances_again(Round::First))
            .step(cut::check_instances(Round::First))
            .step(temporary::create_temporary_volumes(Round::First))
            .step(temporary::attach_temporary_volumes(Round::First))
            .step(transfer::transfer_disks(Round::First))
            // The second round, for instances whose point in time was lost: mostly none.
            .step(again::purge_lost_transfers())
            .step(again::end_lost_cuts())
            .step(again::delete_lost_temporary_volumes())
            .step(again::delete_lost_volume_snapshots())
            .step(again::describe_lost_instances())
            .step(temporary::describe_connectors(Round::Again))
            .step(again::acquire_lineage_leases_again())
            .step(again::write_first_records_again())
            .step(cut::freeze_guests(Round::Again))
            .step(cut::cut_local_disks(Round::Again))
            .step(cut::create_volume_snapshots(Round::Again))
            .step(cut::thaw_guests(Round::Again))
            .step(cut::describe_instances_again(Round::Again))
            .step(cut::check_instances(Round::Again))
            .step(temporary::create_temporary_volumes(Round::Again))
            .step(temporary::attach_temporary_volumes(Round::Again))
            .step(transfer::transfer_disks(Round::Again))
            // All instances have a point in time, and all their disks are stored.
            .step(transfer::verify_manifests())
            .pivot(commit::record_snapshot()) // behind this line: forward, never back
            .forward(commit::write_final_records())
            .forward(commit::end_cuts_keeping_changes(Round::First))
            .forward(commit::end_cuts_keeping_changes(Round::Again))
            // Purges disconnect the temporary volumes of failed instances.
            .forward(left_out::purge_left_out_transfers(Round::First))
            .forward(left_out::purge_left_out_transfers(Round::Again))
            .forward(commit::delete_temporary_volumes(Round::First))
            .forward(commit::delete_temporary_volumes(Round::Again))
            .forward(commit::delete_volume_snapshots(Round::First))
            .forward(commit::delete_volume_snapshots(Round::Again))
            .forward(commit::delete_earlier_bases())
            .forward(commit::find_orphaned_bases())
            .forward(commit::delete_orphaned_bases())
            // What failed instances left: mostly nothing.
            .forward(left_out::end_left_out_cuts(Round::First))
            .forward(left_out::end_left_out_cuts(Round::Again))
            .forward(left_out::remove_left_out_records())
            .forward(commit::release())
    }
}
