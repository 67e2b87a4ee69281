//! A disk open for reading.

use bytes::Bytes;
use model::{ByteCount, Extent};

use crate::Error;
use crate::server::Server;
use crate::status_walk::{walk, walk_dirty};

/// A disk open for reading. All methods take `&self`: several tasks may read through one `Arc`.
///
/// Dropping it disconnects and kills the child.
#[derive(Debug)]
pub struct DiskReader {
    server: Server,
}

impl DiskReader {
    pub(crate) const fn new(server: Server) -> Self {
        Self { server }
    }

    /// The disk's size, as told and as found.
    #[must_use]
    pub fn size(&self) -> ByteCount {
        ByteCount(self.server.client.export().size)
    }

    /// The process id of the disk's `qemu-nbd`, for logs; absent when it has ended.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// The extents that may hold something other than zeroes: those that the disk does not say read as zero.
    ///
    /// A hole that is not said to read as zero is among them: what it reads as is not known. A disk that can say nothing
    /// is one such extent.
    /// Shape: ascending, disjoint, not touching. Cancel safe: yes.
    pub async fn allocated_extents(&self) -> Result<Vec<Extent>, Error> {
        let client = &self.server.client;
        let size = client.export().size;
        if client.export().allocation_context.is_none() && size > 0 {
            return Ok(vec![Extent { offset: 0, length: size }]);
        }
        let extents = walk(client, |status| !status.is_zero).await;
        extents.map_err(|source| self.server.io_error("map", source))
    }

    /// The extents that may have changed since the point in time of the dirty bitmap with which the disk was opened.
    ///
    /// Shape: as for `allocated_extents`; of the bitmap's granularity. Errors: also when it was opened without one.
    /// Cancel safe: yes.
    pub async fn changed_extents(&self) -> Result<Vec<Extent>, Error> {
        let extents = walk_dirty(&self.server.client).await;
        extents.map_err(|source| self.server.io_error("map", source))
    }

    /// Reads `length` bytes, at most 64 MiB, at `offset`: 256 KiB requests, 16 in flight. Holes are zeroes.
    ///
    /// Cancel safe: yes.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let data = self.server.client.read(offset, length).await;
        data.map_err(|source| self.server.io_error("read", source))
    }

    /// Ends the child and waits for it.
    ///
    /// Errors: the child ended badly; what was read is right all the same.
    pub async fn close(self) -> Result<(), Error> {
        self.server.close().await
    }
}
