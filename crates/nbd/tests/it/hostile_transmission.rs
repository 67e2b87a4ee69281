//! Servers that shake hands rightly and answer wrongly. The connection ends with a named error, for every call at once.

use bytes::Bytes;
use nbd::wire::{ChunkKind, Malformed, ReplyHeader};
use nbd::{Client, Error, ServerErrno};
use proptest::prelude::*;

use crate::fake_server::{FakeServer, SIZE, connect_then, pattern, within};

const LENGTH: u64 = 4096;

/// Reads from a server whose answer must be refused for a breach of the protocol; afterwards the connection is over.
async fn breach<F>(behaviour: impl FnOnce(FakeServer) -> F + Send + 'static) -> Malformed
where
    F: Future<Output = ()> + Send + 'static,
{
    let client = connect_then(behaviour).await;
    let error = within(client.read(0, LENGTH)).await.unwrap_err();
    let later = within(client.read(0, LENGTH)).await.unwrap_err();
    assert_eq!(error.to_string(), later.to_string(), "every call gets the reason");
    match error {
        Error::Malformed { source } => source,
        other => panic!("not a breach: {other:?}"),
    }
}

#[tokio::test]
async fn a_reply_to_nothing_is_refused() {
    let wrong = |mut server: FakeServer| async move {
        let request = server.request().await;
        server.data(request.cookie + 1, true, 0, &[0; 4096]).await;
        server.wait_for_end().await;
    };
    assert!(matches!(breach(wrong).await, Malformed::UnknownCookie { .. }));
}

#[tokio::test]
async fn bytes_out_of_the_blue_end_an_idle_connection() {
    let client = connect_then(|mut server| async move {
        server.send_encoded(|out| ReplyHeader::Simple { error: 0, cookie: 1 }.encode(out)).await;
        server.wait_for_end().await;
    })
    .await;
    let error = within(client.read(0, LENGTH)).await.unwrap_err();
    // The read may have been sent by then, in which case the reply is one of the wrong kind.
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_second_reply_to_the_same_request_is_refused() {
    let client = connect_then(|mut server| async move {
        let request = server.request().await;
        server.answer(request).await;
        server.answer(request).await;
        server.wait_for_end().await;
    })
    .await;
    assert_eq!(within(client.read(0, LENGTH)).await.unwrap(), pattern(0, 4096));
    let error = within(client.read(0, LENGTH)).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { source: Malformed::UnknownCookie { .. } }), "{error:?}");
}

#[tokio::test]
async fn a_wrong_magic_number_is_refused() {
    let wrong = |mut server: FakeServer| async move {
        server.request().await;
        server.send(&[0xee; 64]).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(wrong).await, Malformed::ReplyMagic { magic: 0xeeee_eeee });
}

#[tokio::test]
async fn a_chunk_that_claims_four_gigabytes_is_refused_before_it_is_read() {
    for kind in [ChunkKind::OffsetData, ChunkKind::Error, ChunkKind::OtherError(0x8765), ChunkKind::None] {
        let greedy = move |mut server: FakeServer| async move {
            let cookie = server.request().await.cookie;
            let header = ReplyHeader::Chunk { done: true, kind, cookie, length: u32::MAX };
            server.send_encoded(|out| header.encode(out)).await;
            server.wait_for_end().await;
        };
        assert_eq!(breach(greedy).await, Malformed::ChunkLength { kind: kind.name(), length: u32::MAX });
    }
}

#[tokio::test]
async fn data_and_holes_that_were_not_asked_for_are_refused() {
    let beyond = |mut server: FakeServer| async move {
        let cookie = server.request().await.cookie;
        server.data(cookie, true, 512, &[0; 4096]).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(beyond).await, Malformed::ChunkOutside { offset: 512, length: 4096 });
    let vast = |mut server: FakeServer| async move {
        let cookie = server.request().await.cookie;
        server.hole(cookie, true, 0, u32::MAX).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(vast).await, Malformed::ChunkOutside { offset: 0, length: u64::from(u32::MAX) });
    let twice = |mut server: FakeServer| async move {
        let cookie = server.request().await.cookie;
        server.hole(cookie, false, 0, 4096).await;
        server.data(cookie, true, 4095, &[1]).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(twice).await, Malformed::ChunkOverlap { offset: 4095 });
}

#[tokio::test]
async fn a_read_that_is_said_to_be_done_and_is_not_is_refused() {
    let short = |mut server: FakeServer| async move {
        let cookie = server.request().await.cookie;
        server.data(cookie, true, 0, &[1; 4095]).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(short).await, Malformed::ReadIncomplete { actual: 4095, expected: 4096 });
    let simple = |mut server: FakeServer| async move {
        let cookie = server.request().await.cookie;
        server.done(cookie).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(simple).await, Malformed::SimpleReply { command: "read" });
}

#[tokio::test]
async fn an_endless_reply_comes_to_an_end() {
    let endless = |mut server: FakeServer| async move {
        let cookie = server.request().await.cookie;
        while !server.stream_is_closed() {
            server.chunk(cookie, false, ChunkKind::Error, b"\0\0\0\x05\0\0").await;
            tokio::task::yield_now().await;
        }
    };
    assert!(matches!(breach(endless).await, Malformed::ChunkCount { .. }));
}

#[tokio::test]
async fn block_status_that_makes_no_progress_is_refused() {
    for runs in [&[][..], &[(0, 0)], &[(512, 0), (0, 3)]] {
        let client = connect_then(move |mut server| async move {
            let cookie = server.request().await.cookie;
            server.status(cookie, runs).await;
            server.wait_for_end().await;
        })
        .await;
        let error = within(client.block_status(0, LENGTH)).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_leaves_in_the_middle_of_a_payload_fails_every_call_at_once() {
    let client = connect_then(|mut server| async move {
        let mut cookies = Vec::new();
        for _ in 0..16 {
            cookies.push(server.request().await.cookie);
        }
        let header =
            ReplyHeader::Chunk { done: true, kind: ChunkKind::OffsetData, cookie: cookies[7], length: 4104 };
        server.send_encoded(|out| header.encode(out)).await;
        server.send(&[0; 100]).await;
    })
    .await;
    // 16 are in flight, 48 wait for a slot.
    let calls = (0..64).map(|_| tokio::spawn(read_once(client.clone()))).collect::<Vec<_>>();
    for call in calls {
        let error = within(call).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    }
}

async fn read_once(client: Client) -> Result<Bytes, Error> {
    client.read(0, LENGTH).await
}

#[tokio::test]
async fn a_server_that_falls_silent_counts_as_gone() {
    // Before a reply, within a header, within a payload.
    for said in [&b""[..], b"\x66\x8e\x33", b"\x66\x8e\x33\xef\0\x01\0\x01\0\0\0\0\0\0\0\x01\0\0\x10\x08\0\0"]
    {
        let client = connect_then(move |mut server| async move {
            server.request().await;
            server.send(said).await;
            server.wait_for_end().await;
        })
        .await;
        let error = within(client.read(0, LENGTH)).await.unwrap_err();
        assert!(matches!(error, Error::Overdue { .. }), "{error:?} after {said:?}");
    }
}

#[tokio::test]
async fn a_server_that_answers_all_but_one_counts_as_gone() {
    const NEGLECTED: u64 = 1 << 20;
    let client = connect_then(|mut server| async move {
        while let Some((request, _)) = server.next_request().await {
            if request.offset != NEGLECTED {
                server.answer(request).await;
            }
        }
    })
    .await;
    let busy = async { while client.read(0, LENGTH).await.is_ok() {} };
    let (error, ()) = within(async { tokio::join!(client.read(NEGLECTED, LENGTH), busy) }).await;
    assert!(matches!(error, Err(Error::Overdue { .. })), "{:?}", error.map(|data| data.len()));
}

#[tokio::test]
async fn a_server_that_does_not_read_what_is_written_counts_as_gone() {
    let client = connect_then(|server| async move {
        std::future::pending::<()>().await;
        drop(server);
    })
    .await;
    let error = within(client.write(0, Bytes::from(vec![0; 8 << 20]))).await.unwrap_err();
    assert!(matches!(error, Error::Overdue { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_does_not_hang_up_is_left_all_the_same() {
    let client = connect_then(|mut server| async move {
        while server.next_request().await.is_some() {}
        std::future::pending::<()>().await;
    })
    .await;
    let error = within(client.close()).await.unwrap_err();
    assert!(matches!(error, Error::Overdue { .. }), "{error:?}");
}

#[tokio::test]
async fn an_error_of_the_server_fails_one_call_and_no_other() {
    let client = connect_then(|mut server| async move {
        let cookie = server.request().await.cookie;
        server.data(cookie, false, 0, &[9; 4096]).await;
        server.error(cookie, 5, "sector \x1b[2J is bad").await;
        let cookie = server.request().await.cookie;
        server.error(cookie, 28, "").await;
        server.serve().await;
    })
    .await;
    let error = within(client.read(0, LENGTH)).await.unwrap_err();
    let text = "the NBD server failed to read 4096 bytes at 0: input/output error (sector  [2J is bad)";
    assert_eq!(error.to_string(), text);
    let error = within(client.write(0, Bytes::from_static(&[1; 512]))).await.unwrap_err();
    assert!(matches!(error, Error::Server { errno: ServerErrno::NoSpace, .. }), "{error:?}");
    assert_eq!(within(client.read(512, LENGTH)).await.unwrap(), pattern(512, 4096));
    client.close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// After a header that is right, or nothing, the server sends anything at all and leaves: no call ends well by it
    /// unless it got what it asked for, and none hangs.
    #[test]
    fn arbitrary_bytes_in_transmission_end_every_call(
        kind in prop::sample::select(vec![0_u16, 1, 2, 5, 0x8001, 0x8002, 0x8fff]),
        length in 0..64_u32,
        with_header: bool,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect_then(move |mut server| async move {
                let cookie = server.request().await.cookie;
                if with_header {
                    let kind = ChunkKind::from_code(kind).unwrap();
                    let header = ReplyHeader::Chunk { done: false, kind, cookie, length };
                    server.send_encoded(|out| header.encode(out)).await;
                }
                server.send(&bytes).await;
            })
            .await;
            let status = client.block_status(0, SIZE);
            let (read, status) = within(async { tokio::join!(client.read(0, LENGTH), status) }).await;
            assert!(read.is_err() && status.is_err());
        });
    }
}
