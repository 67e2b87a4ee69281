//! What must be remembered of an instance's cuts, in files that outlive the datamover.
//!
//! ```text
//!  state_dir/cuts/<instance>/record.json       the cut that stands, and the checkpoints whose bitmaps are in the disks
//!  state_dir/cuts/<instance>/<snapshot>.xml    a checkpoint, as libvirt can be told of it again
//!  state_dir/rbd/<volume>.json                 the image in which a volume snapshot was read
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use model::{ByteCount, DiskId, InstanceId, SnapshotId, VolumeId, VolumeSnapshotId};
use runtime::atomic_file;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

const RECORD: &str = "record.json";

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) cut: Option<Cut>,
    pub(crate) base: Option<BaseRecord>,
    /// Whose bitmaps are in the disks: oldest first.
    pub(crate) checkpoints: Vec<SnapshotId>,
    /// Checkpoints may stand on the domain now, where they are in Nova's way.
    pub(crate) on_domain: bool,
}

/// A point in time that is being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cut {
    pub(crate) snapshot_id: SnapshotId,
    pub(crate) kind: CutKind,
}

/// Who keeps the point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum CutKind {
    /// A backup job of the hypervisor.
    Job {
        /// The run of the domain that the job is in.
        run_id: u32,
        /// False: whether it began is not known.
        is_begun: bool,
        disks: BTreeMap<DiskId, CutDisk>,
        /// Why it was ended by us.
        ended: Option<String>,
    },
    /// Nobody: the files, as they were.
    AsIs { files: BTreeMap<DiskId, FileStamp> },
}

/// A disk of a backup job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CutDisk {
    pub(crate) size: ByteCount,
    /// A checkpoint of it was made.
    pub(crate) has_checkpoint: bool,
    /// The snapshot since which its changes are exported; absent: they are not.
    pub(crate) since: Option<SnapshotId>,
    /// They were exported, and found to be false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_false: bool,
}

/// The record of changes from which the next snapshot may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaseRecord {
    /// Whose bitmap it is.
    pub(crate) checkpoint: SnapshotId,
    /// The last committed snapshot. It may be later than the checkpoint: of an instance that did not run no checkpoint can
    /// be made, and what changed after it is part of what changed after the one before.
    pub(crate) since: SnapshotId,
    pub(crate) disks: BTreeSet<DiskId>,
}

/// By what a file is seen not to have been written: qemu writes, and Nova gives it another owner before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Record {
    /// The checkpoints that nothing needs any more.
    pub(crate) fn superseded(&self) -> Vec<SnapshotId> {
        let base = self.base.as_ref().map(|base| base.checkpoint);
        let current = self.cut.as_ref().map(|cut| cut.snapshot_id);
        let is_needed = |id: &SnapshotId| [base, current].contains(&Some(*id));
        self.checkpoints.iter().filter(|id| !is_needed(id)).copied().collect()
    }
}

/// What is known of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "VolumeRecordForm")]
struct VolumeRecord {
    /// Ceph's ids of images, by the volume snapshots that were read in them.
    images: BTreeMap<VolumeSnapshotId, String>,
    /// Since these, the cluster's record of changes was found to be false.
    distrusted: BTreeSet<VolumeSnapshotId>,
}

/// As files have it: earlier versions knew images alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum VolumeRecordForm {
    Whole(WholeRecord),
    Images(BTreeMap<VolumeSnapshotId, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeRecord {
    #[serde(default)]
    images: BTreeMap<VolumeSnapshotId, String>,
    #[serde(default)]
    distrusted: BTreeSet<VolumeSnapshotId>,
}

impl From<VolumeRecordForm> for VolumeRecord {
    fn from(form: VolumeRecordForm) -> Self {
        match form {
            VolumeRecordForm::Whole(WholeRecord { images, distrusted }) => Self { images, distrusted },
            VolumeRecordForm::Images(images) => Self { images, distrusted: BTreeSet::new() },
        }
    }
}

/// The files.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    cuts: PathBuf,
    rbd: PathBuf,
}

impl Records {
    /// Makes the folders.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Error> {
        let records = Self { cuts: state_dir.join("cuts"), rbd: state_dir.join("rbd") };
        for folder in [&records.cuts, &records.rbd] {
            make_folder(folder)?;
        }
        Ok(records)
    }

    /// The instances of which something is known.
    pub(crate) fn instances(&self) -> Result<Vec<InstanceId>, Error> {
        let failed = |source| Error::State { path: self.cuts.clone(), source };
        let mut instances = Vec::new();
        for entry in std::fs::read_dir(&self.cuts).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            instances.extend(name.to_str().and_then(|name| name.parse::<InstanceId>().ok()));
        }
        Ok(instances)
    }

    pub(crate) fn load(&self, instance: InstanceId) -> Result<Record, Error> {
        Ok(read_json(&self.folder(instance).join(RECORD))?.unwrap_or_default())
    }

    /// Durable when it returns. An empty record takes its folder with it.
    pub(crate) fn save(&self, instance: InstanceId, record: &Record) -> Result<(), Error> {
        let folder = self.folder(instance);
        if *record == Record::default() {
            return match std::fs::remove_dir_all(&folder) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(Error::State { path: folder, source })
                }
                _ => Ok(()),
            };
        }
        make_folder(&folder)?;
        write_json(&folder, RECORD, record)
    }

    /// Where the XML of a checkpoint is kept.
    pub(crate) fn checkpoint_file(&self, instance: InstanceId, snapshot: SnapshotId) -> PathBuf {
        self.folder(instance).join(format!("{snapshot}.xml"))
    }

    /// Writes a file beside the record; gives its path.
    pub(crate) fn write(&self, instance: InstanceId, name: &str, text: &str) -> Result<PathBuf, Error> {
        let folder = self.folder(instance);
        make_folder(&folder)?;
        let path = folder.join(name);
        atomic_file::write(&folder, name, text.as_bytes())
            .map_err(|source| Error::State { path: path.clone(), source })?;
        Ok(path)
    }

    pub(crate) fn remove(&self, instance: InstanceId, name: &str) -> Result<(), Error> {
        let folder = self.folder(instance);
        atomic_file::remove(&folder, name).or_else(|source| match source.kind() {
            io::ErrorKind::NotFound => Ok(()), // the folder is gone
            _ => Err(Error::State { path: folder.join(name), source }),
        })
    }

    /// Remembers in which image of the cluster a volume snapshot is read. Of the others only the base stays known; a full read
    /// says nothing of the base that the lineage has, and should it fail, the next one builds on that.
    pub(crate) fn note_image(
        &self,
        volume: VolumeId,
        (snapshot, base): (VolumeSnapshotId, Option<VolumeSnapshotId>),
        image_id: &str,
    ) -> Result<(), Error> {
        let known = self.volume(volume)?;
        let mut record = known.clone();
        if let Some(base) = base {
            record.images.retain(|id, _| *id == base);
            record.distrusted.retain(|id| *id == base);
        }
        record.images.insert(snapshot, image_id.to_owned());
        if record == known { Ok(()) } else { self.save_volume(volume, &record) }
    }

    /// In which image the volume snapshot was read by this host.
    pub(crate) fn image_of(
        &self,
        volume: VolumeId,
        snapshot: VolumeSnapshotId,
    ) -> Result<Option<String>, Error> {
        Ok(self.volume(volume)?.images.remove(&snapshot))
    }

    /// Remembers that what changed since the volume snapshot is not known rightly. Durable when it returns.
    pub(crate) fn distrust(&self, volume: VolumeId, snapshot: VolumeSnapshotId) -> Result<(), Error> {
        let mut record = self.volume(volume)?;
        record.distrusted.insert(snapshot);
        self.save_volume(volume, &record)
    }

    pub(crate) fn is_distrusted(&self, volume: VolumeId, snapshot: VolumeSnapshotId) -> Result<bool, Error> {
        Ok(self.volume(volume)?.distrusted.contains(&snapshot))
    }

    fn volume(&self, volume: VolumeId) -> Result<VolumeRecord, Error> {
        Ok(read_json(&self.rbd.join(format!("{volume}.json")))?.unwrap_or_default())
    }

    fn save_volume(&self, volume: VolumeId, record: &VolumeRecord) -> Result<(), Error> {
        write_json(&self.rbd, &format!("{volume}.json"), record)
    }

    fn folder(&self, instance: InstanceId) -> PathBuf {
        self.cuts.join(instance.to_string())
    }
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::State { path: path.to_owned(), source })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let failed = |source| Error::State { path: path.to_owned(), source };
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn write_json<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), Error> {
    let failed = |source| Error::State { path: folder.join(name), source };
    let bytes = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    atomic_file::write(folder, name, &bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "89437e38-133b-4bcb-a223-9be6bbe797a2";

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(number: u8) -> T {
        format!("00000000-0000-4000-8000-0000000000{number:02x}").parse().unwrap()
    }

    fn make_record() -> Record {
        let disk = CutDisk { size: ByteCount(1), has_checkpoint: true, since: Some(id(2)), is_false: false };
        let kind = CutKind::Job {
            run_id: 3,
            is_begun: true,
            disks: BTreeMap::from([("vda".parse().unwrap(), disk)]),
            ended: None,
        };
        Record {
            cut: Some(Cut { snapshot_id: id(4), kind }),
            base: Some(BaseRecord { checkpoint: id(1), since: id(2), disks: BTreeSet::new() }),
            checkpoints: vec![id(0), id(1), id(4)],
            on_domain: false,
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let (volume, snapshot) = (id(1), id(2));
        let old = format!("{{\"{snapshot}\": \"abc\"}}");
        std::fs::write(dir.path().join("rbd").join(format!("{volume}.json")), old).unwrap();
        assert_eq!(records.image_of(volume, snapshot).unwrap().as_deref(), Some("abc"));
        assert!(!records.is_distrusted(volume, snapshot).unwrap());
    }

    #[test]
    fn a_base_that_was_found_false_stays_so_over_a_full_read_that_may_fail() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        let (volume, base, full, next) = (id(1), id(2), id(3), id(4));
        records.note_image(volume, (base, None), "abc").unwrap();
        records.distrust(volume, base).unwrap();
        records.note_image(volume, (full, None), "abc").unwrap();
        assert!(records.is_distrusted(volume, base).unwrap());
        assert_eq!(records.image_of(volume, base).unwrap().as_deref(), Some("abc"));
        // Once another one is the base, nobody asks for it any more.
        records.note_image(volume, (next, Some(full)), "abc").unwrap();
        assert!(!records.is_distrusted(volume, base).unwrap());
    }

    #[test]
    fn a_record_outlives_the_process_and_an_empty_one_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let instance = INSTANCE.parse().unwrap();
        Records::open(dir.path()).unwrap().save(instance, &make_record()).unwrap();
        let records = Records::open(dir.path()).unwrap();
        assert_eq!(records.instances().unwrap(), [instance]);
        assert_eq!(records.load(instance).unwrap(), make_record());
        records.save(instance, &Record::default()).unwrap();
        assert_eq!(records.instances().unwrap(), []);
        assert_eq!(records.load(instance).unwrap(), Record::default());
    }

    #[test]
    fn a_checkpoint_is_superseded_when_neither_the_base_nor_the_cut_needs_it() {
        let mut record = make_record();
        assert_eq!(record.superseded(), [id(0)]);
        record.cut = None;
        assert_eq!(record.superseded(), [id(0), id(4)]);
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let (records, instance) = (Records::open(dir.path()).unwrap(), INSTANCE.parse().unwrap());
        records.write(instance, RECORD, "{").unwrap();
        assert_eq!(records.load(instance).unwrap_err().failure().code, "HOST_STATE");
    }

    #[test]
    fn the_image_of_the_last_volume_snapshots_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.note_image(id(9), (id(7), None), "image").unwrap();
        records.note_image(id(9), (id(6), Some(id(7))), "image").unwrap();
        assert_eq!(records.image_of(id(9), id(7)).unwrap().as_deref(), Some("image"));
        records.note_image(id(9), (id(5), Some(id(6))), "image").unwrap();
        assert_eq!(records.image_of(id(9), id(6)).unwrap().as_deref(), Some("image"));
        assert_eq!(records.image_of(id(9), id(7)).unwrap(), None);
        assert_eq!(records.image_of(id(8), id(1)).unwrap(), None);
    }

    #[test]
    fn a_false_record_of_changes_is_known_until_its_snapshot_is_no_base_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.distrust(id(9), id(7)).unwrap();
        records.note_image(id(9), (id(6), Some(id(7))), "image").unwrap();
        let records = Records::open(dir.path()).unwrap();
        assert!(records.is_distrusted(id(9), id(7)).unwrap());
        assert!(!records.is_distrusted(id(9), id(6)).unwrap());
        records.note_image(id(9), (id(5), Some(id(6))), "image").unwrap();
        assert!(!records.is_distrusted(id(9), id(7)).unwrap());
    }
}
