//! A small cloud in a folder of the test's own.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use cloud::{
    Cloud as _, CutRequest, InstanceDescription, Moment, NewInstance, NewVolume, Resource, SourceQuery, Tag,
};
use directory_cloud::{
    Builder, DirectoryCloud, DirectoryHost, DirectoryPlacement, NewDirectoryDisk, NewDirectoryInstance,
    fault_table,
};
use model::{ByteCount, DiskFormat, DiskId, InstanceId, Owner, SnapshotId, VolumeId, VolumeSnapshotId};
use tempfile::TempDir;

pub(crate) const IMAGE_SIZE: u64 = 64 << 20;

/// `web` on host-a with a raw and a qcow2 volume and a local disk; `other` on host-a, of another project.
pub(crate) struct Toy {
    dir: TempDir,
    pub(crate) web: NewDirectoryInstance,
    pub(crate) other: NewDirectoryInstance,
}

impl Toy {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let (raw, qcow2) = (dir.path().join("raw.img"), dir.path().join("image.qcow2"));
        make_sparse_image(&raw);
        make_qcow2_image(&qcow2);
        let web = NewDirectoryInstance::new("web", "host-a")
            .disk(NewDirectoryDisk::new("vda", DiskFormat::Raw, &raw))
            .disk(NewDirectoryDisk::new("vdb", DiskFormat::Qcow2, &qcow2))
            .disk(NewDirectoryDisk::new("vdc", DiskFormat::Raw, &raw).local());
        let mut other = NewDirectoryInstance::new("other", "host-a").disk(NewDirectoryDisk::new(
            "vda",
            DiskFormat::Raw,
            &raw,
        ));
        other.project = Some("others".parse().expect("is a project"));
        let path = dir.path().join("cloud");
        std::fs::create_dir(&path).expect("a folder for the cloud");
        Builder::new(&path)
            .hosts(["host-a", "host-b"])
            .instance(web.clone())
            .instance(other.clone())
            .build()
            .expect("the cloud is made");
        Self { dir, web, other }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("cloud").canonicalize().expect("is there")
    }

    /// Beside the cloud, not in it.
    pub(crate) fn outside(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn cloud(&self) -> DirectoryCloud {
        DirectoryCloud::open(&self.path(), fault_table(&self.path())).expect("is a cloud")
    }

    pub(crate) fn placement(&self) -> DirectoryPlacement {
        DirectoryPlacement::open(&self.path(), fault_table(&self.path())).expect("is a cloud")
    }

    pub(crate) fn host(&self, name: &str) -> DirectoryHost {
        let host = name.parse().expect("is a host");
        DirectoryHost::open(&self.path(), host, fault_table(&self.path())).expect("is a cloud")
    }

    pub(crate) fn volume(&self, index: usize) -> VolumeId {
        self.web.disks[index].volume_id.expect("is a volume")
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        std::fs::write(self.path().join(relative), text).expect("can be written");
    }

    /// `effect id tag` of each effect that happened.
    pub(crate) fn effects(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path().join("effects.log")).unwrap_or_default();
        log.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()).collect()
    }

    pub(crate) fn effect_names(&self) -> Vec<String> {
        let name = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
        self.effects().iter().map(name).collect()
    }

    pub(crate) async fn describe(&self, id: InstanceId) -> InstanceDescription {
        self.cloud().describe_instance(&owner(), id).await.expect("is described")
    }

    pub(crate) async fn resources(&self) -> Vec<Resource> {
        self.cloud().list_resources(&owner()).await.expect("are listed")
    }
}

pub(crate) fn owner() -> Owner {
    of_project("default")
}

pub(crate) fn others() -> Owner {
    of_project("others")
}

fn of_project(name: &str) -> Owner {
    let (project_id, user_id) = (name.parse().expect("is a project"), "alice".parse().expect("is a user"));
    Owner { project_id, user_id }
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::from_text(text)
}

pub(crate) fn make_volume(tag_text: &str, format: DiskFormat) -> NewVolume {
    NewVolume {
        name: "restored".to_owned(),
        size: ByteCount::mib(8),
        volume_type: "fast".to_owned(),
        format,
        bootable: true,
        source: None,
        image_properties: std::collections::BTreeMap::new(),
        tag: tag(tag_text),
    }
}

pub(crate) fn make_instance(
    description: InstanceDescription,
    volume_ids: Vec<VolumeId>,
    tag_text: &str,
) -> NewInstance {
    NewInstance { name: "web-again".to_owned(), description, volume_ids, tag: tag(tag_text) }
}

/// Disk `disk_id` of an instance at a volume snapshot.
pub(crate) fn at_volume_snapshot(
    instance_id: InstanceId,
    disk_id: &DiskId,
    id: VolumeSnapshotId,
) -> SourceQuery {
    let (disk_id, snapshot_id) = (disk_id.clone(), SnapshotId::from_uuid(id.uuid()));
    SourceQuery { instance_id, disk_id, snapshot_id, moment: Moment::VolumeSnapshot(id), base: None }
}

pub(crate) fn snapshot(number: u8) -> SnapshotId {
    format!("018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e{number:02x}").parse().expect("is an id")
}

/// A cut of the local disk of `web`.
pub(crate) fn make_cut(instance_id: InstanceId, snapshot_id: SnapshotId) -> CutRequest {
    CutRequest { instance_id, snapshot_id, disks: vec!["vdc".parse().expect("is a disk")], base: None }
}

/// Bytes at the beginning and in the middle, holes between.
fn make_sparse_image(path: &Path) {
    let file = File::create(path).expect("can be made");
    file.set_len(IMAGE_SIZE).expect("can be sized");
    file.write_all_at(b"beginning", 0).expect("can be written");
    file.write_all_at(&[7u8; 8192], IMAGE_SIZE / 2).expect("can be written");
}

fn make_qcow2_image(path: &Path) {
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(path).arg("32M").status();
    assert!(made.expect("qemu-img is installed (apt install qemu-utils)").success());
}

pub(crate) fn allocated_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("is there").blocks() * 512
}
