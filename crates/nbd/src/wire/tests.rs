//! Round trips of every message, and arbitrary bytes into every decoder.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

fn commands() -> impl Strategy<Value = Command> {
    prop::sample::select(vec![
        Command::Read,
        Command::Write,
        Command::Disconnect,
        Command::Flush,
        Command::Trim,
        Command::WriteZeroes,
        Command::BlockStatus,
    ])
}

fn chunk_kinds() -> impl Strategy<Value = ChunkKind> {
    prop::sample::select(vec![
        ChunkKind::None,
        ChunkKind::OffsetData,
        ChunkKind::OffsetHole,
        ChunkKind::BlockStatus,
        ChunkKind::Error,
        ChunkKind::ErrorOffset,
        ChunkKind::OtherError(0x8123),
    ])
}

fn infos() -> impl Strategy<Value = Info> {
    let exports = (0..=i64::MAX as u64, any::<u16>())
        .prop_map(|(size, bits)| Info::Export { size, flags: TransmissionFlags::new(bits) });
    let sizes = (0..=16u32, 0..8u32, any::<u32>()).prop_map(|(minimum, more, maximum)| {
        let preferred = 1 << (minimum + more);
        Info::BlockSize { minimum: 1 << minimum, preferred, maximum: maximum.max(preferred) }
    });
    prop_oneof![exports, sizes, (4..u16::MAX).prop_map(Info::Other)]
}

proptest! {
    #[test]
    fn handshake_messages_survive_the_wire(
        no_zeroes: bool,
        code: u32,
        reply_code: u32,
        length in 0..=OPTION_REPLY_LENGTH_MAX,
        data in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let greeting = Greeting { no_zeroes };
        let bytes = encoded(|out| greeting.encode(out));
        prop_assert_eq!(bytes.len(), Greeting::LENGTH);
        prop_assert_eq!(Greeting::decode(&bytes), Ok(greeting));

        let flags = ClientFlags { no_zeroes };
        let bytes = encoded(|out| flags.encode(out));
        prop_assert_eq!(bytes.len(), ClientFlags::LENGTH);
        prop_assert_eq!(ClientFlags::decode(&bytes), Ok(flags));

        let option = OptionRequest { kind: OptionKind::from_code(code), data: Bytes::from(data) };
        let bytes = encoded(|out| option.encode(out));
        let (header, rest) = bytes.split_at(OptionRequest::HEADER_LENGTH);
        let decoded = OptionRequest::decode_header(header);
        prop_assert_eq!(decoded, Ok((option.kind, u32::try_from(option.data.len()).unwrap())));
        prop_assert_eq!(rest, &option.data);

        let (option, kind) = (OptionKind::from_code(code), OptionReplyKind::from_code(reply_code));
        prop_assert_eq!((option.code(), kind.code()), (code, reply_code));
        let reply = OptionReplyHeader { option, kind, length };
        let bytes = encoded(|out| reply.encode(out));
        prop_assert_eq!(bytes.len(), OptionReplyHeader::LENGTH);
        prop_assert_eq!(OptionReplyHeader::decode(&bytes), Ok(reply));
    }

    #[test]
    fn descriptions_of_an_export_survive_the_wire(info in infos(), id: u32, name in ".{0,40}") {
        let bytes = encoded(|out| info.encode(out));
        prop_assert_eq!(Info::decode(&bytes), Ok(info));
        let context = MetaContext { id, name };
        let bytes = encoded(|out| context.encode(out));
        prop_assert_eq!(MetaContext::decode(&bytes), Ok(context));
    }

    #[test]
    fn requests_survive_the_wire(command in commands(), flags: u16, cookie: u64, offset: u64, length: u32) {
        let request = Request { command, flags: CommandFlags(flags), cookie, offset, length };
        let bytes = encoded(|out| request.encode(out));
        prop_assert_eq!(bytes.len(), Request::LENGTH);
        prop_assert_eq!(Request::decode(&bytes), Ok(request));
    }

    #[test]
    fn reply_headers_survive_the_wire(
        kind in chunk_kinds(), done: bool, error: u32, cookie: u64, length: u32, simple: bool,
    ) {
        let header = if simple {
            ReplyHeader::Simple { error, cookie }
        } else {
            ReplyHeader::Chunk { done, kind, cookie, length }
        };
        let bytes = encoded(|out| header.encode(out));
        let magic = bytes.first_chunk().copied().unwrap();
        prop_assert_eq!(ReplyHeader::length(magic), Ok(bytes.len()));
        prop_assert_eq!(ReplyHeader::decode(&bytes), Ok(header));
    }

    #[test]
    fn payloads_survive_the_wire(
        offset: u64,
        length: u32,
        errno in 1..u32::MAX,
        message in "[ -~]{0,80}",
        runs in prop::collection::vec((1..u32::MAX, any::<u32>()), 1..20),
    ) {
        let hole = HoleChunk { offset, length };
        let bytes = encoded(|out| hole.encode(out));
        prop_assert_eq!(bytes.len(), HoleChunk::LENGTH as usize);
        prop_assert_eq!(HoleChunk::decode(&bytes), Ok(hole));

        for (kind, offset) in [(ChunkKind::Error, None), (ChunkKind::ErrorOffset, Some(offset))] {
            let error = ErrorChunk { errno, message: message.clone(), offset };
            let bytes = encoded(|out| error.encode(out));
            prop_assert_eq!(ErrorChunk::decode(kind, &bytes), Ok(error));
        }

        let runs = runs.into_iter().map(|(length, flags)| Status { length, flags }).collect();
        let status = StatusChunk { context_id: length, runs };
        let bytes = encoded(|out| status.encode(out));
        prop_assert_eq!(StatusChunk::decode(&bytes), Ok(status));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..96), code: u16) {
        let _ = Greeting::decode(&bytes);
        let _ = ClientFlags::decode(&bytes);
        let _ = OptionRequest::decode_header(&bytes);
        let _ = OptionReplyHeader::decode(&bytes);
        let _ = Info::decode(&bytes);
        let _ = MetaContext::decode(&bytes);
        let _ = Request::decode(&bytes);
        let _ = ReplyHeader::decode(&bytes);
        let _ = HoleChunk::decode(&bytes);
        let _ = StatusChunk::decode(&bytes);
        if let Ok(kind) = ChunkKind::from_code(code) {
            prop_assert_eq!(kind.code(), code);
            let _ = ErrorChunk::decode(kind, &bytes);
        }
        if let Some(magic) = bytes.first_chunk() {
            let _ = ReplyHeader::length(*magic);
        }
    }

    /// The magic numbers are right here, so that the bytes reach the fields behind them.
    #[test]
    fn arbitrary_fields_after_the_right_magic_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 16..32)) {
        for magic in [0x6744_6698_u32, 0x668e_33ef, 0x2560_9513] {
            bytes[..4].copy_from_slice(&magic.to_be_bytes());
            let _ = ReplyHeader::decode(&bytes);
            let _ = Request::decode(&bytes);
        }
        bytes[..8].copy_from_slice(&0x0003_e889_0455_65a9_u64.to_be_bytes());
        let _ = OptionReplyHeader::decode(&bytes);
    }

    #[test]
    fn a_cut_message_is_truncated_and_a_long_one_has_trailing_bytes(cut in 0..Request::LENGTH) {
        let request =
            Request { command: Command::Read, flags: CommandFlags(0), cookie: 1, offset: 2, length: 3 };
        let mut bytes = encoded(|out| request.encode(out));
        prop_assert_eq!(Request::decode(&bytes[..cut]), Err(Malformed::Truncated));
        bytes.extend_from_slice(&[0]);
        prop_assert_eq!(Request::decode(&bytes), Err(Malformed::Trailing { count: 1 }));
    }
}

/// Bytes as qemu-nbd and the protocol's text have them: a codec that is wrong in both directions fails here.
#[test]
fn the_numbers_on_the_wire_are_the_protocols() {
    let greeting = encoded(|out| Greeting { no_zeroes: true }.encode(out));
    assert_eq!(&greeting[..], b"NBDMAGICIHAVEOPT\x00\x03");
    let request =
        Request { command: Command::Write, flags: CommandFlags(2), cookie: 7, offset: 512, length: 4096 };
    let bytes = encoded(|out| request.encode(out));
    let expected = b"\x25\x60\x95\x13\x00\x02\x00\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x02\0\0\0\x10\0";
    assert_eq!(&bytes[..], expected);
    let data = go_data("x");
    assert_eq!(&data[..], b"\0\0\0\x01x\0\x01\0\x03");
    let data = meta_context_data("", &[ALLOCATION_CONTEXT]);
    assert_eq!(&data[..], b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation");
}

#[test]
fn a_greeting_of_something_else_is_named() {
    assert_eq!(Greeting::decode(b"HTTP/1.1 400 Bad R"), Err(Malformed::NotNbd));
    assert_eq!(Greeting::decode(b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\0\0"), Err(Malformed::Oldstyle));
    assert_eq!(Greeting::decode(b"NBDMAGICIHAVEOPT\0\0"), Err(Malformed::NotFixedNewstyle));
}

#[test]
fn a_servers_text_is_made_fit_for_a_log() {
    assert_eq!(printable(b"disk\x1b[31m\nfull\xff"), "disk [31m full\u{fffd}");
    assert_eq!(printable(&[b'x'; 4096]).len(), 400);
}
