//! Reads disks off a backup target without any service, to compare them with what they were.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use backup_target::{BackupTarget, PosixTarget};
use chunk_store::{FileKeys, KeySource as _, Restorer};
use model::{LineageId, SnapshotId};
use rest_api::{Snapshot, SnapshotDisk};

use crate::disks::digest;
use crate::world::World;

/// A target with its keys.
#[derive(Debug)]
pub struct TargetReader {
    target: Arc<dyn BackupTarget>,
    keys: FileKeys,
}

impl TargetReader {
    /// Opens a world's target.
    pub fn open(world: &World) -> Result<Self> {
        Ok(Self {
            target: Arc::new(PosixTarget::open(&world.places.target())?),
            keys: FileKeys::open(&world.places.etc().join("master.key"))?,
        })
    }

    /// Writes a disk as its snapshot has it into a new file.
    ///
    /// Errors: a byte of it is damaged or missing; the object is named.
    pub async fn copy(&self, lineage: LineageId, snapshot: SnapshotId, to: &Path) -> Result<()> {
        let key = self.keys.lineage_key(lineage)?;
        let restorer = Restorer::open(Arc::clone(&self.target), lineage, snapshot, key).await?;
        let mut file = std::io::BufWriter::new(File::create_new(to)?);
        for slot in 0..restorer.slot_count() {
            file.write_all(&restorer.read_slot(slot).await?)?;
        }
        Ok(file.flush()?)
    }

    /// The BLAKE3 of a disk as its snapshot has it.
    ///
    /// Errors: a byte of it is damaged or missing; the object is named.
    pub async fn digest(&self, lineage: LineageId, snapshot: SnapshotId) -> Result<blake3::Hash> {
        let key = self.keys.lineage_key(lineage)?;
        let restorer = Restorer::open(Arc::clone(&self.target), lineage, snapshot, key).await?;
        let mut hasher = blake3::Hasher::new();
        for slot in 0..restorer.slot_count() {
            hasher.update(&restorer.read_slot(slot).await?);
        }
        Ok(hasher.finalize())
    }
}

/// What a snapshot has of a disk on the target is what `witness` has, which goes.
pub fn assert_kept(world: &World, snapshot: &Snapshot, disk: &SnapshotDisk, witness: &Path) -> Result<()> {
    let reader = TargetReader::open(world)?;
    let kept = world.block_on(reader.digest(disk.lineage_id, snapshot.summary.id))?;
    let same = kept == digest(witness)?;
    std::fs::remove_file(witness)?;
    ensure!(same, "disk {} of snapshot {} has other bytes", disk.label, snapshot.summary.id);
    Ok(())
}
