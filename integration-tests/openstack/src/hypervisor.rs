//! libvirt by `virsh`: local disks, and points in time of running instances.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use model::{ByteCount, DiskFormat, DiskLocation, ImageFile, NbdExport};

use crate::lab::Lab;
use crate::tool;

/// Runs `virsh`.
pub fn virsh(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("virsh");
    tool::run(command.args(["--quiet", "--connect", "qemu:///system"]).args(arguments), "")
}

/// The only local disk of an instance, running or not.
#[derive(Debug, Clone)]
pub struct LocalDisk {
    pub location: DiskLocation,
    pub path: PathBuf,
    pub size: ByteCount,
}

impl LocalDisk {
    /// Asks libvirt, which knows an instance's domain by the instance's id.
    pub fn of(lab: &Lab, instance_id: &str) -> Result<Self> {
        let xml = virsh(&["dumpxml", "--inactive", instance_id])?;
        let disk = between(&xml, "<disk type='file' device='disk'>", "</disk>").context("no local disk")?;
        assert!(disk.contains("<driver name='qemu' type='qcow2'"), "{disk}");
        assert!(disk.contains("<target dev='vda'"), "{disk}");
        let path = PathBuf::from(between(disk, "<source file='", "'").context("no path")?);
        let info = virsh(&["domblkinfo", instance_id, "vda"])?;
        let size = info.lines().find_map(|line| line.strip_prefix("Capacity:"));
        let size = ByteCount(size.context("no capacity")?.trim().parse()?);
        let backing_dir = Some(lab.instances_dir.join("_base"));
        let image = ImageFile { path: path.clone(), format: DiskFormat::Qcow2, backing_dir };
        Ok(Self { location: DiskLocation::File(image), path, size })
    }
}

/// A checkpoint of a domain's first disk, as XML that libvirt can be given again.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub name: String,
    xml: PathBuf,
}

/// A pull-mode backup that runs: a point in time that can be read. It ends when dropped.
#[derive(Debug)]
pub struct Cut {
    instance_id: String,
    folder: PathBuf,
    /// What keeps the changes from here on.
    pub checkpoint: Checkpoint,
}

impl Cut {
    /// The name of the disk's export.
    pub const EXPORT: &str = "vda";
    /// The name of the exported bitmap.
    pub const BITMAP: &str = "changed";

    /// Cuts the first disk of a running instance. With `base` the changes since then are exported too.
    ///
    /// A checkpoint's metadata stand on the domain only while this runs: left there they keep Nova from starting, hard
    /// rebooting and deleting the instance. The bitmaps stay in the image.
    pub fn begin(instance_id: &str, name: &str, base: Option<&Checkpoint>, keep: &Path) -> Result<Self> {
        let folder = PathBuf::from("/var/lib/libvirt/qemu").join(format!("holdfast-{name}"));
        std::fs::create_dir(&folder)?;
        tool::run(Command::new("chown").arg("libvirt-qemu").arg(&folder), "")?;
        let checkpoint = Checkpoint { name: name.to_owned(), xml: keep.join(format!("{name}.xml")) };
        let cut = Self { instance_id: instance_id.to_owned(), folder, checkpoint };
        if let Some(base) = base {
            virsh(&["checkpoint-create", instance_id, text(&base.xml), "--redefine"])?;
        }
        let begun = cut.begin_backup(base);
        // Whether or not it began: nothing of ours stays on the domain.
        let saved = begun.and_then(|()| cut.checkpoint.save(instance_id));
        for name in [Some(name), base.map(|base| base.name.as_str())].into_iter().flatten() {
            let forgotten = virsh(&["checkpoint-delete", "--metadata", instance_id, name]);
            saved.as_ref().map_or(Ok(()), |()| forgotten.map(|_| ()))?;
        }
        saved?;
        Ok(cut)
    }

    fn begin_backup(&self, base: Option<&Checkpoint>) -> Result<()> {
        let incremental = base.map(|base| format!("<incremental>{}</incremental>", base.name));
        let bitmap = base.map(|_| format!(" exportbitmap='{}'", Self::BITMAP));
        let backup = format!(
            "<domainbackup mode='pull'>{}<server transport='unix' socket='{}'/><disks>\
             <disk name='vda' backup='yes' type='file' exportname='{}'{}><driver type='qcow2'/>\
             <scratch file='{}'/></disk></disks></domainbackup>",
            incremental.unwrap_or_default(),
            self.socket().display(),
            Self::EXPORT,
            bitmap.unwrap_or_default(),
            self.folder.join("scratch.qcow2").display(),
        );
        let checkpoint = format!(
            "<domaincheckpoint><name>{}</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>",
            self.checkpoint.name
        );
        let (backup_file, checkpoint_file) =
            (self.checkpoint.xml.with_extension("backup"), &self.checkpoint.xml);
        std::fs::write(&backup_file, backup)?;
        std::fs::write(checkpoint_file, checkpoint)?;
        virsh(&["backup-begin", &self.instance_id, text(&backup_file), text(checkpoint_file)]).map(|_| ())
    }

    /// Where its disk is read.
    #[must_use]
    pub fn location(&self) -> DiskLocation {
        DiskLocation::Export(NbdExport { socket: self.socket(), name: Self::EXPORT.to_owned() })
    }

    /// Copies the whole disk with qemu's own client: an independent witness.
    pub fn witness(&self, to: &Path) -> Result<()> {
        let uri = format!("nbd+unix:///{}?socket={}", Self::EXPORT, self.socket().display());
        let mut command = Command::new("qemu-img");
        tool::run(command.args(["convert", "-f", "raw", "-O", "raw", &uri]).arg(to), "").map(|_| ())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("nbd")
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = virsh(&["domjobabort", &self.instance_id]); // it may have ended
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Checkpoint {
    /// Removes the bitmap from the image, while the instance runs and a later checkpoint goes on. The later one loses its
    /// parent by it, so its XML is another afterwards.
    pub fn drop_bitmap(&self, instance_id: &str, later: &Self) -> Result<()> {
        for checkpoint in [self, later] {
            virsh(&["checkpoint-create", instance_id, text(&checkpoint.xml), "--redefine"])?;
        }
        virsh(&["checkpoint-delete", instance_id, &self.name])?;
        later.save(instance_id)?;
        virsh(&["checkpoint-delete", "--metadata", instance_id, &later.name]).map(|_| ())
    }

    /// Keeps the XML by which libvirt can be given the checkpoint again.
    fn save(&self, instance_id: &str) -> Result<()> {
        let xml = virsh(&["checkpoint-dumpxml", "--no-domain", instance_id, &self.name])?;
        Ok(std::fs::write(&self.xml, xml)?)
    }
}

/// The names of the bitmaps that qemu keeps of the instance's disks.
pub fn bitmaps(instance_id: &str) -> Result<Vec<String>> {
    let question = r#"{"execute":"query-named-block-nodes","arguments":{"flat":true}}"#;
    let answer: serde_json::Value =
        serde_json::from_str(&virsh(&["qemu-monitor-command", instance_id, question])?)?;
    let nodes = answer["return"].as_array().into_iter().flatten();
    let bitmaps = nodes.flat_map(|node| node["dirty-bitmaps"].as_array().into_iter().flatten());
    Ok(bitmaps.filter_map(|bitmap| Some(bitmap["name"].as_str()?.to_owned())).collect())
}

/// The names of the checkpoints that libvirt keeps of the instance's domain.
pub fn checkpoints(instance_id: &str) -> Result<String> {
    virsh(&["checkpoint-list", "--name", instance_id]).map(|names| names.trim().to_owned())
}

/// What lies between the first `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("our own names are text")
}
