//! Answers judged chunk by chunk, without a connection.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::wire::CommandFlags;

const OFFSET: u64 = 1 << 20;
const LENGTH: u32 = 4096;

fn make_request(command: Command) -> Request {
    Request { command, flags: CommandFlags::default(), cookie: 1, offset: OFFSET, length: LENGTH }
}

fn make_read() -> Answer {
    Answer::data(make_request(Command::Read), BytesMut::zeroed(LENGTH as usize))
}

fn make_status() -> Answer {
    Answer::status(make_request(Command::BlockStatus), 3, None)
}

fn payload(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    encode(&mut out);
    out
}

fn status_payload(context_id: u32, lengths: &[u32]) -> BytesMut {
    let runs = lengths.iter().map(|&length| Status { length, flags: 3 }).collect();
    payload(|out| StatusChunk { context_id, runs }.encode(out))
}

#[test]
fn data_and_holes_in_any_order_make_the_whole() {
    let mut answer = make_read();
    answer.place(OFFSET + 3072, 1024).unwrap().fill(7);
    let hole = payload(|out| HoleChunk { offset: OFFSET + 1024, length: 2048 }.encode(out));
    answer.apply(ChunkKind::OffsetHole, &hole).unwrap();
    answer.place(OFFSET, 1024).unwrap().fill(9);
    let Content::Data(data) = answer.finish().unwrap().unwrap() else { panic!("not data") };
    assert!(data[..1024].iter().all(|&byte| byte == 9));
    assert!(data[1024..3072].iter().all(|&byte| byte == 0));
    assert!(data[3072..].iter().all(|&byte| byte == 7));
}

#[test]
fn a_read_that_is_not_covered_is_refused() {
    let mut answer = make_read();
    answer.place(OFFSET, 4095).unwrap();
    assert_eq!(answer.finish().unwrap_err(), Malformed::ReadIncomplete { actual: 4095, expected: 4096 });
}

#[test]
fn chunks_outside_of_the_request_are_refused() {
    for (offset, length) in [
        (OFFSET - 1, 1),
        (OFFSET + 4096, 1),
        (OFFSET + 1, 4096),
        (OFFSET, 0),
        (u64::MAX, 2),
        (OFFSET, u64::MAX),
    ] {
        let mut answer = make_read();
        assert_eq!(answer.place(offset, length).unwrap_err(), Malformed::ChunkOutside { offset, length });
    }
}

#[test]
fn a_byte_that_comes_twice_is_refused() {
    let mut answer = make_read();
    answer.place(OFFSET + 100, 100).unwrap();
    for (offset, length) in [(OFFSET + 199, 1), (OFFSET + 100, 1), (OFFSET + 50, 51), (OFFSET, 4096)] {
        assert_eq!(answer.place(offset, length).unwrap_err(), Malformed::ChunkOverlap { offset });
    }
}

#[test]
fn a_chunk_is_admitted_only_where_it_belongs() {
    let refused = |answer: &mut Answer, kind, length, done| {
        assert!(answer.admit(kind, length, done).is_err(), "{kind:?} of {length}");
    };
    refused(&mut make_status(), ChunkKind::OffsetData, 100, false);
    refused(&mut make_status(), ChunkKind::OffsetHole, 12, false);
    refused(&mut make_read(), ChunkKind::BlockStatus, 12, false);
    let mut flush = Answer::nothing(make_request(Command::Flush));
    refused(&mut flush, ChunkKind::OffsetData, 100, true);
    refused(&mut flush, ChunkKind::BlockStatus, 12, true);
    assert_eq!(flush.admit(ChunkKind::None, 0, true), Ok(()));
    refused(&mut make_read(), ChunkKind::None, 0, false);
}

#[test]
fn a_length_is_judged_before_the_payload_is_read() {
    for (kind, length) in [
        (ChunkKind::None, 1),
        (ChunkKind::OffsetData, 8),
        (ChunkKind::OffsetData, LENGTH + 9),
        (ChunkKind::OffsetData, u32::MAX),
        (ChunkKind::OffsetHole, 11),
        (ChunkKind::OffsetHole, 13),
        (ChunkKind::Error, ErrorChunk::LENGTH_MAX + 1),
        (ChunkKind::OtherError(0x8fff), u32::MAX),
    ] {
        let expected = Malformed::ChunkLength { kind: kind.name(), length };
        assert_eq!(make_read().admit(kind, length, true).unwrap_err(), expected);
    }
    for length in [0, 11, StatusChunk::LENGTH_MAX + 1, u32::MAX] {
        assert!(make_status().admit(ChunkKind::BlockStatus, length, true).is_err(), "{length}");
    }
}

#[test]
fn endless_chunks_come_to_an_end() {
    let mut answer = make_read();
    for _ in 0..CHUNK_COUNT_MAX {
        answer.admit(ChunkKind::Error, 6, false).unwrap();
    }
    let expected = Malformed::ChunkCount { max: CHUNK_COUNT_MAX };
    assert_eq!(answer.admit(ChunkKind::Error, 6, false).unwrap_err(), expected);
}

#[test]
fn an_error_chunk_fails_the_request_and_the_first_one_counts() {
    let mut answer = make_read();
    answer.place(OFFSET, 4096).unwrap();
    for (errno, message) in [(5, "bad sector"), (28, "")] {
        let error = ErrorChunk { errno, message: message.to_owned(), offset: Some(OFFSET) };
        answer.apply(ChunkKind::ErrorOffset, &payload(|out| error.encode(out))).unwrap();
    }
    let error = answer.finish().unwrap().unwrap_err();
    assert!(matches!(&error, Error::Server { errno: ServerErrno::InputOutput, .. }), "{error:?}");
    let text = "the NBD server failed to read 4096 bytes at 1048576: input/output error (bad sector)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn an_error_without_a_number_is_refused() {
    let zero = ErrorChunk { errno: 0, message: String::new(), offset: None };
    let refusal = make_read().apply(ChunkKind::Error, &payload(|out| zero.encode(out))).unwrap_err();
    assert_eq!(refusal, Malformed::ErrorZero);
}

#[test]
fn a_text_longer_than_its_chunk_is_refused() {
    let payload = b"\0\0\0\x05\x00\xffshort";
    let refusal = make_read().apply(ChunkKind::Error, payload).unwrap_err();
    assert_eq!(refusal, Malformed::Truncated);
    let payload = b"\0\0\0\x05\xff\xffshort";
    let refusal = make_read().apply(ChunkKind::Error, payload).unwrap_err();
    assert_eq!(refusal, Malformed::TextTooLong { length: 65535 });
}

#[test]
fn block_status_is_clipped_to_the_request() {
    let mut answer = make_status();
    answer.apply(ChunkKind::BlockStatus, &status_payload(3, &[1024, 1 << 30])).unwrap();
    let Content::Status(runs) = answer.finish().unwrap().unwrap() else { panic!("not a status") };
    assert_eq!(runs, [Status { length: 1024, flags: 3 }, Status { length: 3072, flags: 3 }]);
}

#[test]
fn block_status_must_come_once_for_our_context_and_not_beyond_the_request() {
    let apply = |answer: &mut Answer, payload: &BytesMut| answer.apply(ChunkKind::BlockStatus, payload);
    let other = apply(&mut make_status(), &status_payload(4, &[512])).unwrap_err();
    assert_eq!(other, Malformed::StatusContext { expected: 3, actual: 4 });
    let beyond = apply(&mut make_status(), &status_payload(3, &[4096, 1])).unwrap_err();
    assert_eq!(beyond, Malformed::ChunkOutside { offset: OFFSET + 4096, length: 1 });
    assert_eq!(apply(&mut make_status(), &status_payload(3, &[])).unwrap_err(), Malformed::StatusEmpty);
    assert_eq!(apply(&mut make_status(), &status_payload(3, &[0])).unwrap_err(), Malformed::StatusEmpty);
    let mut twice = make_status();
    apply(&mut twice, &status_payload(3, &[512])).unwrap();
    assert_eq!(apply(&mut twice, &status_payload(3, &[512])).unwrap_err(), Malformed::StatusCount);
    assert_eq!(make_status().finish().unwrap_err(), Malformed::StatusCount);
}

#[test]
fn of_two_contexts_the_wanted_one_is_the_answer_and_the_other_comes_once() {
    let make = || Answer::status(make_request(Command::BlockStatus), 3, Some(9));
    let apply = |answer: &mut Answer, context_id, lengths: &[u32]| {
        answer.apply(ChunkKind::BlockStatus, &status_payload(context_id, lengths))
    };
    for order in [[(9, [1024, 1024]), (3, [512, 512])], [(3, [512, 512]), (9, [1024, 1024])]] {
        let mut answer = make();
        for (context_id, lengths) in order {
            apply(&mut answer, context_id, &lengths).unwrap();
        }
        let Content::Status(runs) = answer.finish().unwrap().unwrap() else { panic!("not a status") };
        assert_eq!(runs, [Status { length: 512, flags: 3 }; 2]);
    }
    let mut twice = make();
    apply(&mut twice, 9, &[512]).unwrap();
    let error = apply(&mut twice, 9, &[512]).unwrap_err();
    assert_eq!(error, Malformed::StatusContext { expected: 3, actual: 9 });
    let mut only_other = make();
    apply(&mut only_other, 9, &[512]).unwrap();
    assert_eq!(only_other.finish().unwrap_err(), Malformed::StatusCount);
    assert!(apply(&mut make(), 9, &[4096, 512]).is_err(), "it says more than was asked about");
}

#[test]
fn simple_replies_are_for_what_brings_no_content() {
    let write = || Answer::nothing(make_request(Command::Write));
    assert!(matches!(write().finish_simple(0), Ok(Ok(Content::Nothing))));
    let full = write().finish_simple(28).unwrap().unwrap_err();
    assert!(matches!(full, Error::Server { errno: ServerErrno::NoSpace, .. }), "{full:?}");
    assert!(make_read().finish_simple(0).is_err());
    assert!(make_read().finish_simple(5).is_err());
    assert!(make_status().finish_simple(0).is_err());
    assert!(make_status().finish_simple(22).unwrap().is_err());
}

proptest! {
    /// The slow and obvious way is a byte map.
    #[test]
    fn coverage_agrees_with_a_byte_map(claims in prop::collection::vec((0..64usize, 1..16usize), 0..40)) {
        let mut coverage = Coverage::default();
        let mut map = [false; 96];
        for (start, length) in claims {
            let place = &mut map[start..start + length];
            let free = !place.contains(&true);
            prop_assert_eq!(coverage.claim(start as u64, (start + length) as u64), free);
            if free {
                place.fill(true);
            }
            prop_assert_eq!(coverage.sum(), map.iter().filter(|&&marked| marked).count() as u64);
            let apart = coverage.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
            prop_assert!(apart, "{:?}", coverage.ranges);
        }
    }

    #[test]
    fn arbitrary_payloads_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64), length: u32, done: bool, which in 0..6usize,
    ) {
        let kind = [
            ChunkKind::None, ChunkKind::OffsetHole, ChunkKind::BlockStatus,
            ChunkKind::Error, ChunkKind::ErrorOffset, ChunkKind::OtherError(0x9000),
        ][which];
        for mut answer in [make_read(), make_status(), Answer::nothing(make_request(Command::Flush))] {
            let _ = answer.admit(kind, length, done);
            let _ = answer.apply(kind, &bytes);
            let _ = answer.finish();
        }
    }
}
