//! The task that owns the stream after the handshake: one half sends requests, the other receives replies.
//!
//! Both halves are polled by one task, so that when one of them ends, the other is dropped with it, and the stream with
//! both. Every payload has one copy, from the kernel into its place in the caller's buffer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Error;
use crate::pending::{Pending, Shared};
use crate::wire::{ChunkKind, Command, CommandFlags, Malformed, REPLY_MAGIC_LENGTH, ReplyHeader, Request};

/// Holds many headers of small replies; payloads longer than it are read around it.
const READ_BUFFER_SIZE: usize = 4096;

/// A request on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) request: Request,
    /// Empty but for writes.
    pub(crate) data: Bytes,
}

/// Runs a connection to its end, which it leaves in `shared`, even when it is dropped or panics.
pub(crate) async fn run<S>(
    stream: S,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Outgoing>,
    answer_max: Duration,
) where
    S: AsyncRead + AsyncWrite,
{
    let ending = EndOnDrop(Arc::clone(&shared));
    let (reader, writer) = tokio::io::split(stream);
    let receiving = Receiving {
        reader: BufReader::with_capacity(READ_BUFFER_SIZE, reader),
        shared: &shared,
        answer_max,
        scratch: Vec::new(),
    };
    // Neither branch is ever resumed: the first to end takes the other with it.
    let result = tokio::select! {
        biased;
        result = receiving.run() => result,
        result = send_all(writer, queue, &shared) => result,
    };
    let Err(reason) = result;
    tracing::debug!(%reason, "nbd connection ended");
    ending.0.end(reason);
}

/// Sees to it that nobody waits for a connection that is gone.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Error::Closed); // no effect after an earlier reason
    }
}

/// Sends what is queued. After a disconnect, or when the last client is gone, it sends nothing more, and waits to be
/// dropped.
async fn send_all<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut queue: mpsc::Receiver<Outgoing>,
    shared: &Shared,
) -> Result<Infallible, Error> {
    const DISCONNECT: Request =
        Request { command: Command::Disconnect, flags: CommandFlags(0), cookie: 0, offset: 0, length: 0 };
    let mut header = BytesMut::with_capacity(Request::LENGTH);
    loop {
        let Outgoing { request, data } =
            queue.recv().await.unwrap_or(Outgoing { request: DISCONNECT, data: Bytes::new() });
        let last = request.command == Command::Disconnect;
        if last {
            shared.set_closing();
        }
        header.clear();
        request.encode(&mut header);
        writer.write_all_buf(&mut Buf::chain(&header[..], data)).await?;
        if last {
            writer.shutdown().await?;
            return std::future::pending().await;
        }
    }
}

/// The receiving half.
struct Receiving<'a, R> {
    reader: BufReader<R>,
    shared: &'a Shared,
    answer_max: Duration,
    /// Payloads of small chunks. Bound: the longest is a block status, 1 MiB.
    scratch: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Receiving<'_, R> {
    async fn run(mut self) -> Result<Infallible, Error> {
        loop {
            self.wait_for_reply().await?;
            self.receive_reply().await?;
            // A server that answers all but one must not keep that one's caller for ever.
            self.check_overdue()?;
        }
    }

    /// Waits for the first byte of a reply, however long nothing is owed to us.
    async fn wait_for_reply(&mut self) -> Result<(), Error> {
        loop {
            // Cancel safe: `fill_buf` keeps what it has read.
            match timeout(self.answer_max, self.reader.fill_buf()).await {
                Ok(Ok([])) if self.shared.is_closing() => return Err(Error::Closed),
                Ok(Ok([])) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error.into()),
                // The end of the stream is what is owed after a disconnect.
                Err(_) if self.shared.is_closing() => return Err(Error::Overdue { limit: self.answer_max }),
                Err(_) => self.check_overdue()?,
            }
        }
    }

    fn check_overdue(&self) -> Result<(), Error> {
        if self.shared.has_overdue(self.answer_max) {
            return Err(Error::Overdue { limit: self.answer_max });
        }
        Ok(())
    }

    /// Reads one simple reply or one chunk, and completes the request if it was the last.
    async fn receive_reply(&mut self) -> Result<(), Error> {
        let (cookie, chunk) = match self.receive_header().await? {
            ReplyHeader::Simple { error, cookie } => (cookie, Err(error)),
            ReplyHeader::Chunk { done, kind, cookie, length } => (cookie, Ok((done, kind, length))),
        };
        let mut request = self.shared.take(cookie).ok_or(Malformed::UnknownCookie { cookie })?;
        let result = match chunk {
            Err(errno) => request.answer.finish_simple(errno)?,
            Ok((done, kind, length)) => {
                request.answer.admit(kind, length, done)?;
                self.receive_payload(&mut request, kind, length).await?;
                if !done {
                    self.shared.put_back(request);
                    return Ok(());
                }
                request.answer.finish()?
            }
        };
        drop(request.slot);
        let _ = request.caller.send(result); // a caller that is gone has given up its answer
        Ok(())
    }

    async fn receive_header(&mut self) -> Result<ReplyHeader, Error> {
        let mut bytes = [0; ReplyHeader::LENGTH_MAX];
        let (magic, rest) = bytes.split_at_mut(REPLY_MAGIC_LENGTH);
        read_exact(&mut self.reader, magic, self.answer_max).await?;
        let magic = magic.first_chunk().copied().expect("it was split off at this length");
        let length = ReplyHeader::length(magic)?;
        let rest = rest.get_mut(..length - REPLY_MAGIC_LENGTH).expect("no header is longer than the longest");
        read_exact(&mut self.reader, rest, self.answer_max).await?;
        Ok(ReplyHeader::decode(bytes.get(..length).expect("no header is longer than the longest"))?)
    }

    /// Reads a payload whose length was admitted.
    async fn receive_payload(
        &mut self,
        request: &mut Pending,
        kind: ChunkKind,
        length: u32,
    ) -> Result<(), Error> {
        if kind == ChunkKind::OffsetData {
            let mut offset = [0; 8];
            read_exact(&mut self.reader, &mut offset, self.answer_max).await?;
            let place = request.answer.place(u64::from_be_bytes(offset), u64::from(length - 8))?;
            return read_exact(&mut self.reader, place, self.answer_max).await;
        }
        self.scratch.clear();
        self.scratch.resize(length as usize, 0);
        read_exact(&mut self.reader, &mut self.scratch, self.answer_max).await?;
        Ok(request.answer.apply(kind, &self.scratch)?)
    }
}

/// Fills `place`, or fails when that takes longer than `answer_max`.
async fn read_exact<R: AsyncRead + Unpin>(
    reader: &mut R,
    place: &mut [u8],
    answer_max: Duration,
) -> Result<(), Error> {
    match timeout(answer_max, reader.read_exact(place)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Error::Overdue { limit: answer_max }),
    }
}
