//! The handshake: from a fresh stream to an export that is ready for requests.
//!
//! ```text
//! greeting ─▶ StructuredReply (must be taken) ─▶ SetMetaContext base:allocation and, if asked for, a dirty bitmap
//!          (may be refused) ─▶ Go ─▶ Export
//! ```

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Error;
use crate::wire::{
    ALLOCATION_CONTEXT, ClientFlags, DIRTY_BITMAP_CONTEXT, Greeting, Info, Malformed, MetaContext,
    OptionKind, OptionReplyHeader, OptionReplyKind, OptionRequest, TransmissionFlags, go_data,
    meta_context_data, printable,
};

/// Most replies to one option. A server has some four things to say about an export; a hostile one would go on.
const OPTION_REPLY_COUNT_MAX: usize = 64;

/// What the server exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Units: bytes.
    pub size: u64,
    pub flags: TransmissionFlags,
    pub block_size: BlockSize,
    /// The number by which block status replies name `base:allocation`; absent when the server does not know it.
    pub allocation_context: Option<u32>,
    /// The same for the dirty bitmap of [`crate::Options`]; absent when the server has no bitmap of that name.
    pub dirty_context: Option<u32>,
}

/// The sizes that requests must keep to. Units: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSize {
    /// Offsets and lengths are multiples of it. Invariant: a power of two.
    pub minimum: u32,
    /// Longest request that carries data.
    pub maximum: u32,
}

impl BlockSize {
    /// What holds for a server that says nothing. Source: proto.md, "Block size constraints".
    const DEFAULT: Self = Self { minimum: 1, maximum: 32 << 20 };
}

/// Runs the whole handshake for the export `name`, asking for the bitmap `dirty_bitmap` too.
///
/// Errors: `Malformed`, `OptionRefused`, `Lost`. Cancel safe: no; the caller drops the stream.
pub(crate) async fn negotiate<S>(
    stream: &mut S,
    name: &str,
    dirty_bitmap: Option<&str>,
) -> Result<Export, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut greeting = [0; Greeting::LENGTH];
    stream.read_exact(&mut greeting).await?;
    let Greeting { no_zeroes } = Greeting::decode(&greeting)?;
    let mut out = BytesMut::new();
    ClientFlags { no_zeroes }.encode(&mut out);
    stream.write_all(&out).await?;

    ask_structured_replies(stream).await?;
    let contexts = ask_contexts(stream, name, dirty_bitmap).await?;
    ask_export(stream, name, contexts).await
}

/// The numbers of the contexts that were agreed on.
#[derive(Debug, Clone, Copy, Default)]
struct Contexts {
    allocation: Option<u32>,
    dirty: Option<u32>,
}

impl Contexts {
    /// Takes an offered context. False when it was not asked for, came before, or has another's number.
    fn take(&mut self, offered: &MetaContext, dirty_name: Option<&str>) -> bool {
        let taken = [self.allocation, self.dirty].contains(&Some(offered.id));
        let place = match offered.name.as_str() {
            ALLOCATION_CONTEXT => &mut self.allocation,
            name if Some(name) == dirty_name => &mut self.dirty,
            _ => return false,
        };
        !taken && place.replace(offered.id).is_none()
    }
}

async fn ask_structured_replies<S>(stream: &mut S) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const OPTION: OptionKind = OptionKind::StructuredReply;
    send_option(stream, OPTION, Bytes::new()).await?;
    match receive_reply(stream, OPTION).await? {
        (OptionReplyKind::Ack, _) => Ok(()),
        (kind, text) => Err(refusal(OPTION, kind, &text)),
    }
}

/// Asks for `base:allocation` and for a bitmap. None: the server does not know metadata contexts, or not these.
async fn ask_contexts<S>(stream: &mut S, name: &str, dirty_bitmap: Option<&str>) -> Result<Contexts, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const OPTION: OptionKind = OptionKind::SetMetaContext;
    let dirty_name = dirty_bitmap.map(|bitmap| format!("{DIRTY_BITMAP_CONTEXT}{bitmap}"));
    let wanted: Vec<&str> = [ALLOCATION_CONTEXT].into_iter().chain(dirty_name.as_deref()).collect();
    send_option(stream, OPTION, meta_context_data(name, &wanted)).await?;
    let mut contexts = Contexts::default();
    for _ in 0..OPTION_REPLY_COUNT_MAX {
        match receive_reply(stream, OPTION).await? {
            (OptionReplyKind::Ack, _) => return Ok(contexts),
            (OptionReplyKind::UNSUPPORTED, _) => return Ok(Contexts::default()),
            (OptionReplyKind::MetaContext, data) => {
                let offered = MetaContext::decode(&data)?;
                if !contexts.take(&offered, dirty_name.as_deref()) {
                    return Err(Malformed::MetaContext { name: printable(offered.name.as_bytes()) }.into());
                }
            }
            (kind, text) => return Err(refusal(OPTION, kind, &text)),
        }
    }
    Err(Malformed::OptionReplyCount { max: OPTION_REPLY_COUNT_MAX }.into())
}

/// Asks for the export itself. After its acknowledgement the server expects requests.
async fn ask_export<S>(stream: &mut S, name: &str, contexts: Contexts) -> Result<Export, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const OPTION: OptionKind = OptionKind::Go;
    send_option(stream, OPTION, go_data(name)).await?;
    let mut export = None;
    let mut block_size = BlockSize::DEFAULT;
    for _ in 0..OPTION_REPLY_COUNT_MAX {
        match receive_reply(stream, OPTION).await? {
            (OptionReplyKind::Ack, _) => {
                let (size, flags) = export.ok_or(Malformed::ExportMissing)?;
                let Contexts { allocation: allocation_context, dirty: dirty_context } = contexts;
                return Ok(Export { size, flags, block_size, allocation_context, dirty_context });
            }
            (OptionReplyKind::Info, data) => match Info::decode(&data)? {
                Info::Export { size, flags } => export = Some((size, flags)),
                Info::BlockSize { minimum, maximum, .. } => block_size = BlockSize { minimum, maximum },
                Info::Other(_) => {}
            },
            (kind, text) => return Err(refusal(OPTION, kind, &text)),
        }
    }
    Err(Malformed::OptionReplyCount { max: OPTION_REPLY_COUNT_MAX }.into())
}

async fn send_option<S: AsyncWrite + Unpin>(
    stream: &mut S,
    kind: OptionKind,
    data: Bytes,
) -> Result<(), Error> {
    let mut out = BytesMut::new();
    OptionRequest { kind, data }.encode(&mut out);
    stream.write_all(&out).await?;
    Ok(())
}

/// Reads one reply to `option`: its kind and data.
async fn receive_reply<S: AsyncRead + Unpin>(
    stream: &mut S,
    option: OptionKind,
) -> Result<(OptionReplyKind, Vec<u8>), Error> {
    let mut header = [0; OptionReplyHeader::LENGTH];
    stream.read_exact(&mut header).await?;
    let header = OptionReplyHeader::decode(&header)?;
    if header.option != option {
        return Err(
            Malformed::OptionMismatch { expected: option.code(), actual: header.option.code() }.into()
        );
    }
    let mut data = vec![0; header.length as usize]; // `decode` bounded it
    stream.read_exact(&mut data).await?;
    Ok((header.kind, data))
}

/// The error for a reply that is neither agreement nor expected information.
fn refusal(option: OptionKind, kind: OptionReplyKind, text: &[u8]) -> Error {
    match kind {
        OptionReplyKind::Refusal(code) => Error::OptionRefused {
            option: option.name(),
            reason: OptionReplyKind::refusal_name(code),
            message: printable(text),
        },
        other => Malformed::OptionReplyKind { option: option.code(), kind: other.code() }.into(),
    }
}
