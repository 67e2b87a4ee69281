//! The codec: bytes to typed messages and back, and nothing else. Pure; no I/O, no state, no allocation beyond the
//! message at hand. The client uses one direction of it; the tests' servers use the other.
//!
//! All numbers are big-endian. Messages of the handshake are in [`handshake`], those after it in [`transmission`].

mod handshake;
mod malformed;
mod transmission;

pub use handshake::{
    ALLOCATION_CONTEXT, ClientFlags, DIRTY_BITMAP_CONTEXT, Greeting, Info, MetaContext,
    OPTION_REPLY_LENGTH_MAX, OptionKind, OptionReplyHeader, OptionReplyKind, OptionRequest,
    TransmissionFlags, go_data, meta_context_data,
};
pub use malformed::Malformed;
pub use transmission::{
    CHUNK_DONE, ChunkKind, Command, CommandFlags, ErrorChunk, HoleChunk, MESSAGE_LENGTH_MAX,
    REPLY_MAGIC_LENGTH, ReplyHeader, Request, STATUS_DESCRIPTOR_COUNT_MAX, Status, StatusChunk,
};

pub(crate) use transmission::printable;

#[cfg(test)]
mod tests;
