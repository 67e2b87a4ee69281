//! A disk open for writing.

use bytes::Bytes;
use model::{ByteCount, Extent};
use nbd::Zeroing;

use crate::Error;
use crate::server::Server;
use crate::status_walk::walk;

/// A disk open for writing. All methods take `&self`: several tasks may write through one `Arc`.
///
/// Dropping it kills the child: what was not flushed may be lost, as after a power cut. A dropped call to `write` may or
/// may not have written.
#[derive(Debug)]
pub struct DiskWriter {
    server: Server,
}

impl DiskWriter {
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

    /// Writes `data`, at most 64 MiB, at `offset`. Durable after `flush`.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<(), Error> {
        let done = self.server.client.write(offset, data).await;
        done.map_err(|source| self.server.io_error("write", source))
    }

    /// Makes `length` bytes, any number, at `offset` read as zero; as a hole where the disk can.
    pub async fn write_zeroes(&self, offset: u64, length: u64) -> Result<(), Error> {
        let done = self.server.client.write_zeroes(offset, length, Zeroing::MayPunch).await;
        done.map_err(|source| self.server.io_error("write zeroes to", source))
    }

    /// The extents that the opened disk itself says read as zero: there, and only there, a hole needs no write.
    ///
    /// Shape: ascending, disjoint, not touching. None when the disk can say nothing. Cancel safe: yes.
    pub async fn zero_extents(&self) -> Result<Vec<Extent>, Error> {
        let client = &self.server.client;
        if client.export().allocation_context.is_none() {
            return Ok(Vec::new());
        }
        let extents = walk(client, |status| status.is_zero).await;
        extents.map_err(|source| self.server.io_error("map", source))
    }

    /// Reads `length` bytes, at most 64 MiB, at `offset`: what was written, flushed or not. Cancel safe: yes.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let data = self.server.client.read(offset, length).await;
        data.map_err(|source| self.server.io_error("read back from", source))
    }

    /// Makes durable all that was written before.
    pub async fn flush(&self) -> Result<(), Error> {
        self.server.client.flush().await.map_err(|source| self.server.io_error("flush", source))
    }

    /// Flushes, ends the child and waits until it has closed the disk.
    ///
    /// Errors: whatever casts doubt on what was written; then write it again.
    pub async fn close(self) -> Result<(), Error> {
        self.flush().await?;
        self.server.close().await
    }
}
