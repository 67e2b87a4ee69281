//! The fixed newstyle handshake.
//!
//! ```text
//! S: "NBDMAGIC" "IHAVEOPT" flags:u16                              Greeting
//! C: flags:u32                                                    ClientFlags
//! C: "IHAVEOPT" option:u32 length:u32 data                        OptionRequest    ─┐ once per option
//! S: 0x3e889045565a9 option:u32 type:u32 length:u32 data          OptionReply…      ─┘ one or more
//! ```
//!
//! After the acknowledgement of `Go` both sides are in transmission.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Malformed;

const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943; // "NBDMAGIC"
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OLDSTYLE_MAGIC: u64 = 0x0000_4202_8186_1253;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// The one metadata context that is asked for: what is allocated, and what reads as zero.
pub const ALLOCATION_CONTEXT: &str = "base:allocation";
/// The beginning of qemu's contexts of dirty bitmaps; the bitmap's export name follows.
pub const DIRTY_BITMAP_CONTEXT: &str = "qemu:dirty-bitmap:";

/// Longest option reply that is read. The longest lawful one that we may be sent is a text of 4096 bytes after a few
/// numbers; twice that leaves room for information that is not known yet, and skipped.
pub const OPTION_REPLY_LENGTH_MAX: u32 = 8192;

/// The server's first words. Only its flags survive; the rest is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The server agrees to leave out 124 useless zero bytes.
    pub no_zeroes: bool,
}

impl Greeting {
    /// Length on the wire, in bytes.
    pub const LENGTH: usize = 18;
    const FIXED_NEWSTYLE: u16 = 1 << 0;
    const NO_ZEROES: u16 = 1 << 1;

    /// Reads a greeting; unknown flags are ignored, as the protocol asks.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.try_get_u64()? != INIT_MAGIC {
            return Err(Malformed::NotNbd);
        }
        match bytes.try_get_u64()? {
            OPTION_MAGIC => {}
            OLDSTYLE_MAGIC => return Err(Malformed::Oldstyle),
            _ => return Err(Malformed::NotNbd),
        }
        let flags = bytes.try_get_u16()?;
        expect_end(bytes)?;
        if flags & Self::FIXED_NEWSTYLE == 0 {
            return Err(Malformed::NotFixedNewstyle);
        }
        Ok(Self { no_zeroes: flags & Self::NO_ZEROES != 0 })
    }

    /// The greeting of a fixed newstyle server.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_u64(INIT_MAGIC);
        out.put_u64(OPTION_MAGIC);
        out.put_u16(Self::FIXED_NEWSTYLE | if self.no_zeroes { Self::NO_ZEROES } else { 0 });
    }
}

/// The client's answer to the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientFlags {
    pub no_zeroes: bool,
}

impl ClientFlags {
    /// Length on the wire, in bytes.
    pub const LENGTH: usize = 4;

    /// The flags of a fixed newstyle client.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_u32(1 | if self.no_zeroes { 2 } else { 0 });
    }

    /// Reads what a client sent.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let flags = bytes.try_get_u32()?;
        expect_end(bytes)?;
        if flags & 1 == 0 {
            return Err(Malformed::NotFixedNewstyle);
        }
        Ok(Self { no_zeroes: flags & 2 != 0 })
    }
}

/// What a client may ask for during the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    Abort,
    Go,
    StructuredReply,
    SetMetaContext,
    /// One that this client never sends; a server answers `Unsupported`.
    Other(u32),
}

impl OptionKind {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Abort => 2,
            Self::Go => 7,
            Self::StructuredReply => 8,
            Self::SetMetaContext => 10,
            Self::Other(code) => code,
        }
    }

    /// The kind of a number on the wire.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            2 => Self::Abort,
            7 => Self::Go,
            8 => Self::StructuredReply,
            10 => Self::SetMetaContext,
            other => Self::Other(other),
        }
    }

    /// The protocol's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abort => "NBD_OPT_ABORT",
            Self::Go => "NBD_OPT_GO",
            Self::StructuredReply => "NBD_OPT_STRUCTURED_REPLY",
            Self::SetMetaContext => "NBD_OPT_SET_META_CONTEXT",
            Self::Other(_) => "an unknown option",
        }
    }
}

/// One option with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionRequest {
    pub kind: OptionKind,
    pub data: Bytes,
}

impl OptionRequest {
    /// Length of the header on the wire, in bytes; the data follow.
    pub const HEADER_LENGTH: usize = 16;

    /// Header and data. Panics: `data` of 4 GiB or more, which no caller has.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(OPTION_MAGIC);
        out.put_u32(self.kind.code());
        out.put_u32(u32::try_from(self.data.len()).expect("option data are a few hundred bytes"));
        out.put_slice(&self.data);
    }

    /// Reads a header: the kind, and how many bytes of data follow.
    pub fn decode_header(mut bytes: &[u8]) -> Result<(OptionKind, u32), Malformed> {
        let magic = bytes.try_get_u64()?;
        if magic != OPTION_MAGIC {
            return Err(Malformed::OptionReplyMagic { magic });
        }
        let kind = OptionKind::from_code(bytes.try_get_u32()?);
        let length = bytes.try_get_u32()?;
        expect_end(bytes)?;
        Ok((kind, length))
    }
}

/// The data of `SetMetaContext`: an export and the contexts wanted of it.
#[must_use]
pub fn meta_context_data(export_name: &str, contexts: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    put_text(&mut out, export_name);
    out.put_u32(u32::try_from(contexts.len()).expect("we ask for one or two contexts"));
    for context in contexts {
        put_text(&mut out, context);
    }
    out.freeze()
}

/// The data of `Go`: the export, and that its block sizes are wanted.
#[must_use]
pub fn go_data(export_name: &str) -> Bytes {
    let mut out = BytesMut::new();
    put_text(&mut out, export_name);
    out.put_u16(1);
    out.put_u16(Info::BLOCK_SIZE);
    out.freeze()
}

/// What kind of reply an option got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionReplyKind {
    Ack,
    Info,
    MetaContext,
    /// Bit 31 set: a refusal. Its data are a text for humans.
    Refusal(u32),
    Other(u32),
}

impl OptionReplyKind {
    const REFUSAL: u32 = 1 << 31;
    /// The server does not know the option.
    pub const UNSUPPORTED: Self = Self::Refusal(Self::REFUSAL | 1);
    /// The server does not have the export.
    pub const UNKNOWN_EXPORT: Self = Self::Refusal(Self::REFUSAL | 6);

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::Ack => 1,
            Self::Info => 3,
            Self::MetaContext => 4,
            Self::Refusal(code) | Self::Other(code) => code,
        }
    }

    /// The kind of a number on the wire.
    #[must_use]
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Ack,
            3 => Self::Info,
            4 => Self::MetaContext,
            refusal if refusal & Self::REFUSAL != 0 => Self::Refusal(refusal),
            other => Self::Other(other),
        }
    }

    /// The protocol's word for a refusal.
    #[must_use]
    pub const fn refusal_name(code: u32) -> &'static str {
        match code & !Self::REFUSAL {
            1 => "not supported",
            2 => "forbidden by policy",
            3 => "invalid request",
            4 => "not supported on this platform",
            5 => "TLS required",
            6 => "unknown export",
            7 => "server is shutting down",
            8 => "block size required",
            9 => "request too big",
            10 => "extended headers required",
            _ => "refused",
        }
    }
}

/// The fixed part of an option reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionReplyHeader {
    pub option: OptionKind,
    pub kind: OptionReplyKind,
    /// How many bytes of data follow; at most [`OPTION_REPLY_LENGTH_MAX`].
    pub length: u32,
}

impl OptionReplyHeader {
    /// Length on the wire, in bytes.
    pub const LENGTH: usize = 20;

    /// Reads a header; a longer reply than any lawful one is refused here, before it is read.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let magic = bytes.try_get_u64()?;
        if magic != OPTION_REPLY_MAGIC {
            return Err(Malformed::OptionReplyMagic { magic });
        }
        let option = OptionKind::from_code(bytes.try_get_u32()?);
        let kind = OptionReplyKind::from_code(bytes.try_get_u32()?);
        let length = bytes.try_get_u32()?;
        expect_end(bytes)?;
        if length > OPTION_REPLY_LENGTH_MAX {
            return Err(Malformed::OptionReplyTooLong { length });
        }
        Ok(Self { option, kind, length })
    }

    /// Writes the header; `length` bytes of data must follow.
    pub fn encode(self, out: &mut BytesMut) {
        out.put_u64(OPTION_REPLY_MAGIC);
        out.put_u32(self.option.code());
        out.put_u32(self.kind.code());
        out.put_u32(self.length);
    }
}

/// What a server says of an export, in an `Info` reply to `Go`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Info {
    Export {
        size: u64,
        flags: TransmissionFlags,
    },
    BlockSize {
        minimum: u32,
        preferred: u32,
        maximum: u32,
    },
    /// A name, a description or something newer: of no use here.
    Other(u16),
}

impl Info {
    const EXPORT: u16 = 0;
    const BLOCK_SIZE: u16 = 3;
    /// Disks end at what a signed 64 bit offset can name, in the kernel as in qemu.
    const EXPORT_SIZE_MAX: u64 = i64::MAX as u64;

    /// Reads the data of an `Info` reply.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let info = match bytes.try_get_u16()? {
            Self::EXPORT => {
                let (size, flags) = (bytes.try_get_u64()?, bytes.try_get_u16()?);
                if size > Self::EXPORT_SIZE_MAX {
                    return Err(Malformed::ExportSize { size });
                }
                Self::Export { size, flags: TransmissionFlags::from_bits(flags)? }
            }
            Self::BLOCK_SIZE => {
                let (minimum, preferred, maximum) =
                    (bytes.try_get_u32()?, bytes.try_get_u32()?, bytes.try_get_u32()?);
                let sound = minimum.is_power_of_two()
                    && minimum <= 64 << 10
                    && preferred.is_power_of_two()
                    && preferred >= minimum
                    && maximum >= preferred;
                if !sound {
                    return Err(Malformed::BlockSize { minimum, preferred, maximum });
                }
                Self::BlockSize { minimum, preferred, maximum }
            }
            other => return Ok(Self::Other(other)),
        };
        expect_end(bytes)?;
        Ok(info)
    }

    /// The data of an `Info` reply.
    pub fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Export { size, flags } => {
                out.put_u16(Self::EXPORT);
                out.put_u64(size);
                out.put_u16(flags.bits());
            }
            Self::BlockSize { minimum, preferred, maximum } => {
                out.put_u16(Self::BLOCK_SIZE);
                out.put_u32(minimum);
                out.put_u32(preferred);
                out.put_u32(maximum);
            }
            Self::Other(kind) => out.put_u16(kind),
        }
    }
}

/// What the export allows. Source: proto.md, "Transmission flags".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransmissionFlags(u16);

impl TransmissionFlags {
    const HAS_FLAGS: u16 = 1 << 0;
    /// Writing is refused.
    pub const READ_ONLY: u16 = 1 << 1;
    /// `Command::Flush` is understood.
    pub const FLUSH: u16 = 1 << 2;
    /// `Command::Trim` is understood.
    pub const TRIM: u16 = 1 << 5;
    /// `Command::WriteZeroes` is understood.
    pub const WRITE_ZEROES: u16 = 1 << 6;

    /// Takes the bits off the wire; unknown ones are kept and mean nothing.
    pub const fn from_bits(bits: u16) -> Result<Self, Malformed> {
        if bits & Self::HAS_FLAGS == 0 {
            return Err(Malformed::TransmissionFlags { flags: bits });
        }
        Ok(Self(bits))
    }

    /// Flags with the given bits, for a server.
    #[must_use]
    pub const fn new(bits: u16) -> Self {
        Self(bits | Self::HAS_FLAGS)
    }

    /// The bits on the wire.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether every bit of `mask` is set.
    #[must_use]
    pub const fn contains(self, mask: u16) -> bool {
        self.0 & mask == mask
    }
}

/// A metadata context that the server agreed to, and the number by which its replies name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaContext {
    pub id: u32,
    pub name: String,
}

impl MetaContext {
    /// Reads the data of a `MetaContext` reply. The name is what is left, so the reply's own bound bounds it.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let id = bytes.try_get_u32()?;
        Ok(Self { id, name: String::from_utf8_lossy(bytes).into_owned() })
    }

    /// The data of a `MetaContext` reply.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.id);
        out.put_slice(self.name.as_bytes());
    }
}

/// Refuses what is left of a message that should be over.
pub(super) fn expect_end(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.is_empty() { Ok(()) } else { Err(Malformed::Trailing { count: bytes.len() }) }
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(u32::try_from(text.len()).expect("names that we send are short"));
    out.put_slice(text.as_bytes());
}
