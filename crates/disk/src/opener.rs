//! The way from a disk's location to an open disk.

use std::path::PathBuf;

use model::{ByteCount, DiskLocation};

use crate::server::{Access, Server};
use crate::{DiskReader, DiskWriter, Error};

/// Opens disks: files and RBD images by starting a `qemu-nbd` child for each, exports by connecting to them.
#[derive(Debug, Clone)]
pub struct Opener {
    /// A path, or a bare name that is looked up in `PATH`.
    pub qemu_nbd: PathBuf,
    /// Made if missing, with mode 0700. Holds a socket for the blink of an eye while a disk is opened.
    pub runtime_dir: PathBuf,
}

impl Opener {
    /// Opens a disk for reading.
    ///
    /// `location` and `size` are told by the host; neither is probed, and a disk of another size is refused.
    /// Errors: any but `ServerStuck`. Cancel safe: yes; a child that was started is killed.
    pub async fn read(&self, location: &DiskLocation, size: ByteCount) -> Result<DiskReader, Error> {
        let server = self.open(location, size, Access::Read, None).await?;
        Ok(DiskReader::new(server))
    }

    /// Opens an export for reading, with a dirty bitmap that is exported beside it.
    ///
    /// Errors: `BitmapMissing`; else as for [`Self::read`].
    pub async fn read_with_bitmap(
        &self,
        location: &DiskLocation,
        size: ByteCount,
        bitmap: &str,
    ) -> Result<DiskReader, Error> {
        let server = self.open(location, size, Access::Read, Some(bitmap)).await?;
        if server.client.export().dirty_context.is_none() {
            let missing = Error::BitmapMissing { disk: location.to_string(), bitmap: bitmap.to_owned() };
            close_refused(server).await;
            return Err(missing);
        }
        Ok(DiskReader::new(server))
    }

    /// Opens a disk for writing. Nobody else may have it open. Of a file qemu's own lock sees to that; of an RBD image
    /// nothing does, and the caller must hold the instance or the volume.
    ///
    /// As for [`Self::read`] otherwise.
    pub async fn write(&self, location: &DiskLocation, size: ByteCount) -> Result<DiskWriter, Error> {
        let server = self.open(location, size, Access::Write, None).await?;
        Ok(DiskWriter::new(server))
    }

    async fn open(
        &self,
        location: &DiskLocation,
        size: ByteCount,
        access: Access,
        bitmap: Option<&str>,
    ) -> Result<Server, Error> {
        let server = Server::start(self, location, access, bitmap).await?;
        let (expected, actual) = (size.0, server.client.export().size);
        if expected != actual {
            let disk = location.to_string();
            close_refused(server).await;
            return Err(Error::ChangedSize { disk, expected, actual });
        }
        tracing::debug!(disk = %server.location(), pid = server.pid(), ?access, "disk opened");
        Ok(server)
    }
}

async fn close_refused(server: Server) {
    if let Err(error) = server.close().await {
        tracing::debug!(%error, "a refused disk was not closed well");
    }
}
