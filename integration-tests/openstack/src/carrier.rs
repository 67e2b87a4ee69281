//! The product's own way from disk to target and back: the pipelines of the datamover over the chunk store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use backup_target::PosixTarget;
use chunk_store::FileKeys;
use cloud::{Changes, DestinationDisk, SourceDisk};
use datamover::limits::ByteBudget;
use datamover::outcome::Halt;
use datamover::pipeline::backup::{self, Backup};
use datamover::pipeline::restore::{self, Restore};
use datamover::pipeline::{AuditFigures, Control, Means, RateLimit};
use datamover::targets::Targets;
use integration_tests::disks::digest;
use model::{ByteCount, DiskFormat, DiskLocation, LineageId, SnapshotId, TargetId};
use proto::rep::v1::{DiskTransferred, DiskWritten};
use runtime::{Entropy, FaultTable, SystemClock};

/// A target with the lineage of one disk.
#[derive(Debug)]
pub struct Carrier {
    folder: tempfile::TempDir,
    means: Means,
    target_id: TargetId,
    lineage_id: LineageId,
}

impl Carrier {
    /// Makes a target in a folder of its own.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let target = folder.path().join("target");
        std::fs::create_dir(&target)?;
        let target_id = PosixTarget::init(&target, &Entropy)?;
        let means = Means {
            targets: Targets::new(vec![target], Arc::new(FaultTable::none())),
            keys: Arc::new(FileKeys::create(&folder.path().join("keys"), &Entropy)?),
            disks: disk::Opener { qemu_nbd: "qemu-nbd".into(), runtime_dir: folder.path().join("run") },
            clock: SystemClock::shared(),
            budget: ByteBudget::new(512),
            rate: RateLimit::new(SystemClock::shared(), None),
            read_back_one_of: 1,
            audit: AuditFigures::default(),
        };
        Ok(Self { folder, means, target_id, lineage_id: LineageId::from_uuid(Entropy.uuid()) })
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What opens disks.
    #[must_use]
    pub const fn disks(&self) -> &disk::Opener {
        &self.means.disks
    }

    /// Backs a disk up.
    pub async fn back_up(
        &self,
        location: &DiskLocation,
        size: ByteCount,
        changes: Option<Changes>,
    ) -> Result<(SnapshotId, DiskTransferred)> {
        let snapshot_id = SnapshotId::from_uuid(Entropy.uuid());
        let parent = changes.as_ref().map(|changes| changes.since);
        let source = SourceDisk {
            changes_are_false: false,
            location: location.clone(),
            size,
            changes,
            full_read_reason: None,
            keeps_changes: false,
        };
        Ok((snapshot_id, self.back_up_as(snapshot_id, parent, source).await?))
    }

    /// Backs a disk up that the host found for this snapshot.
    pub async fn back_up_as(
        &self,
        snapshot_id: SnapshotId,
        parent: Option<SnapshotId>,
        source: SourceDisk,
    ) -> Result<DiskTransferred> {
        let backup = Backup {
            parent,
            source,
            moment: None,
            target_id: self.target_id,
            lineage_id: self.lineage_id,
            snapshot_id,
            chunk_size: ByteCount::mib(1),
            journal: self.path(&format!("{snapshot_id}.journal")),
        };
        let (_stopper, control) = Control::new(None);
        backup::run(&self.means, &backup, &control).await.map_err(said)
    }

    /// Writes a snapshot to a disk; every byte is read back.
    pub async fn restore(
        &self,
        snapshot_id: SnapshotId,
        location: &DiskLocation,
        size: ByteCount,
    ) -> Result<DiskWritten> {
        let destination = DestinationDisk { location: location.clone(), size };
        let restore =
            Restore { destination, target_id: self.target_id, lineage_id: self.lineage_id, snapshot_id };
        let (_stopper, control) = Control::new(None);
        restore::run(&self.means, &restore, &control).await.map_err(said)
    }

    /// Writes a snapshot into a new file, and compares all of it with `witness`.
    pub async fn compare(&self, snapshot_id: SnapshotId, witness: &Path) -> Result<()> {
        let size = ByteCount(std::fs::metadata(witness)?.len());
        let path = self.path(&format!("{snapshot_id}.raw"));
        std::fs::File::create(&path)?.set_len(size.0)?;
        self.restore(snapshot_id, &DiskLocation::file(&path, DiskFormat::Raw), size).await?;
        ensure!(digest(&path)? == digest(witness)?, "the bytes of snapshot {snapshot_id} are not the disk's");
        std::fs::remove_file(&path)?;
        Ok(())
    }
}

fn said(halt: Halt) -> anyhow::Error {
    match halt {
        Halt::Failed { failure, .. } => anyhow!("{failure}"),
        other => anyhow!("{other:?}"),
    }
}
