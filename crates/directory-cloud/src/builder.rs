//! Makes such a cloud: for the demo and for tests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cloud::{Flavor, Port};
use model::{DiskFormat, Failure, HostName, InstanceId, InvalidId, PoolName, ProjectId, VolumeId};
use runtime::Entropy;

use crate::image;
use crate::quotas::Quotas;
use crate::record::{self, DiskRecord, InstanceRecord, Settings};
use crate::store::{ATTACHMENTS, CONNECTIONS, CUTS, INSTANCE_RECORD, INSTANCES, VOLUME_SNAPSHOTS, VOLUMES};

/// The cloud could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("failed to write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Name(#[from] InvalidId),
    #[error(transparent)]
    Record(#[from] Failure),
}

/// A cloud to be made in a folder.
#[derive(Debug)]
pub struct Builder {
    path: PathBuf,
    pool: String,
    project: String,
    keeps_changes: bool,
    hosts: Vec<String>,
    instances: Vec<NewDirectoryInstance>,
}

/// An instance to be placed in it.
#[derive(Debug, Clone)]
pub struct NewDirectoryInstance {
    pub id: InstanceId,
    /// Also the name of its folder.
    pub name: String,
    pub host: String,
    /// Absent: the cloud's.
    pub project: Option<ProjectId>,
    pub guest_agent: bool,
    /// Local disks of one that does not run are read as they are.
    pub running: bool,
    pub flavor: Flavor,
    pub metadata: BTreeMap<String, String>,
    pub ports: Vec<Port>,
    /// In boot order.
    pub disks: Vec<NewDirectoryDisk>,
}

/// A disk with its bytes.
#[derive(Debug, Clone)]
pub struct NewDirectoryDisk {
    /// Absent: a local disk.
    pub volume_id: Option<VolumeId>,
    pub device: String,
    pub format: DiskFormat,
    /// Copied, with its holes.
    pub image: PathBuf,
    /// Not to be backed up.
    pub excluded: bool,
    /// A volume that hosts reach by an attachment only.
    pub by_attachment: bool,
}

impl Builder {
    /// A cloud with the pool and the project `default`, and no hosts.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let default = || "default".to_owned();
        Self {
            path: path.to_owned(),
            pool: default(),
            project: default(),
            keeps_changes: false,
            hosts: Vec::new(),
            instances: Vec::new(),
        }
    }

    /// Its hosts.
    #[must_use]
    pub fn hosts<const N: usize>(mut self, hosts: [&str; N]) -> Self {
        self.hosts = hosts.map(str::to_owned).to_vec();
        self
    }

    /// The pool of the datamovers that reach it.
    #[must_use]
    pub fn pool(mut self, pool: &str) -> Self {
        pool.clone_into(&mut self.pool);
        self
    }

    /// The project of instances that name none.
    #[must_use]
    pub fn project(mut self, project: &str) -> Self {
        project.clone_into(&mut self.project);
        self
    }

    /// Lists what changed between two volume snapshots of a raw disk.
    #[must_use]
    pub const fn keeping_changes(mut self) -> Self {
        self.keeps_changes = true;
        self
    }

    /// Adds an instance.
    #[must_use]
    pub fn instance(mut self, instance: NewDirectoryInstance) -> Self {
        self.instances.push(instance);
        self
    }

    /// Writes it all. Instances may be added to a cloud that is there; an instance of the same name is an error.
    pub fn build(self) -> Result<(), BuildError> {
        let hosts = self.hosts.iter().map(|host| host.parse()).collect::<Result<Vec<HostName>, _>>()?;
        let (pool, project): (PoolName, ProjectId) = (self.pool.parse()?, self.project.parse()?);
        for shelf in [INSTANCES, VOLUMES, VOLUME_SNAPSHOTS, ATTACHMENTS, CONNECTIONS, CUTS] {
            let path = self.path.join(shelf);
            fs::create_dir_all(&path).map_err(|source| BuildError::Write { path, source })?;
        }
        let settings = record::write(&Settings {
            pool,
            hosts,
            project,
            keeps_changes: self.keeps_changes,
            quotas: Quotas::default(),
        })?;
        write(&self.path.join("cloud.toml"), &settings)?;
        self.instances.iter().try_for_each(|instance| instance.write_into(&self.path))
    }
}

impl NewDirectoryInstance {
    /// A small instance without disks, with a guest agent.
    #[must_use]
    pub fn new(name: &str, host: &str) -> Self {
        Self {
            id: InstanceId::from_uuid(Entropy.uuid()),
            name: name.to_owned(),
            host: host.to_owned(),
            project: None,
            guest_agent: true,
            running: true,
            flavor: Flavor {
                name: "small".to_owned(),
                vcpus: 1,
                ram_mib: 512,
                disk_gib: 1,
                ..Flavor::default()
            },
            metadata: BTreeMap::new(),
            ports: Vec::new(),
            disks: Vec::new(),
        }
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk(mut self, disk: NewDirectoryDisk) -> Self {
        self.disks.push(disk);
        self
    }

    fn write_into(&self, cloud: &Path) -> Result<(), BuildError> {
        let folder_name: HostName = self.name.parse()?; // the same letters are safe in a folder's name
        let folder = cloud.join(INSTANCES).join(folder_name.as_str());
        fs::create_dir(&folder).map_err(|source| BuildError::Write { path: folder.clone(), source })?;
        let mut records = Vec::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let file = format!("disk{index}.{}", disk.format.as_str());
            let path = folder.join(&file);
            let copied = File::open(&disk.image)
                .and_then(|from| File::create_new(&path).and_then(|to| image::copy(&from, &to)));
            copied.map_err(|source| BuildError::Write { path, source })?;
            let (volume_id, device, format) = (disk.volume_id, disk.device.clone(), disk.format);
            records.push(DiskRecord {
                volume_id,
                device,
                format,
                size_bytes: None,
                file: Some(file),
                excluded: disk.excluded,
                by_attachment: disk.by_attachment,
            });
        }
        let record = InstanceRecord {
            id: self.id,
            name: self.name.clone(),
            host: self.host.parse()?,
            project: self.project.clone(),
            guest_agent: self.guest_agent,
            running: self.running,
            tag: None,
            flavor: self.flavor.clone(),
            metadata: self.metadata.clone(),
            ports: self.ports.clone(),
            disk: records,
        };
        write(&folder.join(INSTANCE_RECORD), &record::write(&record)?)
    }
}

impl NewDirectoryDisk {
    /// A disk that holds the bytes of `image`.
    #[must_use]
    pub fn new(device: &str, format: DiskFormat, image: &Path) -> Self {
        let volume_id = Some(VolumeId::from_uuid(Entropy.uuid()));
        Self {
            volume_id,
            device: device.to_owned(),
            format,
            image: image.to_owned(),
            excluded: false,
            by_attachment: false,
        }
    }

    /// The same without a volume: a local disk of the instance's host.
    #[must_use]
    pub fn local(self) -> Self {
        Self { volume_id: None, ..self }
    }

    /// The same, of a volume that hosts reach by an attachment only.
    #[must_use]
    pub fn by_attachment(self) -> Self {
        Self { by_attachment: true, ..self }
    }

    /// As snapshots name it.
    #[must_use]
    pub fn id(&self) -> String {
        self.volume_id.map_or_else(|| self.device.clone(), |id| id.to_string())
    }
}

fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    fs::write(path, text).map_err(|source| BuildError::Write { path: path.to_owned(), source })
}
