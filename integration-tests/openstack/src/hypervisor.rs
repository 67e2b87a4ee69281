//! libvirt by `virsh`: an independent witness of what the product does to running instances, and where local disks lie.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use model::{ByteCount, DiskFormat, DiskLocation, ImageFile, InstanceId, NbdExport};
use runtime::Entropy;

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
        let image =
            ImageFile { path: path.clone(), format: DiskFormat::Qcow2, backing_dir, is_shared: false };
        Ok(Self { location: DiskLocation::File(image), path, size })
    }
}

/// A domain that does not run and that Nova knows nothing of. Gone when dropped.
#[derive(Debug)]
pub struct TestDomain {
    pub id: InstanceId,
}

impl TestDomain {
    /// Defines it with these disks.
    pub fn define(disks: &str) -> Result<Self> {
        let id = InstanceId::from_uuid(Entropy.uuid());
        let mut file = tempfile::NamedTempFile::new()?;
        write!(
            file,
            "<domain type='qemu'><name>holdfast-test-{id}</name><uuid>{id}</uuid><memory unit='MiB'>64</memory>\
             <os><type>hvm</type></os><devices>{disks}</devices></domain>"
        )?;
        virsh(&["define", file.path().to_str().context("a plain path")?])?;
        Ok(Self { id })
    }
}

impl Drop for TestDomain {
    fn drop(&mut self) {
        if let Err(error) = virsh(&["undefine", &self.id.to_string()]) {
            let _ = writeln!(std::io::stderr(), "domain {} was not removed: {error:#}", self.id);
        }
    }
}

/// Copies all of an export with qemu's own client: an independent witness.
pub fn copy_export(export: &NbdExport, to: &Path) -> Result<()> {
    let uri = format!("nbd+unix:///{}?socket={}", export.name, export.socket.display());
    let mut command = Command::new("qemu-img");
    tool::run(command.args(["convert", "-f", "raw", "-O", "raw", &uri]).arg(to), "").map(|_| ())
}

/// Copies all of the disk in a qcow2 file with qemu's own tool.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("qemu-img");
    let command = command.args(["convert", "--force-share", "-f", "qcow2", "-O", "raw"]).arg(from).arg(to);
    tool::run(command, "").map(|_| ())
}

/// State and reason, in libvirt's words.
pub fn state(instance_id: &str) -> Result<String> {
    virsh(&["domstate", "--reason", instance_id]).map(|state| state.trim().to_owned())
}

/// The names of the bitmaps that qemu keeps of the instance's disks.
pub fn bitmaps(instance_id: &str) -> Result<Vec<String>> {
    let question = r#"{"execute":"query-named-block-nodes","arguments":{"flat":true}}"#;
    let answer: serde_json::Value =
        serde_json::from_str(&virsh(&["qemu-monitor-command", instance_id, question])?)?;
    let nodes = answer["return"].as_array().into_iter().flatten();
    let bitmaps = nodes.flat_map(|node| node["dirty-bitmaps"].as_array().into_iter().flatten());
    Ok(bitmaps.filter_map(name_of).collect())
}

/// The names of the bitmaps in a disk's file, by qemu's own tool.
pub fn bitmaps_in(disk: &LocalDisk) -> Result<Vec<String>> {
    let mut command = Command::new("qemu-img");
    let command = command.args(["info", "--force-share", "-f", "qcow2", "--output", "json"]).arg(&disk.path);
    let told: serde_json::Value = serde_json::from_str(&tool::run(command, "")?)?;
    let bitmaps = told["format-specific"]["data"]["bitmaps"].as_array().into_iter().flatten();
    Ok(bitmaps.filter_map(name_of).collect())
}

fn name_of(bitmap: &serde_json::Value) -> Option<String> {
    Some(bitmap["name"].as_str()?.to_owned())
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

/// The last lines that a guest wrote on its console; or why they cannot be read.
#[must_use]
pub fn console_end(instance: &str) -> String {
    const LINES: usize = 12;
    let read = || {
        let domain = virsh(&["dumpxml", instance])?;
        let file = between(&domain, "<log file='", "'");
        let bytes = std::fs::read(file.context("its console is kept in no file")?)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LINES)..].join("\n"))
    };
    read().unwrap_or_else(|error: anyhow::Error| format!("{error:#}"))
}
