//! What qemu is told to open, in its own option syntax: every driver is named, so that nothing is probed.

use std::fs::File;

use model::{DiskLocation, ImageFile, RbdImage};

use crate::Error;
use crate::server::Access;
use crate::source_file::{OpenImage, open_device, open_image};

/// The value of `--image-opts`, and the files that it speaks of.
#[derive(Debug)]
pub(crate) struct QemuSource {
    pub(crate) options: String,
    /// Standard input of the child.
    pub(crate) file: Option<File>,
    /// Descriptor 4 of the child.
    pub(crate) backing: Option<File>,
}

impl QemuSource {
    /// Opens and judges the files of the disk, if it lies in files. Blocks on the file system.
    pub(crate) fn open(location: &DiskLocation, access: Access) -> Result<Self, Error> {
        match location {
            DiskLocation::File(image) => Ok(of_image(open_image(image, access)?, image)),
            DiskLocation::Device(path) => {
                // qemu asks the device for its size and its alignment: a driver of its own.
                let options = "driver=raw,file.driver=host_device,file.filename=/proc/self/fd/0".to_owned();
                Ok(Self { options, file: Some(open_device(path, access)?), backing: None })
            }
            DiskLocation::Rbd(image) => Ok(Self { options: rbd_options(image), file: None, backing: None }),
            DiskLocation::Export(_) => unreachable!("an export is served already"),
        }
    }
}

fn of_image(open: OpenImage, image: &ImageFile) -> QemuSource {
    let format = image.format.as_str();
    let mut options = format!("driver={format},file.driver=file,file.filename=/proc/self/fd/0");
    if image.is_shared {
        // No lock of qemu's, on which the start of the instance would fail. It refuses to be combined with writing.
        options.push_str(",force-share=on");
    }
    let backing = open.backing.map(|(file, format)| {
        options.push_str(",backing.driver=");
        options.push_str(format.as_str());
        options.push_str(",backing.file.driver=file,backing.file.filename=/proc/self/fd/4");
        file
    });
    QemuSource { options, file: Some(open.file), backing }
}

fn rbd_options(image: &RbdImage) -> String {
    let mut options = "driver=raw,file.driver=rbd".to_owned();
    let mut add = |key: &str, value: &str| {
        options.push_str(",file.");
        options.push_str(key);
        options.push('=');
        options.push_str(&value.replace(',', ",,")); // qemu's only escape: a comma that is none of its own
    };
    add("pool", &image.pool);
    add("image", &image.image);
    if let Some(snapshot) = &image.snapshot {
        add("snapshot", snapshot);
    }
    add("user", &image.user);
    add("conf", &image.conf.to_string_lossy());
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rbd_snapshot_is_told_part_by_part_and_a_comma_in_a_name_begins_no_option() {
        let mut image = RbdImage {
            conf: "/etc/ceph/ceph.conf".into(),
            user: "holdfast".to_owned(),
            pool: "volumes".to_owned(),
            image: "volume-1".to_owned(),
            snapshot: Some("snapshot-2".to_owned()),
        };
        assert_eq!(
            rbd_options(&image),
            "driver=raw,file.driver=rbd,file.pool=volumes,file.image=volume-1,file.snapshot=snapshot-2,\
             file.user=holdfast,file.conf=/etc/ceph/ceph.conf"
        );
        image.snapshot = None;
        image.pool = "a,driver=null-co".to_owned();
        assert!(rbd_options(&image).contains("file.pool=a,,driver=null-co,file.image=volume-1,file.user="));
    }
}
