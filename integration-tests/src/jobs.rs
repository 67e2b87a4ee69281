//! Workloads, snapshots and restores of a world, as a user asks for them; and waiting for their end.

use std::time::Duration;

use anyhow::{Result, bail};
use model::{InstanceId, RestoreId, SnapshotId, WorkloadId};
use rest_api::{
    LooseBool, NewRestore, NewSnapshot, NewWorkload, NewWorkloadInstance, OpenstackOptions, Restore,
    RestoreInstanceOptions, RestoreOptions, Snapshot,
};

use crate::wait;
use crate::world::World;

/// Longer than any job of a test takes on a busy machine.
pub const JOB_DEADLINE: Duration = Duration::from_secs(180);

impl World {
    /// Protects instances together.
    pub fn create_workload(&self, name: &str, instances: &[InstanceId]) -> Result<WorkloadId> {
        let workload = NewWorkload {
            name: Some(name.to_owned()),
            instances: instances.iter().map(|id| NewWorkloadInstance(id.to_string())).collect(),
            ..NewWorkload::default()
        };
        Ok(self.block_on(self.client.create_workload(workload))?.summary.id)
    }

    /// Asks for a snapshot.
    pub fn start_snapshot(&self, workload: WorkloadId, full: bool) -> Result<SnapshotId> {
        let snapshot = self.block_on(self.client.create_snapshot(workload, full, NewSnapshot::default()))?;
        Ok(snapshot.summary.id)
    }

    /// Takes a snapshot and waits until it is available.
    pub fn take_snapshot(&self, workload: WorkloadId, full: bool) -> Result<Snapshot> {
        let id = self.start_snapshot(workload, full)?;
        let snapshot = self.wait_for_snapshot(id)?;
        if snapshot.summary.status != "available" {
            bail!(
                "snapshot ended {}: {:?}\n{}",
                snapshot.summary.status,
                snapshot.summary.error_msg,
                self.logs()
            );
        }
        Ok(snapshot)
    }

    /// Waits until a snapshot ended, one way or the other, and its saga too.
    pub fn wait_for_snapshot(&self, id: SnapshotId) -> Result<Snapshot> {
        let ended = wait::until(JOB_DEADLINE, &format!("snapshot {id} ends"), || {
            let snapshot = self.block_on(self.client.show_snapshot(id))?;
            let saga = self.block_on(self.client.show_saga(snapshot.summary.saga_id))?;
            let status = snapshot.summary.status.as_str();
            let ended =
                matches!(status, "available" | "error" | "cancelled") && is_at_rest(&saga.summary.phase);
            Ok(ended.then_some(snapshot))
        });
        ended.map_err(|error| error.context(self.logs()))
    }

    /// Waits until the transfers of a snapshot are strictly between none and all, and gives the bytes done.
    pub fn wait_for_transfer_in_progress(&self, id: SnapshotId) -> Result<u64> {
        let moving = wait::until(JOB_DEADLINE, &format!("snapshot {id} is being transferred"), || {
            let snapshot = self.block_on(self.client.show_snapshot(id))?;
            if matches!(snapshot.summary.status.as_str(), "available" | "error" | "cancelled") {
                bail!("the snapshot ended {} before it was seen moving", snapshot.summary.status);
            }
            let disks = snapshot.instances.iter().flat_map(|instance| &instance.vdisks);
            let (done, total) =
                disks.fold((0, 0), |sum, disk| (sum.0 + disk.bytes_done, sum.1 + disk.bytes_total));
            Ok((0 < done && done < total).then_some(done))
        });
        moving.map_err(|error| error.context(self.logs()))
    }

    /// Waits until the writes of a restore are strictly between none and all, and gives the bytes done.
    pub fn wait_for_write_in_progress(&self, id: RestoreId) -> Result<u64> {
        let moving = wait::until(JOB_DEADLINE, &format!("restore {id} is being written"), || {
            let restore = self.block_on(self.client.show_restore(id))?;
            if restore.summary.status != "restoring" {
                bail!("the restore ended {} before it was seen moving", restore.summary.status);
            }
            let (done, total) = restore
                .disks
                .iter()
                .fold((0, 0), |sum, disk| (sum.0 + disk.bytes_done, sum.1 + disk.bytes_total));
            Ok((0 < done && done < total).then_some(done))
        });
        moving.map_err(|error| error.context(self.logs()))
    }

    /// Asks for chosen instances under new names.
    pub fn start_selective_restore(
        &self,
        snapshot: SnapshotId,
        chosen: &[(InstanceId, &str)],
    ) -> Result<RestoreId> {
        self.start_restore(snapshot, selective(chosen))
    }

    /// Asks for all instances under their old names.
    pub fn start_one_click_restore(&self, snapshot: SnapshotId) -> Result<RestoreId> {
        self.start_restore(snapshot, one_click())
    }

    fn start_restore(&self, snapshot: SnapshotId, options: RestoreOptions) -> Result<RestoreId> {
        let restore = NewRestore { options, ..NewRestore::default() };
        Ok(self.block_on(self.client.create_restore(snapshot, restore))?.summary.id)
    }

    /// Waits until a restore ended, one way or the other, and its saga too.
    pub fn wait_for_restore(&self, id: RestoreId) -> Result<Restore> {
        let ended = wait::until(JOB_DEADLINE, &format!("restore {id} ends"), || {
            let restore = self.block_on(self.client.show_restore(id))?;
            let saga = self.block_on(self.client.show_saga(restore.summary.saga_id))?;
            let status = restore.summary.status.as_str();
            let ended =
                matches!(status, "available" | "error" | "cancelled") && is_at_rest(&saga.summary.phase);
            Ok(ended.then_some(restore))
        });
        ended.map_err(|error| error.context(self.logs()))
    }

    /// Waits for a restore that must succeed.
    pub fn wait_for_good_restore(&self, id: RestoreId) -> Result<Restore> {
        let restore = self.wait_for_restore(id)?;
        if restore.summary.status != "available" {
            bail!(
                "restore ended {}: {:?}\n{}",
                restore.summary.status,
                restore.summary.error_msg,
                self.logs()
            );
        }
        Ok(restore)
    }
}

fn is_at_rest(phase: &str) -> bool {
    matches!(phase, "succeeded" | "compensated" | "stuck" | "abandoned")
}

/// Chosen instances under new names.
pub fn selective<N: AsRef<str>>(chosen: &[(InstanceId, N)]) -> RestoreOptions {
    let instances = chosen.iter().map(|(id, name)| RestoreInstanceOptions {
        id: id.to_string(),
        include: LooseBool(true),
        name: Some(name.as_ref().to_owned()),
        more: std::collections::BTreeMap::new(),
    });
    RestoreOptions {
        restore_type: Some("selective".to_owned()),
        openstack: OpenstackOptions { instances: instances.collect(), ..OpenstackOptions::default() },
        ..RestoreOptions::default()
    }
}

/// All instances under their old names.
pub fn one_click() -> RestoreOptions {
    RestoreOptions {
        restore_type: Some("oneclick".to_owned()),
        oneclickrestore: LooseBool(true),
        ..RestoreOptions::default()
    }
}
