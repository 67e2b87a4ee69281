//! The answer to one request, as it grows chunk by chunk. Pure: the connection reads bytes, this judges them.
//!
//! ```text
//!             ┌──────────────┐ chunk (checked against the request, then applied)
//!  request ──▶│    Answer    │◀─┘
//!             └──────┬───────┘
//!       last chunk   ▼        or one simple reply
//!         finish() ─▶ Content, or the server's error, or the breach that ends the connection
//! ```

use bytes::BytesMut;

use crate::wire::{ChunkKind, Command, ErrorChunk, HoleChunk, Malformed, Request, Status, StatusChunk};
use crate::{Error, ServerErrno};

/// Most chunks in one reply. A read of 256 KiB of alternating sectors is 512 chunks; twice that is more than enough.
const CHUNK_COUNT_MAX: u32 = 1024;

/// What a request is answered with, when all went well.
#[derive(Debug)]
pub(crate) enum Content {
    Nothing,
    /// Invariant: every byte came from the server, or is zero on its word.
    Data(BytesMut),
    /// Shape: at least one run; they start at the request's offset and end no later than it does.
    Status(Vec<Status>),
}

/// What is there of it so far.
#[derive(Debug)]
enum Partial {
    Nothing,
    Data { buffer: BytesMut, filled: Coverage },
    Status { wanted: u32, other: Option<u32>, runs: Option<Vec<Status>> },
}

/// An answer that is not complete yet.
#[derive(Debug)]
pub(crate) struct Answer {
    request: Request,
    partial: Partial,
    error: Option<ErrorChunk>,
    chunk_count: u32,
}

impl Answer {
    /// The answer to a request that brings nothing but success.
    pub(crate) const fn nothing(request: Request) -> Self {
        Self::new(request, Partial::Nothing)
    }

    /// The answer to a read, to be gathered in `buffer`.
    ///
    /// Panics: `buffer` is not as long as the request, or the request is not a read. Invariant: `buffer` is zeroed, so
    /// that a hole needs no work.
    pub(crate) fn data(request: Request, buffer: BytesMut) -> Self {
        assert_eq!(buffer.len(), request.length as usize, "the buffer holds exactly what is read");
        assert_eq!(request.command, Command::Read);
        Self::new(request, Partial::Data { buffer, filled: Coverage::default() })
    }

    /// The answer to a block status request: the runs of the context `wanted`. A server speaks of every context that was
    /// agreed on; what it says of `other` is checked and dropped.
    pub(crate) const fn status(request: Request, wanted: u32, other: Option<u32>) -> Self {
        Self::new(request, Partial::Status { wanted, other, runs: None })
    }

    const fn new(request: Request, partial: Partial) -> Self {
        Self { request, partial, error: None, chunk_count: 0 }
    }

    /// The cookie that names the request.
    pub(crate) const fn cookie(&self) -> u64 {
        self.request.cookie
    }

    /// Checks a chunk's header before any of its payload is read: does it belong here, and can it be that long?
    pub(crate) fn admit(&mut self, kind: ChunkKind, length: u32, done: bool) -> Result<(), Malformed> {
        self.chunk_count += 1;
        if self.chunk_count > CHUNK_COUNT_MAX {
            return Err(Malformed::ChunkCount { max: CHUNK_COUNT_MAX });
        }
        let in_place = match kind {
            ChunkKind::None => done,
            ChunkKind::OffsetData | ChunkKind::OffsetHole => matches!(self.partial, Partial::Data { .. }),
            ChunkKind::BlockStatus => matches!(self.partial, Partial::Status { .. }),
            ChunkKind::Error | ChunkKind::ErrorOffset | ChunkKind::OtherError(_) => true,
        };
        if !in_place {
            return Err(Malformed::ChunkOutOfPlace {
                kind: kind.name(),
                command: self.request.command.name(),
            });
        }
        let fits = match kind {
            ChunkKind::None => length == 0,
            ChunkKind::OffsetData => length > 8 && length - 8 <= self.request.length,
            ChunkKind::OffsetHole => length == HoleChunk::LENGTH,
            ChunkKind::BlockStatus => (12..=StatusChunk::LENGTH_MAX).contains(&length),
            ChunkKind::Error | ChunkKind::ErrorOffset | ChunkKind::OtherError(_) => {
                length <= ErrorChunk::LENGTH_MAX
            }
        };
        if fits { Ok(()) } else { Err(Malformed::ChunkLength { kind: kind.name(), length }) }
    }

    /// The place for `length` bytes of data at `offset`, marked as filled: the caller reads straight into it.
    pub(crate) fn place(&mut self, offset: u64, length: u64) -> Result<&mut [u8], Malformed> {
        let Partial::Data { buffer, filled } = &mut self.partial else {
            return Err(Malformed::ChunkOutOfPlace {
                kind: ChunkKind::OffsetData.name(),
                command: self.request.command.name(),
            });
        };
        let outside = Malformed::ChunkOutside { offset, length };
        let start = offset.checked_sub(self.request.offset).ok_or(outside.clone())?;
        let end = start.checked_add(length).ok_or(outside.clone())?;
        if length == 0 || end > u64::from(self.request.length) {
            return Err(outside);
        }
        if !filled.claim(start, end) {
            return Err(Malformed::ChunkOverlap { offset });
        }
        let place = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        place.and_then(|(start, end)| buffer.get_mut(start..end)).ok_or(outside)
    }

    /// Applies the payload of a chunk that is not `OffsetData`.
    pub(crate) fn apply(&mut self, kind: ChunkKind, payload: &[u8]) -> Result<(), Malformed> {
        match kind {
            ChunkKind::None => Ok(()),
            ChunkKind::OffsetData => unreachable!("data are read straight into their place"),
            ChunkKind::OffsetHole => {
                let hole = HoleChunk::decode(payload)?;
                self.place(hole.offset, u64::from(hole.length)).map(|_| ()) // the buffer is zero already
            }
            ChunkKind::BlockStatus => self.apply_status(StatusChunk::decode(payload)?),
            ChunkKind::Error | ChunkKind::ErrorOffset | ChunkKind::OtherError(_) => {
                let error = ErrorChunk::decode(kind, payload)?;
                self.error.get_or_insert(error); // the first is the cause
                Ok(())
            }
        }
    }

    fn apply_status(&mut self, chunk: StatusChunk) -> Result<(), Malformed> {
        let Partial::Status { wanted, other, runs } = &mut self.partial else {
            return Err(Malformed::StatusCount);
        };
        if *other == Some(chunk.context_id) {
            *other = None; // once, no more
            return clip(chunk.runs, self.request).map(|_| ());
        }
        if chunk.context_id != *wanted {
            return Err(Malformed::StatusContext { expected: *wanted, actual: chunk.context_id });
        }
        if runs.is_some() {
            return Err(Malformed::StatusCount);
        }
        *runs = Some(clip(chunk.runs, self.request)?);
        Ok(())
    }

    /// Judges a simple reply, which is complete by itself.
    pub(crate) fn finish_simple(self, errno: u32) -> Result<Result<Content, Error>, Malformed> {
        match (&self.partial, errno) {
            (Partial::Nothing, 0) => Ok(Ok(Content::Nothing)),
            (Partial::Data { .. }, _) | (Partial::Status { .. }, 0) => {
                Err(Malformed::SimpleReply { command: self.request.command.name() })
            }
            (Partial::Nothing | Partial::Status { .. }, _) => {
                Ok(Err(self.server_error(errno, String::new())))
            }
        }
    }

    /// Judges the whole after its last chunk: outer error, the connection is over; inner, only this request failed.
    pub(crate) fn finish(mut self) -> Result<Result<Content, Error>, Malformed> {
        if let Some(error) = self.error.take() {
            return Ok(Err(self.server_error(error.errno, error.message)));
        }
        match self.partial {
            Partial::Nothing => Ok(Ok(Content::Nothing)),
            Partial::Status { runs: None, .. } => Err(Malformed::StatusCount),
            Partial::Status { runs: Some(runs), .. } => Ok(Ok(Content::Status(runs))),
            Partial::Data { buffer, filled } => {
                let (actual, expected) = (filled.sum(), u64::from(self.request.length));
                if actual != expected {
                    return Err(Malformed::ReadIncomplete { actual, expected });
                }
                Ok(Ok(Content::Data(buffer)))
            }
        }
    }

    fn server_error(&self, errno: u32, message: String) -> Error {
        Error::Server {
            command: self.request.command.name(),
            offset: self.request.offset,
            length: u64::from(self.request.length),
            errno: ServerErrno::from_code(errno),
            message,
        }
    }
}

/// Cuts the last run where the request ends (the protocol lets a server say more); nothing may start after it.
fn clip(mut runs: Vec<Status>, request: Request) -> Result<Vec<Status>, Malformed> {
    let mut left = request.length;
    for run in &mut runs {
        if left == 0 {
            let offset = request.offset.saturating_add(u64::from(request.length));
            return Err(Malformed::ChunkOutside { offset, length: u64::from(run.length) });
        }
        run.length = run.length.min(left);
        left -= run.length;
    }
    Ok(runs)
}

/// Which bytes of a read have come. Shape: disjoint ranges `start..end`, ascending, not touching.
#[derive(Debug, Default)]
struct Coverage {
    ranges: Vec<(u64, u64)>,
}

impl Coverage {
    /// Marks `start..end`; false when a byte of it was marked before.
    fn claim(&mut self, start: u64, end: u64) -> bool {
        let index = self.ranges.partition_point(|range| range.1 < start);
        match self.ranges.get_mut(index) {
            Some(range) if range.1 == start => {
                if self.ranges.get(index + 1).is_some_and(|next| next.0 < end) {
                    return false;
                }
                self.ranges[index].1 = end;
            }
            Some(range) if range.0 < end => return false,
            Some(range) if range.0 == end => range.0 = start,
            _ => self.ranges.insert(index, (start, end)),
        }
        if let Some(next) = self.ranges.get(index + 1).copied()
            && next.0 == self.ranges[index].1
        {
            self.ranges[index].1 = next.1;
            self.ranges.remove(index + 1);
        }
        true
    }

    fn sum(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests;
