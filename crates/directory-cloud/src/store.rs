//! Reading the folder: which instances, volumes and volume snapshots there are.

use std::fs::File;
use std::path::{Path, PathBuf};

use cloud::{Attachment, DiskDescription, InstanceDescription, Server, Tag, Topology};
use model::{ByteCount, DiskFormat, DiskId, Failure, InstanceId, ProjectId, VolumeId, VolumeSnapshotId};
use serde::de::DeserializeOwned;

use crate::error::{self, OpenError};
use crate::image;
use crate::record::{
    self, AttachmentRecord, CutRecord, DiskRecord, InstanceRecord, Settings, VolumeRecord,
    VolumeSnapshotRecord,
};
use crate::root::Root;

pub(crate) const INSTANCES: &str = "instances";
pub(crate) const VOLUMES: &str = "volumes";
pub(crate) const VOLUME_SNAPSHOTS: &str = "volume-snapshots";
pub(crate) const CUTS: &str = "cuts";
pub(crate) const ATTACHMENTS: &str = "attachments";
pub(crate) const CONNECTIONS: &str = "connections";
pub(crate) const INSTANCE_RECORD: &str = "instance.toml";
pub(crate) const VOLUME_RECORD: &str = "volume.toml";
pub(crate) const VOLUME_SNAPSHOT_RECORD: &str = "snapshot.toml";
pub(crate) const ATTACHMENT_RECORD: &str = "attachment.toml";
pub(crate) const CUT_RECORD: &str = "cut.toml";
pub(crate) const IMAGE: &str = "disk.img";
const SETTINGS: &str = "cloud.toml";
/// Cinder's name for a type that nobody chose.
const VOLUME_TYPE: &str = "directory";

/// The folder, as records.
#[derive(Debug)]
pub(crate) struct Store {
    root: Root,
}

/// An instance and the folder it lies in.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) folder: String,
    pub(crate) project: ProjectId,
    pub(crate) record: InstanceRecord,
}

/// A folder of `instances/` that cannot be read.
#[derive(Debug)]
struct Unreadable {
    folder: String,
    text: Option<String>,
    failure: Failure,
}

/// A volume, wherever its image lies.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) size: ByteCount,
    pub(crate) format: DiskFormat,
    /// Relative to the root.
    pub(crate) image: PathBuf,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let root = Root::open(path).map_err(|source| OpenError::Root { path: path.to_owned(), source })?;
        let store = Self { root };
        store.settings().map_err(OpenError::Settings)?;
        Ok(store)
    }

    pub(crate) const fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        self.read(Path::new(SETTINGS))?.ok_or_else(|| {
            let path = self.root.absolute(Path::new(SETTINGS));
            Failure::permanent(
                "CLOUD_RECORD_INVALID",
                format!("{} is missing: this folder is no cloud", path.display()),
            )
        })
    }

    /// All readable instances, by folder; what cannot be read is logged and hides no other.
    pub(crate) fn instances(&self) -> Result<Vec<Instance>, Failure> {
        let (instances, unreadable) = self.scan_instances()?;
        for Unreadable { folder, failure, .. } in unreadable {
            tracing::warn!(
                folder,
                code = failure.code,
                error = failure.message,
                "an instance cannot be read"
            );
        }
        Ok(instances)
    }

    /// The instance, of whatever project.
    ///
    /// Errors: why it cannot be read. `None`: there is no such instance.
    pub(crate) fn find_instance(&self, id: InstanceId) -> Result<Option<Instance>, Failure> {
        let (instances, unreadable) = self.scan_instances()?;
        if let Some(found) = instances.into_iter().find(|instance| instance.record.id == id) {
            return Ok(Some(found));
        }
        let id = id.to_string();
        // A record that cannot be parsed still names its id; a link was not even looked at and may be any.
        let suspect = unreadable.into_iter().find(|unreadable| {
            unreadable.folder == id || unreadable.text.as_ref().is_none_or(|text| text.contains(&id))
        });
        suspect.map_or(Ok(None), |unreadable| Err(unreadable.failure))
    }

    pub(crate) fn instance(&self, project: &ProjectId, id: InstanceId) -> Result<Instance, Failure> {
        let found = self.find_instance(id)?.filter(|instance| instance.project == *project);
        found.ok_or_else(|| error::not_found("INSTANCE_NOT_FOUND", "instance", id))
    }

    pub(crate) fn describe(&self, instance: &Instance) -> Result<InstanceDescription, Failure> {
        let record = &instance.record;
        let mut disks = Vec::new();
        for (index, disk) in record.disk.iter().enumerate() {
            let volume = self.disk(instance, disk)?;
            let kept = match disk.volume_id {
                Some(id) => self.volume_record(id)?,
                None => None,
            };
            disks.push(DiskDescription {
                id: disk_id(disk)?,
                volume_id: disk.volume_id,
                device: disk.device.clone(),
                size: volume.size,
                format: volume.format,
                volume_type: kept.as_ref().map_or(VOLUME_TYPE, |kept| &kept.volume_type).to_owned(),
                bootable: index == 0,
                is_excluded: disk.excluded,
                volume: cloud::Volume {
                    connects_by: disk.by_attachment.then(|| "directory".to_owned()),
                    ..kept.map(volume_of).unwrap_or_default()
                },
                attachment: Attachment::default(),
            });
        }
        Ok(InstanceDescription {
            id: record.id,
            name: record.name.clone(),
            project_id: instance.project.clone(),
            availability_zone: "directory".to_owned(),
            flavor: record.flavor.clone(),
            metadata: record.metadata.clone(),
            ports: record.ports.clone(),
            disks,
            server: Server::default(),
            topology: Topology::default(),
        })
    }

    /// The image of a disk of an instance, opened once to prove that it is there and beneath the root.
    pub(crate) fn disk(&self, instance: &Instance, disk: &DiskRecord) -> Result<Volume, Failure> {
        let image = match &disk.file {
            Some(name) => Path::new(INSTANCES).join(&instance.folder).join(self.plain(name)?),
            None => volume_image(disk.volume_id.ok_or_else(|| {
                let path =
                    self.root.absolute(&Path::new(INSTANCES).join(&instance.folder).join(INSTANCE_RECORD));
                error::record_invalid(
                    &path,
                    1,
                    format_args!("disk {} has neither volume_id nor file", disk.device),
                )
            })?),
        };
        self.measure(image, disk.format, disk.size_bytes)
    }

    /// The volume with this id in the project: one of `volumes/`, or a disk beside its instance.
    pub(crate) fn volume(&self, project: &ProjectId, id: VolumeId) -> Result<Volume, Failure> {
        let kept = self.volume_record(id)?.filter(|record| record.project == *project);
        if let Some(record) = kept {
            return self.measure(volume_image(id), record.format, Some(record.size_bytes));
        }
        for instance in self.instances()?.iter().filter(|instance| instance.project == *project) {
            let mut beside = instance.record.disk.iter().filter(|disk| disk.file.is_some());
            if let Some(disk) = beside.find(|disk| disk.volume_id == Some(id)) {
                return self.disk(instance, disk);
            }
        }
        Err(error::not_found("VOLUME_NOT_FOUND", "volume", id))
    }

    /// The instance that a volume is attached to.
    pub(crate) fn holder(&self, id: VolumeId) -> Result<Option<Instance>, Failure> {
        let holds = |instance: &Instance| instance.record.disk.iter().any(|disk| disk.volume_id == Some(id));
        Ok(self.instances()?.into_iter().find(holds))
    }

    pub(crate) fn volume_record(&self, id: VolumeId) -> Result<Option<VolumeRecord>, Failure> {
        let id = id.to_string();
        self.read(&Path::new(VOLUMES).join(id).join(VOLUME_RECORD))
    }

    pub(crate) fn volume_snapshot_record(
        &self,
        id: VolumeSnapshotId,
    ) -> Result<Option<VolumeSnapshotRecord>, Failure> {
        self.read(&Path::new(VOLUME_SNAPSHOTS).join(id.to_string()).join(VOLUME_SNAPSHOT_RECORD))
    }

    /// The cut of an instance for a snapshot.
    pub(crate) fn cut_record(&self, name: &str) -> Result<Option<CutRecord>, Failure> {
        self.read(&Path::new(CUTS).join(name).join(CUT_RECORD))
    }

    /// All cuts that stand.
    pub(crate) fn cut_records(&self) -> Result<Vec<CutRecord>, Failure> {
        self.records(CUTS, CUT_RECORD)
    }

    /// By which hosts reach a volume, by id.
    pub(crate) fn attachment_records(&self, project: &ProjectId) -> Result<Vec<AttachmentRecord>, Failure> {
        let mut records: Vec<AttachmentRecord> = self.records(ATTACHMENTS, ATTACHMENT_RECORD)?;
        records.retain(|record| record.project == *project);
        Ok(records)
    }

    pub(crate) fn attachment_record(&self, id: &str) -> Result<Option<AttachmentRecord>, Failure> {
        self.read(&Path::new(ATTACHMENTS).join(self.plain(id)?).join(ATTACHMENT_RECORD))
    }

    /// All volumes of `volumes/`, by id.
    pub(crate) fn volume_records(&self, project: &ProjectId) -> Result<Vec<VolumeRecord>, Failure> {
        let mut records: Vec<VolumeRecord> = self.records(VOLUMES, VOLUME_RECORD)?;
        records.retain(|record| record.project == *project);
        Ok(records)
    }

    /// All volume snapshots, by id.
    pub(crate) fn volume_snapshot_records(
        &self,
        project: &ProjectId,
    ) -> Result<Vec<VolumeSnapshotRecord>, Failure> {
        let mut records: Vec<VolumeSnapshotRecord> =
            self.records(VOLUME_SNAPSHOTS, VOLUME_SNAPSHOT_RECORD)?;
        records.retain(|record| record.project == *project);
        Ok(records)
    }

    pub(crate) fn tagged_instances(&self, project: &ProjectId, tag: &Tag) -> Result<Vec<Instance>, Failure> {
        let mut instances = self.instances()?;
        instances
            .retain(|instance| instance.project == *project && instance.record.tag.as_ref() == Some(tag));
        Ok(instances)
    }

    /// Opens an image of the folder for reading.
    pub(crate) fn open_image(&self, relative: &Path) -> Result<File, Failure> {
        self.root.open_file(relative)?.ok_or_else(|| {
            Failure::permanent(
                "NO_SUCH_DISK",
                format!("the image {} is missing", self.root.absolute(relative).display()),
            )
        })
    }

    fn measure(
        &self,
        relative: PathBuf,
        format: DiskFormat,
        told: Option<ByteCount>,
    ) -> Result<Volume, Failure> {
        let file = self.open_image(&relative)?;
        let measured = image::virtual_size(&file, format)
            .map_err(|source| error::io(format_args!("read {}", relative.display()), &source))?;
        let size = told.or(measured).ok_or_else(|| {
            let path = self.root.absolute(&relative);
            error::record_invalid(&path, 1, format_args!("it is no {} image", format.as_str()))
        })?;
        Ok(Volume { size, format, image: relative })
    }

    fn scan_instances(&self) -> Result<(Vec<Instance>, Vec<Unreadable>), Failure> {
        let default_project = self.settings()?.project;
        let (mut instances, mut unreadable) = (Vec::new(), Vec::new());
        for entry in self.root.list(INSTANCES)? {
            let folder = entry.name;
            let relative = Path::new(INSTANCES).join(&folder).join(INSTANCE_RECORD);
            let path = self.root.absolute(&relative);
            if entry.is_link {
                let failure = error::unsafe_name(&self.root.absolute(&Path::new(INSTANCES).join(&folder)));
                unreadable.push(Unreadable { folder, text: None, failure });
                continue;
            }
            match self.root.read_text(&relative) {
                Ok(None) => {} // a folder of something else
                Ok(Some(text)) => match record::parse::<InstanceRecord>(&path, &text) {
                    Ok(record) => {
                        let project = record.project.clone().unwrap_or_else(|| default_project.clone());
                        instances.push(Instance { folder, project, record });
                    }
                    Err(failure) => unreadable.push(Unreadable { folder, text: Some(text), failure }),
                },
                Err(failure) => unreadable.push(Unreadable { folder, text: None, failure }),
            }
        }
        Ok((instances, unreadable))
    }

    fn records<T: DeserializeOwned>(&self, shelf: &str, name: &str) -> Result<Vec<T>, Failure> {
        let mut records = Vec::new();
        for entry in self.root.list(shelf)? {
            match self.read(&Path::new(shelf).join(&entry.name).join(name)) {
                Ok(record) => records.extend(record),
                Err(failure) => {
                    tracing::warn!(
                        folder = entry.name,
                        code = failure.code,
                        error = failure.message,
                        "a record cannot be read"
                    );
                }
            }
        }
        Ok(records)
    }

    fn read<T: DeserializeOwned>(&self, relative: &Path) -> Result<Option<T>, Failure> {
        let text = self.root.read_text(relative)?;
        text.map(|text| record::parse(&self.root.absolute(relative), &text)).transpose()
    }

    /// One name, beside the record that tells it.
    fn plain<'a>(&self, name: &'a str) -> Result<&'a str, Failure> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(error::unsafe_name(&self.root.absolute(Path::new(name))));
        }
        Ok(name)
    }
}

fn volume_of(record: VolumeRecord) -> cloud::Volume {
    cloud::Volume { name: record.name, image_metadata: record.image_properties, ..cloud::Volume::default() }
}

/// The key of a disk within its instance: its volume's id, or its device.
pub(crate) fn disk_id(disk: &DiskRecord) -> Result<DiskId, Failure> {
    let text = disk.volume_id.map_or_else(|| disk.device.clone(), |id| id.to_string());
    text.parse().map_err(|source| error::bug("naming a disk", source))
}

pub(crate) fn volume_image(id: VolumeId) -> PathBuf {
    Path::new(VOLUMES).join(id.to_string()).join(IMAGE)
}
