//! The way from a path to an open disk.

use std::path::{Path, PathBuf};

use model::{ByteCount, DiskFormat};

use crate::error::DiskName;
use crate::server::{Access, Server};
use crate::{DiskReader, DiskWriter, Error};

/// Opens disk files by starting a `qemu-nbd` child for each.
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
    /// `format` and `size` are told by the cloud; neither is probed, and a disk of another size is refused.
    /// Errors: any but `ServerStuck`. Cancel safe: yes; a child that was started is killed.
    pub async fn read(&self, path: &Path, format: DiskFormat, size: ByteCount) -> Result<DiskReader, Error> {
        let server = self.open(DiskName::new(path, format), size, Access::Read).await?;
        Ok(DiskReader::new(server))
    }

    /// Opens a disk for writing. Nobody else may have it open: qemu's own lock sees to that.
    ///
    /// As for [`Self::read`] otherwise.
    pub async fn write(&self, path: &Path, format: DiskFormat, size: ByteCount) -> Result<DiskWriter, Error> {
        let server = self.open(DiskName::new(path, format), size, Access::Write).await?;
        Ok(DiskWriter::new(server))
    }

    async fn open(&self, name: DiskName, size: ByteCount, access: Access) -> Result<Server, Error> {
        let server = Server::start(self, name, access).await?;
        if let Err(changed) = server.name().check_size(size, server.client.export().size) {
            if let Err(error) = server.close().await {
                tracing::debug!(%error, "a refused disk was not closed well");
            }
            return Err(changed);
        }
        tracing::debug!(path = %server.name().path.display(), pid = server.pid(), ?access, "disk opened");
        Ok(server)
    }
}
