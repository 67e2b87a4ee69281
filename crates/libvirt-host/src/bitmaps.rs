//! The bitmaps of cuts, which outlive them in the disks' files, and how libvirt is told of them and made to forget them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::{ByteCount, InstanceId, SnapshotId};

use crate::Error;
use crate::cuts::{Cuts, Turn};
use crate::job_xml;
use crate::leftovers::qcow2_files;
use crate::tool::Tool;

/// File systems whose files no other host has open: ext2 to ext4, XFS, Btrfs, ZFS, F2FS, tmpfs, and an overlay of these. Source:
/// `linux/magic.h`.
const OF_ONE_HOST: [u32; 7] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x0102_1994, 0x794C_7630];

/// A bitmap's blocks are given back: milliseconds, on a file system that answers.
const REMOVAL_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: ByteCount = ByteCount::mib(1);

impl Cuts {
    /// Removes bitmaps that nothing needs any more. Of an instance that does not run they stay until the next cut ends: its
    /// user may start it any time, and a start is refused while somebody else has the file open; see `drop_from_files`. So do
    /// those that libvirt does not remove now.
    pub(crate) async fn drop_superseded(&self, turn: &mut Turn) -> Result<(), Error> {
        let instance = turn.instance;
        let superseded = turn.record.superseded();
        if superseded.is_empty() {
            return Ok(());
        }
        match self.virsh.domain(instance).await {
            Ok(domain) if domain.run_id.is_some() => {}
            Ok(_) | Err(Error::ForeignInstance { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        turn.record.on_domain = true;
        self.records.save(instance, &turn.record)?;
        let refused = self.redefine(turn, None).await?;
        let mut removed = Vec::new();
        for id in superseded.into_iter().filter(|id| !refused.contains_key(id)) {
            if self.remove_bitmap(instance, id).await? {
                removed.push(id);
            }
        }
        // It also writes down those that lost their parent: they are told to libvirt without it from now on.
        self.clear_domain(turn).await?;
        for id in &removed {
            self.records.remove(instance, &format!("{id}.xml"))?;
        }
        turn.record.checkpoints.retain(|id| !removed.contains(id));
        self.records.save(instance, &turn.record)
    }

    /// Removes such bitmaps from the files of an instance that does not run: for what has no next cut. The tool takes qemu's
    /// lock of the file, so it is refused once the instance is started; and for the milliseconds that it holds it, a start is.
    /// What is refused stays for the next look, and so does what lies on a file system that other hosts may share: there the instance
    /// may run elsewhere by now, and a lock is not always seen.
    pub(crate) async fn drop_from_files(&self, turn: &mut Turn) -> Result<(), Error> {
        let instance = turn.instance;
        let mut superseded = turn.record.superseded();
        if superseded.is_empty() {
            return Ok(());
        }
        let domain = self.virsh.domain(instance).await?;
        if domain.run_id.is_some() {
            return Ok(());
        }
        for (device, path) in qcow2_files(&domain) {
            if !is_of_one_host(path) {
                tracing::info!(instance_id = %instance, disk = %device, "records of changes stay in a file that other hosts may share, until its next cut");
                return Ok(());
            }
            let there = match disk::qcow2_bitmaps(path) {
                Ok(there) => there,
                Err(error) => {
                    tracing::warn!(instance_id = %instance, disk = %device, %error, "a disk's file cannot be looked at, its records of changes are removed later");
                    return Ok(());
                }
            };
            let mut refused = Vec::new();
            for id in superseded.iter().filter(|id| there.contains(&checkpoint_name(**id))) {
                if let Err(error) = remove_from_file(path, &checkpoint_name(*id)).await {
                    tracing::warn!(instance_id = %instance, disk = %device, %error, "a record of changes that is not needed any more is removed later");
                    refused.push(*id);
                }
            }
            superseded.retain(|id| !refused.contains(id));
        }
        for id in &superseded {
            self.records.remove(instance, &format!("{id}.xml"))?;
        }
        turn.record.checkpoints.retain(|id| !superseded.contains(id));
        self.records.save(instance, &turn.record)
    }

    /// Gives whether it is gone.
    async fn remove_bitmap(&self, instance: InstanceId, id: SnapshotId) -> Result<bool, Error> {
        // It may have been made all the same, when we were stopped before we wrote down what libvirt told of it.
        let was_made = self.was_made(instance, id)?;
        match self.virsh.delete_checkpoint(instance, &checkpoint_name(id)).await {
            Ok(()) => Ok(true),
            Err(error) if !was_made && is_unknown(&error) => Ok(true),
            Err(error) if is_lost(&error) => {
                tracing::info!(instance_id = %instance, %error, "a record of changes that is not needed any more is not there");
                Ok(true)
            }
            Err(error @ Error::ToolRefused { .. }) => {
                tracing::warn!(instance_id = %instance, %error, "a record of changes that is not needed any more is removed later");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells libvirt of the checkpoints whose bitmaps are in the disks, oldest first; gives those that it does not take.
    pub(crate) async fn redefine(
        &self,
        turn: &Turn,
        except: Option<SnapshotId>,
    ) -> Result<BTreeMap<SnapshotId, Error>, Error> {
        let mut refused = BTreeMap::new();
        for id in turn.record.checkpoints.iter().filter(|id| Some(**id) != except) {
            if !self.was_made(turn.instance, *id)? {
                continue;
            }
            match self.redefine_one(turn.instance, *id).await {
                Err(error @ Error::ToolRefused { .. }) => {
                    tracing::warn!(instance_id = %turn.instance, %error, "libvirt does not take a record of changes");
                    refused.insert(*id, error);
                }
                told => told?,
            }
        }
        Ok(refused)
    }

    /// One whose parent libvirt does not take is told without it: each bitmap holds all changes since its own beginning.
    async fn redefine_one(&self, instance: InstanceId, id: SnapshotId) -> Result<(), Error> {
        let file = self.records.checkpoint_file(instance, id);
        let refusal = match self.virsh.redefine_checkpoint(instance, &file).await {
            Err(error @ Error::ToolRefused { .. }) => error,
            told => return told,
        };
        let xml = std::fs::read_to_string(&file).map_err(|source| Error::State { path: file, source })?;
        let Some(orphan) = job_xml::without_parent(&xml) else { return Err(refusal) };
        let file = self.records.write(instance, "checkpoint-orphan", &orphan)?;
        self.virsh.redefine_checkpoint(instance, &file).await
    }

    /// Lets libvirt forget all checkpoints of ours, after it was asked how they are to be told again.
    pub(crate) async fn clear_domain(&self, turn: &mut Turn) -> Result<(), Error> {
        let instance = turn.instance;
        let ours = turn.record.checkpoints.iter().map(|id| (*id, checkpoint_name(*id)));
        let ours: Vec<_> = ours.collect();
        let there = self.virsh.checkpoints(instance).await?;
        // The youngest first: then none is taken away below another.
        for (id, name) in ours.iter().rev().filter(|(_, name)| there.contains(name)) {
            let xml = self.virsh.checkpoint_xml(instance, name).await?;
            self.records.write(instance, &format!("{id}.xml"), &xml)?;
            self.virsh.forget_checkpoint(instance, name).await?;
        }
        turn.record.on_domain = false;
        self.records.save(instance, &turn.record)
    }

    /// Whether libvirt ever told of the checkpoint; else it was never made, and neither was its bitmap.
    fn was_made(&self, instance: InstanceId, id: SnapshotId) -> Result<bool, Error> {
        let file = self.records.checkpoint_file(instance, id);
        file.try_exists().map_err(|source| Error::State { path: file, source })
    }
}

/// The cut's checkpoint, as libvirt and qemu know it.
pub(crate) fn checkpoint_name(snapshot: SnapshotId) -> String {
    format!("holdfast-{snapshot}")
}

/// The snapshot whose checkpoint, or bitmap, has this name; absent: it is not ours.
pub(crate) fn snapshot_of(name: &str) -> Option<SnapshotId> {
    let snapshot = name.strip_prefix("holdfast-")?.parse().ok()?;
    (checkpoint_name(snapshot) == name).then_some(snapshot)
}

/// Whether no other host can have the file open; not, where that cannot be told.
fn is_of_one_host(path: &Path) -> bool {
    // The width of the kind is the platform's; all of the known ones fit.
    rustix::fs::statfs(path)
        .is_ok_and(|of| u32::try_from(of.f_type).is_ok_and(|kind| OF_ONE_HOST.contains(&kind)))
}

/// The format is told, what the header names as a backing file is not opened, and a file with its data elsewhere was refused by
/// our own reader.
async fn remove_from_file(path: &Path, name: &str) -> Result<(), Error> {
    let file = serde_json::json!({ "driver": "file", "filename": path.to_string_lossy() });
    let image = serde_json::json!({ "driver": "qcow2", "backing": null, "file": file });
    let tool = Tool::new("qemu-img", REMOVAL_MAX, ANSWER_MAX);
    tool.args(["bitmap", "--remove", &format!("json:{image}"), name]).run().await.map(drop)
}

/// libvirt's word for a checkpoint that the domain does not have.
fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::ToolRefused { said, .. } if said.contains("no domain checkpoint"))
}

/// libvirt's word for a bitmap that was lost, as by a crash of the host or a rebuild. It is that of `LC_ALL=C`.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::ToolRefused { said, .. } if said.contains("not found in backing chain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_is_not_known_may_be_shared() {
        let local = tempfile::tempdir().unwrap();
        assert!(is_of_one_host(local.path()));
        assert!(!is_of_one_host(Path::new("/proc/self/status")));
        assert!(!is_of_one_host(&local.path().join("not there")));
    }
}
