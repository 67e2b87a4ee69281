//! What libvirt is told of a backup job and of a checkpoint. Pure.

use std::fmt::Write as _;
use std::path::Path;

use model::DiskId;

use crate::domain::escape;

/// The name under which the changes of a disk are exported.
pub(crate) const BITMAP: &str = "changed";

/// A disk of a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobDisk<'a> {
    /// Also the name of its export.
    pub(crate) device: &'a DiskId,
    pub(crate) has_checkpoint: bool,
    pub(crate) is_incremental: bool,
}

/// A job that others read on `socket`. Disks that are not named take no part in it.
pub(crate) fn backup(socket: &Path, scratch: &Path, disks: &[JobDisk<'_>], base: Option<String>) -> String {
    let mut xml = "<domainbackup mode='pull'>\n".to_owned();
    put(&mut xml, format_args!("<server transport='unix' socket='{}'/>\n<disks>\n", path(socket)));
    for JobDisk { device, is_incremental, .. } in disks {
        let changes = match &base {
            Some(base) if *is_incremental => {
                format!("backupmode='incremental' incremental='{}' exportbitmap='{BITMAP}'", escape(base))
            }
            _ => "backupmode='full'".to_owned(),
        };
        put(
            &mut xml,
            format_args!(
                "<disk name='{device}' backup='yes' type='file' exportname='{device}' {changes}>\
                 <driver type='qcow2'/><scratch file='{}'/></disk>\n",
                path(&scratch.join(device.as_str()))
            ),
        );
    }
    xml.push_str("</disks>\n</domainbackup>\n");
    xml
}

/// A checkpoint of the disks that can have one; absent: none can.
pub(crate) fn checkpoint(name: &str, disks: &[JobDisk<'_>]) -> Option<String> {
    let mut xml = format!("<domaincheckpoint>\n<name>{}</name>\n<disks>\n", escape(name));
    for JobDisk { device, has_checkpoint, .. } in disks {
        let kind = if *has_checkpoint { "bitmap" } else { "no" };
        put(&mut xml, format_args!("<disk name='{device}' checkpoint='{kind}'/>\n"));
    }
    xml.push_str("</disks>\n</domaincheckpoint>\n");
    disks.iter().any(|disk| disk.has_checkpoint).then_some(xml)
}

/// A checkpoint of which nothing is known but that these disks have its bitmap.
pub(crate) fn lost_checkpoint(name: &str, devices: &[&DiskId]) -> String {
    let name = escape(name);
    // libvirt wants a time, and makes nothing of it.
    let mut xml =
        format!("<domaincheckpoint>\n<name>{name}</name>\n<creationTime>1</creationTime>\n<disks>\n");
    for device in devices {
        put(&mut xml, format_args!("<disk name='{device}' checkpoint='bitmap' bitmap='{name}'/>\n"));
    }
    xml.push_str("</disks>\n</domaincheckpoint>\n");
    xml
}

/// The description of a checkpoint without the one before it; absent: it names none.
pub(crate) fn without_parent(xml: &str) -> Option<String> {
    let (before, rest) = xml.split_once("<parent>")?;
    let (_, after) = rest.split_once("</parent>")?;
    Some(format!("{before}{after}"))
}

fn path(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

fn put(xml: &mut String, text: std::fmt::Arguments<'_>) {
    xml.write_fmt(text).expect("a text takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_disk_has_its_own_export_scratch_and_record_of_changes() {
        let (vda, vdb) = ("vda".parse().unwrap(), "vdb".parse().unwrap());
        let disks = [
            JobDisk { device: &vda, has_checkpoint: true, is_incremental: true },
            JobDisk { device: &vdb, has_checkpoint: false, is_incremental: false },
        ];
        let xml = backup("/a&b/nbd".as_ref(), "/a&b".as_ref(), &disks, Some("base".to_owned()));
        assert!(xml.contains("socket='/a&amp;b/nbd'"), "{xml}");
        assert!(
            xml.contains(
                "exportname='vda' backupmode='incremental' incremental='base' exportbitmap='changed'"
            )
        );
        assert!(xml.contains("exportname='vdb' backupmode='full'"), "{xml}");
        assert!(xml.contains("<scratch file='/a&amp;b/vdb'/>"), "{xml}");
        let xml = checkpoint("next", &disks).unwrap();
        assert!(xml.contains("name='vda' checkpoint='bitmap'") && xml.contains("name='vdb' checkpoint='no'"));
        assert_eq!(checkpoint("next", &disks[1..]), None);
    }
}
