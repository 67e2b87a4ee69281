//! The ways in which bytes can break the protocol.

use bytes::TryGetError;

/// A breach of the protocol by the server. The connection is over: where the next message starts is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    #[error("a message ends early")]
    Truncated,
    #[error("a message has {count} bytes too many")]
    Trailing { count: usize },
    #[error("the greeting does not start with NBDMAGIC")]
    NotNbd,
    #[error("the server speaks the oldstyle handshake, which is not supported")]
    Oldstyle,
    #[error("the server does not offer the fixed newstyle handshake")]
    NotFixedNewstyle,
    #[error("an option reply has the magic number {magic:#x}")]
    OptionReplyMagic { magic: u64 },
    #[error("a reply to option {actual} came where option {expected} was asked")]
    OptionMismatch { expected: u32, actual: u32 },
    #[error("an option reply of {length} bytes is too long")]
    OptionReplyTooLong { length: u32 },
    #[error("more than {max} replies to one option")]
    OptionReplyCount { max: usize },
    #[error("option reply type {kind:#x} does not belong to option {option}")]
    OptionReplyKind { option: u32, kind: u32 },
    #[error("the acknowledgement of the export came without its size")]
    ExportMissing,
    #[error("an export of {size} bytes is larger than any disk")]
    ExportSize { size: u64 },
    #[error("transmission flags {flags:#x} lack the bit that says they are flags")]
    TransmissionFlags { flags: u16 },
    #[error("block sizes {minimum}, {preferred}, {maximum} contradict each other")]
    BlockSize { minimum: u32, preferred: u32, maximum: u32 },
    #[error("a metadata context that was not asked for: {name}")]
    MetaContext { name: String },
    #[error("a request has the magic number {magic:#x}")]
    RequestMagic { magic: u32 },
    #[error("unknown command {command}")]
    UnknownCommand { command: u16 },
    #[error("a reply has the magic number {magic:#x}")]
    ReplyMagic { magic: u32 },
    #[error("a reply to cookie {cookie}, which is not pending")]
    UnknownCookie { cookie: u64 },
    #[error("a simple reply to {command}, which takes structured replies only")]
    SimpleReply { command: &'static str },
    #[error("unknown chunk type {kind:#x}")]
    UnknownChunk { kind: u16 },
    #[error("a chunk of type {kind} in a reply to {command}")]
    ChunkOutOfPlace { kind: &'static str, command: &'static str },
    #[error("a chunk of type {kind} with a length of {length} bytes")]
    ChunkLength { kind: &'static str, length: u32 },
    #[error("more than {max} chunks in one reply")]
    ChunkCount { max: u32 },
    #[error("a chunk for {length} bytes at {offset} lies outside of what was asked")]
    ChunkOutside { offset: u64, length: u64 },
    #[error("two chunks bring byte {offset}")]
    ChunkOverlap { offset: u64 },
    #[error("a reply brought {actual} of {expected} bytes and no error")]
    ReadIncomplete { actual: u64, expected: u64 },
    #[error("an error chunk with error number 0")]
    ErrorZero,
    #[error("a text of {length} bytes is too long")]
    TextTooLong { length: usize },
    #[error("block status for context {actual} where {expected} was agreed")]
    StatusContext { expected: u32, actual: u32 },
    #[error("block status without a descriptor, or with one of length 0")]
    StatusEmpty,
    #[error("block status came twice, or not at all")]
    StatusCount,
}

impl From<TryGetError> for Malformed {
    /// A field was asked for where the message has no more bytes.
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}
