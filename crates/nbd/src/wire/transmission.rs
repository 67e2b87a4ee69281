//! Requests and replies after the handshake.
//!
//! ```text
//! C: 0x25609513 flags:u16 type:u16 cookie:u64 offset:u64 length:u32 [data]     Request
//! S: 0x67446698 error:u32 cookie:u64                                           ReplyHeader::Simple
//! S: 0x668e33ef flags:u16 type:u16 cookie:u64 length:u32 payload               ReplyHeader::Chunk, then by type:
//!        OFFSET_DATA  offset:u64 data          OFFSET_HOLE  offset:u64 length:u32
//!        BLOCK_STATUS context:u32 (length:u32 flags:u32)…
//!        ERROR        error:u32 length:u16 text      ERROR_OFFSET  the same, then offset:u64
//! ```
//!
//! A structured reply is one or more chunks of the same cookie, the last of which has [`CHUNK_DONE`]; chunks of several
//! replies may be mixed.

use bytes::{Buf, BufMut, BytesMut};

use super::Malformed;
use super::handshake::expect_end;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Bytes of a reply that say which kind it is, and so how long its header is.
pub const REPLY_MAGIC_LENGTH: usize = 4;

/// The flag of the last chunk of a reply.
pub const CHUNK_DONE: u16 = 1 << 0;

/// Longest error text that is read. Source: proto.md, "Conventions".
pub const MESSAGE_LENGTH_MAX: usize = 4096;

/// Most descriptors of one block status. 128 Ki descriptors are 1 MiB, as much as qemu ever sends.
pub const STATUS_DESCRIPTOR_COUNT_MAX: u32 = 128 << 10;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Read,
    Write,
    Disconnect,
    Flush,
    Trim,
    WriteZeroes,
    BlockStatus,
}

impl Command {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Disconnect => 2,
            Self::Flush => 3,
            Self::Trim => 4,
            Self::WriteZeroes => 6,
            Self::BlockStatus => 7,
        }
    }

    /// The command of a number on the wire.
    pub const fn from_code(command: u16) -> Result<Self, Malformed> {
        Ok(match command {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::Disconnect,
            3 => Self::Flush,
            4 => Self::Trim,
            6 => Self::WriteZeroes,
            7 => Self::BlockStatus,
            _ => return Err(Malformed::UnknownCommand { command }),
        })
    }

    /// The word for errors and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Disconnect => "disconnect",
            Self::Flush => "flush",
            Self::Trim => "trim",
            Self::WriteZeroes => "write_zeroes",
            Self::BlockStatus => "block_status",
        }
    }
}

/// Modifiers of a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandFlags(pub u16);

impl CommandFlags {
    /// `WriteZeroes` must leave the range allocated.
    pub const NO_HOLE: Self = Self(1 << 1);
}

/// A request, without the data that follow a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub command: Command,
    pub flags: CommandFlags,
    /// Names the request in its replies.
    pub cookie: u64,
    pub offset: u64,
    pub length: u32,
}

impl Request {
    /// Length on the wire, in bytes.
    pub const LENGTH: usize = 28;

    /// Writes the request.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(REQUEST_MAGIC);
        out.put_u16(self.flags.0);
        out.put_u16(self.command.code());
        out.put_u64(self.cookie);
        out.put_u64(self.offset);
        out.put_u32(self.length);
    }

    /// Reads a request, as a server does.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let magic = bytes.try_get_u32()?;
        if magic != REQUEST_MAGIC {
            return Err(Malformed::RequestMagic { magic });
        }
        let flags = CommandFlags(bytes.try_get_u16()?);
        let command = Command::from_code(bytes.try_get_u16()?)?;
        let cookie = bytes.try_get_u64()?;
        let offset = bytes.try_get_u64()?;
        let length = bytes.try_get_u32()?;
        expect_end(bytes)?;
        Ok(Self { command, flags, cookie, offset, length })
    }
}

/// What a chunk brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkKind {
    /// Nothing: it only ends a reply.
    None,
    OffsetData,
    OffsetHole,
    BlockStatus,
    Error,
    ErrorOffset,
    /// An error of a newer protocol: its number and text are still where they always are.
    OtherError(u16),
}

impl ChunkKind {
    const ERROR: u16 = 1 << 15;

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::None => 0,
            Self::OffsetData => 1,
            Self::OffsetHole => 2,
            Self::BlockStatus => 5,
            Self::Error => Self::ERROR | 1,
            Self::ErrorOffset => Self::ERROR | 2,
            Self::OtherError(code) => code,
        }
    }

    /// The kind of a number on the wire. An unknown kind that is not an error cannot be skipped: it may be content.
    pub const fn from_code(kind: u16) -> Result<Self, Malformed> {
        Ok(match kind {
            0 => Self::None,
            1 => Self::OffsetData,
            2 => Self::OffsetHole,
            5 => Self::BlockStatus,
            0x8001 => Self::Error,
            0x8002 => Self::ErrorOffset,
            _ if kind & Self::ERROR != 0 => Self::OtherError(kind),
            _ => return Err(Malformed::UnknownChunk { kind }),
        })
    }

    /// The word for errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OffsetData => "offset_data",
            Self::OffsetHole => "offset_hole",
            Self::BlockStatus => "block_status",
            Self::Error => "error",
            Self::ErrorOffset => "error_offset",
            Self::OtherError(_) => "other_error",
        }
    }
}

/// The fixed part of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyHeader {
    Simple { error: u32, cookie: u64 },
    Chunk { done: bool, kind: ChunkKind, cookie: u64, length: u32 },
}

impl ReplyHeader {
    /// Length on the wire of the longest header, in bytes.
    pub const LENGTH_MAX: usize = 20;

    /// How long the header is that starts with `magic`, in bytes.
    pub const fn length(magic: [u8; REPLY_MAGIC_LENGTH]) -> Result<usize, Malformed> {
        match u32::from_be_bytes(magic) {
            SIMPLE_REPLY_MAGIC => Ok(16),
            CHUNK_MAGIC => Ok(Self::LENGTH_MAX),
            magic => Err(Malformed::ReplyMagic { magic }),
        }
    }

    /// Reads a header, its magic number included.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let header = match bytes.try_get_u32()? {
            SIMPLE_REPLY_MAGIC => {
                let (error, cookie) = (bytes.try_get_u32()?, bytes.try_get_u64()?);
                Self::Simple { error, cookie }
            }
            CHUNK_MAGIC => {
                let done = bytes.try_get_u16()? & CHUNK_DONE != 0;
                let kind = ChunkKind::from_code(bytes.try_get_u16()?)?;
                let (cookie, length) = (bytes.try_get_u64()?, bytes.try_get_u32()?);
                Self::Chunk { done, kind, cookie, length }
            }
            magic => return Err(Malformed::ReplyMagic { magic }),
        };
        expect_end(bytes)?;
        Ok(header)
    }

    /// Writes the header; a chunk's payload must follow.
    pub fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Simple { error, cookie } => {
                out.put_u32(SIMPLE_REPLY_MAGIC);
                out.put_u32(error);
                out.put_u64(cookie);
            }
            Self::Chunk { done, kind, cookie, length } => {
                out.put_u32(CHUNK_MAGIC);
                out.put_u16(if done { CHUNK_DONE } else { 0 });
                out.put_u16(kind.code());
                out.put_u64(cookie);
                out.put_u32(length);
            }
        }
    }
}

/// The payload of a chunk that says: these bytes are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoleChunk {
    pub offset: u64,
    pub length: u32,
}

impl HoleChunk {
    /// Length on the wire, in bytes.
    pub const LENGTH: u32 = 12;

    /// Reads the payload.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let (offset, length) = (bytes.try_get_u64()?, bytes.try_get_u32()?);
        expect_end(bytes)?;
        Ok(Self { offset, length })
    }

    /// Writes the payload.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_u64(self.offset);
        out.put_u32(self.length);
    }
}

/// The payload of a chunk that says what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorChunk {
    /// Never 0.
    pub errno: u32,
    /// The server's own words, printable and cut to a few lines.
    pub message: String,
    /// Where it went wrong, from an `ErrorOffset` chunk.
    pub offset: Option<u64>,
}

impl ErrorChunk {
    /// Longest payload that is read: number, text, offset.
    pub const LENGTH_MAX: u32 = 4 + 2 + MESSAGE_LENGTH_MAX as u32 + 8;
    /// How much of a server's text is kept, in characters.
    const MESSAGE_CHARS_MAX: usize = 400;

    /// Reads the payload of a chunk of `kind`.
    pub fn decode(kind: ChunkKind, mut bytes: &[u8]) -> Result<Self, Malformed> {
        let errno = bytes.try_get_u32()?;
        if errno == 0 {
            return Err(Malformed::ErrorZero);
        }
        let length = usize::from(bytes.try_get_u16()?);
        if length > MESSAGE_LENGTH_MAX {
            return Err(Malformed::TextTooLong { length });
        }
        let text = bytes.get(..length).ok_or(Malformed::Truncated)?;
        bytes.advance(length);
        let offset = match kind {
            ChunkKind::ErrorOffset => Some(bytes.try_get_u64()?),
            _ => None,
        };
        if !matches!(kind, ChunkKind::OtherError(_)) {
            expect_end(bytes)?;
        }
        Ok(Self { errno, message: printable(text), offset })
    }

    /// Writes the payload, with the offset if there is one. Panics: a message longer than 64 KiB.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.errno);
        out.put_u16(u16::try_from(self.message.len()).expect("an error text is short"));
        out.put_slice(self.message.as_bytes());
        if let Some(offset) = self.offset {
            out.put_u64(offset);
        }
    }
}

/// One run of bytes of the same status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Units: bytes. Never 0.
    pub length: u32,
    /// The flags of the chunk's context.
    pub flags: u32,
}

impl Status {
    /// `base:allocation`: nothing is allocated here.
    pub const HOLE: u32 = 1 << 0;
    /// `base:allocation`: this reads as zero.
    pub const ZERO: u32 = 1 << 1;
    /// A dirty bitmap: this may have changed.
    pub const DIRTY: u32 = 1 << 0;
}

/// The payload of a block status chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChunk {
    pub context_id: u32,
    /// Shape: at least one; the runs follow each other without a gap.
    pub runs: Vec<Status>,
}

impl StatusChunk {
    /// Longest payload that is read.
    pub const LENGTH_MAX: u32 = 4 + 8 * STATUS_DESCRIPTOR_COUNT_MAX;

    /// Reads the payload.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let context_id = bytes.try_get_u32()?;
        let mut runs = Vec::with_capacity(bytes.len() / 8);
        while !bytes.is_empty() {
            let run = Status { length: bytes.try_get_u32()?, flags: bytes.try_get_u32()? };
            if run.length == 0 {
                return Err(Malformed::StatusEmpty);
            }
            runs.push(run);
        }
        if runs.is_empty() { Err(Malformed::StatusEmpty) } else { Ok(Self { context_id, runs }) }
    }

    /// Writes the payload.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.context_id);
        for run in &self.runs {
            out.put_u32(run.length);
            out.put_u32(run.flags);
        }
    }
}

/// A stranger's text made fit for a log: control characters become spaces, the length has a bound.
pub(crate) fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .take(ErrorChunk::MESSAGE_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
