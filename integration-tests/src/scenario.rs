//! Directory clouds for tests and the demo: made, looked into, and damaged.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use directory_cloud::{Builder, NewDirectoryDisk, NewDirectoryInstance};
use model::{DiskFormat, HostName, InstanceId, VolumeId};
use serde::Deserialize;

use crate::world::Spec;

/// A disk to place, with its bytes.
#[derive(Debug, Clone)]
pub struct CloudDisk {
    pub device: String,
    pub format: DiskFormat,
    pub image: PathBuf,
}

impl CloudDisk {
    /// A raw disk.
    #[must_use]
    pub fn raw(device: &str, image: PathBuf) -> Self {
        Self { device: device.to_owned(), format: DiskFormat::Raw, image }
    }

    /// A qcow2 disk.
    #[must_use]
    pub fn qcow2(device: &str, image: PathBuf) -> Self {
        Self { device: device.to_owned(), format: DiskFormat::Qcow2, image }
    }
}

/// An instance to place.
#[derive(Debug, Clone)]
pub struct CloudInstance {
    pub name: String,
    pub host: String,
    pub disks: Vec<CloudDisk>,
}

impl CloudInstance {
    /// An instance with its disks in boot order.
    #[must_use]
    pub fn new(name: &str, host: &str, disks: Vec<CloudDisk>) -> Self {
        Self { name: name.to_owned(), host: host.to_owned(), disks }
    }
}

/// An instance as it was placed.
#[derive(Debug, Clone)]
pub struct Placed {
    pub id: InstanceId,
    pub disks: Vec<PlacedDisk>,
}

/// A disk as it was placed.
#[derive(Debug, Clone)]
pub struct PlacedDisk {
    /// As snapshots name it.
    pub id: String,
    pub device: String,
    pub file: PathBuf,
    /// The word that qemu takes.
    pub format: &'static str,
}

/// Makes a cloud with these instances.
pub fn build_cloud(root: &Path, spec: &Spec, instances: &[CloudInstance]) -> Result<Vec<Placed>> {
    let hosts: [&str; 2] = match spec.hosts.as_slice() {
        [first, second] => [first.as_str(), second.as_str()],
        _ => bail!("a scenario has two hosts"),
    };
    let mut builder = Builder::new(root).hosts(hosts).pool(spec.pool.as_str()).project(spec.project.as_str());
    if spec.keeps_changes {
        builder = builder.keeping_changes();
    }
    let mut placed = Vec::new();
    for instance in instances {
        let mut new = NewDirectoryInstance::new(&instance.name, &instance.host);
        new.metadata.insert("role".to_owned(), "shop".to_owned());
        let mut disks = Vec::new();
        for (index, disk) in instance.disks.iter().enumerate() {
            let mut new_disk = NewDirectoryDisk::new(&disk.device, disk.format, &disk.image);
            if spec.has_local_disks && index > 0 {
                new_disk = new_disk.local();
            }
            if spec.has_attached_volumes && index > 0 {
                new_disk = new_disk.by_attachment();
            }
            let file = format!("disk{index}.{}", disk.format.as_str());
            disks.push(PlacedDisk {
                id: new_disk.id(),
                device: disk.device.clone(),
                file: root.join("instances").join(&instance.name).join(file),
                format: disk.format.as_str(),
            });
            new = new.disk(new_disk);
        }
        placed.push(Placed { id: new.id, disks });
        builder = builder.instance(new);
    }
    builder.build()?;
    Ok(placed)
}

/// Removes an instance with its disks, as a disaster does.
pub fn destroy_instance(cloud: &Path, id: InstanceId) -> Result<()> {
    Ok(std::fs::remove_dir_all(instance_folder(cloud, id)?)?)
}

/// Moves an instance to another host: from one moment to the next it is there, with all that it has.
pub fn move_instance(cloud: &Path, id: InstanceId, from: &HostName, to: &HostName) -> Result<()> {
    let path = instance_folder(cloud, id)?.join("instance.toml");
    let text = std::fs::read_to_string(&path)?;
    let moved = text.replace(&format!("host = \"{from}\""), &format!("host = \"{to}\""));
    ensure!(moved != text, "instance {id} is not on host {from}: {text}");
    // The services read it at every effect: they must never see half of it.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, moved)?;
    Ok(std::fs::rename(&draft, &path)?)
}

fn instance_folder(cloud: &Path, id: InstanceId) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Record {
        id: InstanceId,
    }
    for entry in std::fs::read_dir(cloud.join("instances"))? {
        let folder = entry?.path();
        let record: Record = toml::from_str(&std::fs::read_to_string(folder.join("instance.toml"))?)?;
        if record.id == id {
            return Ok(folder);
        }
    }
    bail!("the cloud has no instance {id}")
}

/// The file of a volume.
#[derive(Debug, Clone)]
pub struct VolumeFile {
    pub file: PathBuf,
    /// The word that qemu takes.
    pub format: &'static str,
}

/// Finds the file of a volume that a restore made.
pub fn volume_file(cloud: &Path, id: VolumeId) -> Result<VolumeFile> {
    #[derive(Deserialize)]
    struct Record {
        format: DiskFormat,
    }
    let folder = cloud.join("volumes").join(id.to_string());
    let text = std::fs::read_to_string(folder.join("volume.toml")).with_context(|| format!("volume {id}"))?;
    let record: Record = toml::from_str(&text)?;
    Ok(VolumeFile { file: folder.join("disk.img"), format: record.format.as_str() })
}
