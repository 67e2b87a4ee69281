//! A target in a folder, and disks that are vectors of bytes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use backup_target::{BackupTarget, PosixTarget};
use bytes::Bytes;
use chunk_store::{BackupSession, Error, LineageKey, ManifestSummary, Opened, Restorer, SessionSpec};
use model::{ByteCount, LineageId, SnapshotId};
use runtime::Entropy;

pub(crate) const CHUNK: usize = 4096;

/// A lineage on a target of its own.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) target: Arc<dyn BackupTarget>,
    pub(crate) lineage: LineageId,
    pub(crate) key: LineageKey,
    /// Units: bytes.
    pub(crate) pack_length: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        PosixTarget::init(&folder.path().join("target"), &Entropy).unwrap();
        let target = Arc::new(PosixTarget::open(&folder.path().join("target")).unwrap());
        let lineage = LineageId::from_uuid(Entropy.uuid());
        Self { folder, target, lineage, key: LineageKey::new([7; 32]), pack_length: 64 << 10 }
    }

    pub(crate) fn journal(&self, snapshot: SnapshotId) -> PathBuf {
        self.folder.path().join(format!("{snapshot}.journal"))
    }

    pub(crate) fn spec(
        &self,
        snapshot: SnapshotId,
        parent: Option<SnapshotId>,
        disk_size: usize,
    ) -> SessionSpec {
        SessionSpec {
            target: Arc::clone(&self.target),
            lineage_id: self.lineage,
            snapshot_id: snapshot,
            parent,
            chunk_size: ByteCount(CHUNK as u64),
            disk_size: ByteCount(disk_size as u64),
            journal: self.journal(snapshot),
        }
    }

    pub(crate) async fn open(
        &self,
        snapshot: SnapshotId,
        parent: Option<SnapshotId>,
        disk_size: usize,
    ) -> Result<Opened, Error> {
        let spec = self.spec(snapshot, parent, disk_size);
        BackupSession::open_with_packs_of(spec, self.key.clone(), self.pack_length).await
    }

    /// Takes a snapshot in one go.
    pub(crate) async fn back_up(
        &self,
        disk: &[u8],
        parent: Option<SnapshotId>,
    ) -> (SnapshotId, ManifestSummary) {
        let snapshot = new_snapshot();
        let Opened::New(mut session) = self.open(snapshot, parent, disk.len()).await.unwrap() else {
            panic!("a new snapshot is new");
        };
        feed(&mut session, disk).await.unwrap();
        (snapshot, session.finish().await.unwrap())
    }

    /// Reads a snapshot back.
    pub(crate) async fn restore(&self, snapshot: SnapshotId) -> Result<Vec<u8>, Error> {
        let restorer =
            Restorer::open(Arc::clone(&self.target), self.lineage, snapshot, self.key.clone()).await?;
        let mut disk = vec![0; usize::try_from(restorer.disk_size().0).unwrap()];
        let mut slots = restorer.slots();
        let mut count = 0;
        while let Some(slot) = slots.next().await {
            let (slot, plain) = slot?;
            let start = usize::try_from(slot).unwrap() * CHUNK;
            disk[start..start + plain.len()].copy_from_slice(&plain);
            count += 1;
        }
        assert_eq!(count, restorer.chunk_count());
        let hole_count: u64 = restorer.holes().iter().map(|slots| slots.end - slots.start).sum();
        assert_eq!(count + hole_count, restorer.slot_count());
        Ok(disk)
    }

    pub(crate) async fn purge(&self, snapshot: SnapshotId) -> chunk_store::PurgeSummary {
        chunk_store::purge(&*self.target, self.lineage, snapshot).await.unwrap()
    }

    /// Everything in the target's folder, directories and hidden files too.
    pub(crate) fn everything(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.folder.path().join("target")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                }
                found.insert(entry.path());
            }
        }
        found
    }

    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
        self.everything().into_iter().filter(is_pack).filter(|path| path.is_file()).collect()
    }
}

pub(crate) fn new_snapshot() -> SnapshotId {
    SnapshotId::from_uuid(Entropy.uuid())
}

/// Gives the session every slot that it lacks.
pub(crate) async fn feed(session: &mut BackupSession, disk: &[u8]) -> Result<(), Error> {
    for (slot, plain) in (0..).zip(disk.chunks(CHUNK)) {
        if !session.is_done(slot) {
            session.put(slot, Bytes::copy_from_slice(plain)).await?;
        }
    }
    Ok(())
}

/// Bytes that do not compress, and differ by `seed`.
pub(crate) fn make_noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
