//! The handle that callers hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::Error;
use crate::answer::{Answer, Content};
use crate::connection::{self, Outgoing};
use crate::negotiation::{Export, negotiate};
use crate::pending::{Pending, Shared};
use crate::wire::{Command, CommandFlags, Request, Status, TransmissionFlags};

/// Requests in flight on one connection. Measured with qemu-nbd on a local file: 16 requests of 256 KiB gave the best
/// throughput; more gained nothing.
pub const REQUEST_COUNT_MAX: usize = 16;

/// Longest request that carries data; longer reads and writes are cut into such. Units: bytes.
pub const REQUEST_LENGTH_MAX: u32 = 256 << 10;

/// Longest read in one call: the bound of what one call allocates. Units: bytes.
pub const READ_LENGTH_MAX: u64 = 64 << 20;

/// Longest request that carries no data: writing zeroes, trimming. A server may really write them, so not the whole
/// disk at once. Units: bytes.
const ZERO_LENGTH_MAX: u32 = 32 << 20;

/// How much one block status request asks about. qemu answers from its own maps, and stops where it likes.
const STATUS_LENGTH_MAX: u32 = 1 << 30;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// qemu-nbd's own default is the empty name.
    pub export_name: String,
    /// A dirty bitmap of the export to ask for, by the name under which qemu exports it.
    pub dirty_bitmap: Option<String>,
    pub handshake_max: Duration,
    /// A server that owes an answer for so long (it is noticed within twice as long) counts as gone. A flush of a large
    /// cache is a long wait.
    pub answer_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            export_name: String::new(),
            dirty_bitmap: None,
            handshake_max: Duration::from_secs(15),
            answer_max: Duration::from_secs(600),
        }
    }
}

/// What may become of a range whose bytes are set to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroing {
    /// It may become a hole.
    MayPunch,
    /// It stays allocated.
    KeepAllocated,
}

/// A range of the export of the same status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusExtent {
    pub offset: u64,
    /// Never 0.
    pub length: u64,
    /// Nothing is allocated here. Says nothing about what it reads as.
    pub is_hole: bool,
    /// Every byte reads as zero.
    pub is_zero: bool,
}

/// A range of the export that a dirty bitmap says did or did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirtyExtent {
    pub offset: u64,
    /// Never 0.
    pub length: u64,
    /// Something here may have changed since the bitmap's point in time.
    pub is_dirty: bool,
}

/// A connection to one export. Clones share it; when the last one is dropped it disconnects by itself.
///
/// Every method is cancel safe in this sense: a dropped call leaves the connection sound. A dropped write may or may not
/// have happened.
#[derive(Debug, Clone)]
pub struct Client {
    export: Arc<Export>,
    shared: Arc<Shared>,
    queue: mpsc::Sender<Outgoing>,
    answer_max: Duration,
}

impl Client {
    /// Shakes hands over `stream` and starts the connection's task on the current runtime.
    ///
    /// Errors: `HandshakeTimeout`, `Lost`, `Malformed`, `OptionRefused`. Panics: outside of a tokio runtime.
    pub async fn connect<S>(mut stream: S, options: Options) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limit = options.handshake_max;
        let shake_hands = negotiate(&mut stream, &options.export_name, options.dirty_bitmap.as_deref());
        let export = timeout(limit, shake_hands).await.map_err(|_| Error::HandshakeTimeout { limit })??;
        let shared = Arc::new(Shared::new(REQUEST_COUNT_MAX));
        let (queue, outgoing) = mpsc::channel(REQUEST_COUNT_MAX);
        let answer_max = options.answer_max;
        tokio::spawn(connection::run(stream, Arc::clone(&shared), outgoing, answer_max));
        Ok(Self { export: Arc::new(export), shared, queue, answer_max })
    }

    /// What the server said of the export.
    #[must_use]
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// Reads `length` bytes at `offset`, in pieces of at most 256 KiB, up to 16 of them in flight.
    ///
    /// Errors: `TooLong` above [`READ_LENGTH_MAX`]; `OutOfRange`, `Unaligned`; `Server`; or the end of the connection.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        const COMMAND: Command = Command::Read;
        self.check_range(COMMAND, offset, length)?;
        check_length(COMMAND, length)?;
        let length = usize::try_from(length).expect("it was checked against 64 MiB");
        // One buffer, cut into the requests' places and joined again: no copy.
        let mut rest = BytesMut::zeroed(length);
        let mut calls = Vec::new();
        for (offset, length) in pieces(offset, length as u64, self.data_length_max()) {
            let buffer = rest.split_to(length as usize);
            let request = make_request(COMMAND, CommandFlags::default(), offset, length);
            calls.push(self.start(request, Bytes::new(), |request| Answer::data(request, buffer)).await?);
        }
        let mut whole = BytesMut::new();
        for call in calls {
            match call.finish().await? {
                Content::Data(piece) => whole.unsplit(piece),
                content => unreachable!("a read is answered with data, not {content:?}"),
            }
        }
        assert_eq!(whole.len(), length, "every piece is as long as its request");
        Ok(whole.freeze())
    }

    /// Writes `data` at `offset`, in pieces as `read` does. Durable after `flush`.
    ///
    /// Errors: as for `read`; `NotSupported` on a read-only export. After an error any part may have been written.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<(), Error> {
        const COMMAND: Command = Command::Write;
        self.check_writable(COMMAND, 0)?;
        self.check_range(COMMAND, offset, data.len() as u64)?;
        check_length(COMMAND, data.len() as u64)?;
        let mut rest = data;
        let mut calls = Vec::new();
        for (offset, length) in pieces(offset, rest.len() as u64, self.data_length_max()) {
            let piece = rest.split_to(length as usize);
            let request = make_request(COMMAND, CommandFlags::default(), offset, length);
            calls.push(self.start(request, piece, Answer::nothing).await?);
        }
        finish_all(calls).await
    }

    /// Makes `length` bytes at `offset` read as zero. Any length within the export.
    ///
    /// Errors: as for `write`; `NotSupported` when the server cannot.
    pub async fn write_zeroes(&self, offset: u64, length: u64, zeroing: Zeroing) -> Result<(), Error> {
        self.check_writable(Command::WriteZeroes, TransmissionFlags::WRITE_ZEROES)?;
        let flags = match zeroing {
            Zeroing::MayPunch => CommandFlags::default(),
            Zeroing::KeepAllocated => CommandFlags::NO_HOLE,
        };
        self.run_without_data(Command::WriteZeroes, flags, offset, length).await
    }

    /// Tells the server that `length` bytes at `offset` are not needed. What they read as afterwards is not known.
    ///
    /// Errors: as for `write_zeroes`.
    pub async fn trim(&self, offset: u64, length: u64) -> Result<(), Error> {
        self.check_writable(Command::Trim, TransmissionFlags::TRIM)?;
        self.run_without_data(Command::Trim, CommandFlags::default(), offset, length).await
    }

    /// Makes durable all writes that were answered before this call.
    ///
    /// Errors: `Server`, or the end of the connection. A server that offers no flush has nothing to flush.
    pub async fn flush(&self) -> Result<(), Error> {
        if !self.export.flags.contains(TransmissionFlags::FLUSH) {
            return Ok(());
        }
        let request = make_request(Command::Flush, CommandFlags::default(), 0, 0);
        self.start(request, Bytes::new(), Answer::nothing).await?.finish().await.map(|_| ())
    }

    /// Asks what is allocated, and what reads as zero, from `offset` on; at most for `length` bytes.
    ///
    /// Shape: at least one extent; the first starts at `offset`; no gaps; may end early: ask again from there.
    /// Errors: `NotSupported` when the server does not know `base:allocation`; else as for `read`.
    pub async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<StatusExtent>, Error> {
        let Export { allocation_context, dirty_context, .. } = *self.export;
        let runs = self.ask_status(offset, length, (allocation_context, dirty_context)).await?;
        let extents = place_runs(offset, runs).map(|(offset, run)| StatusExtent {
            offset,
            length: u64::from(run.length),
            is_hole: run.flags & Status::HOLE != 0,
            is_zero: run.flags & Status::ZERO != 0,
        });
        Ok(extents.collect())
    }

    /// Asks what the dirty bitmap of [`Options`] says changed, from `offset` on; at most for `length` bytes.
    ///
    /// Shape: as for `block_status`. Errors: `NotSupported` when the server has no such bitmap; else as for `read`.
    pub async fn dirty_status(&self, offset: u64, length: u64) -> Result<Vec<DirtyExtent>, Error> {
        let Export { allocation_context, dirty_context, .. } = *self.export;
        let runs = self.ask_status(offset, length, (dirty_context, allocation_context)).await?;
        let extents = place_runs(offset, runs).map(|(offset, run)| DirtyExtent {
            offset,
            length: u64::from(run.length),
            is_dirty: run.flags & Status::DIRTY != 0,
        });
        Ok(extents.collect())
    }

    /// Asks for the status of a range in the first of two contexts.
    async fn ask_status(
        &self,
        offset: u64,
        length: u64,
        (wanted, other): (Option<u32>, Option<u32>),
    ) -> Result<Vec<Status>, Error> {
        const COMMAND: Command = Command::BlockStatus;
        let wanted = wanted.ok_or(Error::NotSupported { command: COMMAND.name() })?;
        self.check_range(COMMAND, offset, length)?;
        if length == 0 {
            return Err(Error::OutOfRange {
                command: COMMAND.name(),
                offset,
                length,
                size: self.export.size,
            });
        }
        let length = u32::try_from(length).unwrap_or(u32::MAX).min(STATUS_LENGTH_MAX);
        let request = make_request(COMMAND, CommandFlags::default(), offset, length);
        let call =
            self.start(request, Bytes::new(), |request| Answer::status(request, wanted, other)).await?;
        match call.finish().await? {
            Content::Status(runs) => Ok(runs),
            content => unreachable!("block status is answered with runs, not {content:?}"),
        }
    }

    /// Waits for what is in flight, disconnects, and waits for the server to close the stream.
    ///
    /// Other clones' calls fail with `Closed` from now on. Errors: the connection ended otherwise, or does not end.
    pub async fn close(self) -> Result<(), Error> {
        let all = u32::try_from(REQUEST_COUNT_MAX).expect("it is 16");
        let idle = self.shared.slots.acquire_many(all).await;
        let Ok(idle) = idle else { return as_closed(self.shared.wait_for_end().await) };
        let request = make_request(Command::Disconnect, CommandFlags::default(), 0, 0);
        let sent = self.queue.send(Outgoing { request, data: Bytes::new() }).await;
        self.shared.slots.close();
        drop(idle);
        drop(sent); // it fails only when the connection has ended, which the next line sees
        let limit = self.answer_max;
        let reason = timeout(limit, self.shared.wait_for_end()).await;
        as_closed(reason.unwrap_or(Error::Overdue { limit }))
    }

    /// Runs a command without data over a range of any length.
    async fn run_without_data(
        &self,
        command: Command,
        flags: CommandFlags,
        offset: u64,
        length: u64,
    ) -> Result<(), Error> {
        self.check_range(command, offset, length)?;
        let mut calls = Vec::new();
        for (offset, length) in pieces(offset, length, ZERO_LENGTH_MAX) {
            // A range of terabytes is many pieces: their calls do not pile up.
            if calls.len() == REQUEST_COUNT_MAX {
                finish_all(std::mem::take(&mut calls)).await?;
            }
            let request = make_request(command, flags, offset, length);
            calls.push(self.start(request, Bytes::new(), Answer::nothing).await?);
        }
        finish_all(calls).await
    }

    /// Sends a request as soon as one of the slots is free.
    ///
    /// Cancel safe: yes. Registering and queueing happen without an `.await` between them, so a request is either not
    /// known at all, or is sent and holds its slot until its reply.
    async fn start(
        &self,
        request: Request,
        data: Bytes,
        make_answer: impl FnOnce(Request) -> Answer,
    ) -> Result<Call<'_>, Error> {
        let Ok(slot) = Arc::clone(&self.shared.slots).acquire_owned().await else {
            return Err(self.shared.end_reason());
        };
        let Ok(place) = self.queue.reserve().await else { return Err(self.shared.wait_for_end().await) };
        let (caller, answer) = oneshot::channel();
        let mut sent = request;
        self.shared.register(|cookie| {
            sent.cookie = cookie;
            Pending { answer: make_answer(sent), caller, slot, since: Instant::now() }
        })?;
        place.send(Outgoing { request: sent, data });
        Ok(Call { shared: &self.shared, answer })
    }

    /// The longest piece of data: ours, or the server's if that is smaller; a multiple of its blocks.
    fn data_length_max(&self) -> u32 {
        let block = self.export.block_size;
        let length = REQUEST_LENGTH_MAX.min(block.maximum);
        length - length % block.minimum
    }

    fn check_range(&self, command: Command, offset: u64, length: u64) -> Result<(), Error> {
        let (command, size, block) = (command.name(), self.export.size, self.export.block_size.minimum);
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::OutOfRange { command, offset, length, size });
        }
        if !(offset | length).is_multiple_of(u64::from(block)) {
            return Err(Error::Unaligned { command, offset, length, block });
        }
        Ok(())
    }

    fn check_writable(&self, command: Command, needed: u16) -> Result<(), Error> {
        let flags = self.export.flags;
        if flags.contains(TransmissionFlags::READ_ONLY) || !flags.contains(needed) {
            return Err(Error::NotSupported { command: command.name() });
        }
        Ok(())
    }
}

/// A request that is under way.
struct Call<'a> {
    shared: &'a Shared,
    answer: oneshot::Receiver<Result<Content, Error>>,
}

impl Call<'_> {
    /// Waits for the answer. Cancel safe: yes; the request goes on.
    async fn finish(self) -> Result<Content, Error> {
        match self.answer.await {
            Ok(result) => result,
            Err(_) => Err(self.shared.wait_for_end().await),
        }
    }
}

/// Waits for all; the first error in the order of the calls.
async fn finish_all(calls: Vec<Call<'_>>) -> Result<(), Error> {
    let mut result = Ok(());
    for call in calls {
        let outcome = call.finish().await.map(|_| ());
        result = result.and(outcome);
    }
    result
}

const fn make_request(command: Command, flags: CommandFlags, offset: u64, length: u32) -> Request {
    Request { command, flags, cookie: 0, offset, length } // `start` gives the cookie
}

fn check_length(command: Command, length: u64) -> Result<(), Error> {
    if length > READ_LENGTH_MAX {
        return Err(Error::TooLong { command: command.name(), length, max: READ_LENGTH_MAX });
    }
    Ok(())
}

/// Cuts a range into pieces of `piece_max` bytes; the last may be shorter. Panics: `piece_max` is 0.
fn pieces(offset: u64, length: u64, piece_max: u32) -> impl Iterator<Item = (u64, u32)> {
    assert!(piece_max > 0, "a piece has a length");
    let step = u64::from(piece_max);
    (0..length.div_ceil(step)).map(move |index| {
        let start = index * step;
        let piece = u32::try_from((length - start).min(step)).expect("no piece is longer than `piece_max`");
        (offset + start, piece)
    })
}

/// Runs with their offsets.
fn place_runs(offset: u64, runs: Vec<Status>) -> impl Iterator<Item = (u64, Status)> {
    runs.into_iter().scan(offset, |next, run| {
        let offset = *next;
        *next += u64::from(run.length);
        Some((offset, run))
    })
}

fn as_closed(reason: Error) -> Result<(), Error> {
    match reason {
        Error::Closed => Ok(()),
        reason => Err(reason),
    }
}
