//! Servers that do not shake hands as they should. Each gets a named error, soon.

use nbd::Error;
use nbd::wire::{ALLOCATION_CONTEXT, Info, Malformed, OptionKind, OptionReplyKind, TransmissionFlags};
use proptest::prelude::*;

use crate::fake_server::{FakeServer, SIZE, connect, export_info};

/// Connects to a server that must be refused for a breach of the protocol.
async fn breach<F>(behaviour: impl FnOnce(FakeServer) -> F) -> Malformed
where
    F: Future<Output = ()> + Send + 'static,
{
    match connect(behaviour).await.unwrap_err() {
        Error::Malformed { source } => source,
        other => panic!("not a breach: {other:?}"),
    }
}

#[tokio::test]
async fn something_that_is_not_nbd_is_named() {
    let web = |mut server: FakeServer| async move {
        server.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(web).await, Malformed::NotNbd);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let error = connect(|mut server| async move { server.wait_for_end().await }).await.unwrap_err();
    assert!(matches!(error, Error::HandshakeTimeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_leaves_is_lost() {
    let error = connect(|mut server| async move { server.greet().await }).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_without_structured_replies_is_refused_by_name() {
    let old = |mut server: FakeServer| async move {
        server.greet().await;
        server.receive_option(OptionKind::StructuredReply).await;
        let refusal = OptionReplyKind::UNSUPPORTED;
        server.reply_option(OptionKind::StructuredReply, refusal, b"what\nis that?").await;
        server.wait_for_end().await;
    };
    let error = connect(old).await.unwrap_err();
    let text = "the NBD server refused NBD_OPT_STRUCTURED_REPLY: not supported (what is that?)";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn an_export_that_is_not_there_is_named() {
    let empty = |mut server: FakeServer| async move {
        server.greet().await;
        server.accept_structured_replies().await;
        server.accept_allocation_context().await;
        server.receive_option(OptionKind::Go).await;
        server.reply_option(OptionKind::Go, OptionReplyKind::UNKNOWN_EXPORT, b"").await;
        server.wait_for_end().await;
    };
    let text = "the NBD server refused NBD_OPT_GO: unknown export";
    assert_eq!(connect(empty).await.unwrap_err().to_string(), text);
}

#[tokio::test]
async fn a_server_without_block_status_is_taken_and_the_call_refused() {
    let plain = |mut server: FakeServer| async move {
        server.greet().await;
        server.accept_structured_replies().await;
        server.receive_option(OptionKind::SetMetaContext).await;
        server.reply_option(OptionKind::SetMetaContext, OptionReplyKind::UNSUPPORTED, b"").await;
        server.receive_option(OptionKind::Go).await;
        server.reply_info(export_info()).await;
        server.reply_option(OptionKind::Go, OptionReplyKind::Ack, &[]).await;
        server.serve().await;
    };
    let client = connect(plain).await.unwrap();
    let error = client.block_status(0, SIZE).await.unwrap_err();
    assert!(matches!(error, Error::NotSupported { command: "block_status" }), "{error:?}");
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_reply_that_claims_four_gigabytes_is_refused_before_it_is_read() {
    let greedy = |mut server: FakeServer| async move {
        server.greet().await;
        server.receive_option(OptionKind::StructuredReply).await;
        server.send(b"\x00\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x08\0\0\0\x01\xff\xff\xff\xff").await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(greedy).await, Malformed::OptionReplyTooLong { length: u32::MAX });
}

#[tokio::test]
async fn a_reply_to_another_option_is_refused() {
    let confused = |mut server: FakeServer| async move {
        server.greet().await;
        server.receive_option(OptionKind::StructuredReply).await;
        server.reply_option(OptionKind::Go, OptionReplyKind::Ack, &[]).await;
        server.wait_for_end().await;
    };
    assert_eq!(breach(confused).await, Malformed::OptionMismatch { expected: 8, actual: 7 });
}

#[tokio::test]
async fn a_context_that_nobody_asked_for_is_refused() {
    for (name, count) in [("qemu:dirty-bitmap:x", 1), (ALLOCATION_CONTEXT, 2)] {
        let pushy = move |mut server: FakeServer| async move {
            server.greet().await;
            server.accept_structured_replies().await;
            server.receive_option(OptionKind::SetMetaContext).await;
            let data = [b"\0\0\0\x07", name.as_bytes()].concat();
            for _ in 0..count {
                server.reply_option(OptionKind::SetMetaContext, OptionReplyKind::MetaContext, &data).await;
            }
            server.wait_for_end().await;
        };
        assert_eq!(breach(pushy).await, Malformed::MetaContext { name: name.to_owned() });
    }
}

/// A server that agrees to all, and then says these things of its export.
async fn breach_of_export(data: &'static [&'static [u8]]) -> Malformed {
    let serve = move |mut server: FakeServer| async move {
        server.greet().await;
        server.accept_structured_replies().await;
        server.accept_allocation_context().await;
        server.receive_option(OptionKind::Go).await;
        for info in data {
            server.reply_option(OptionKind::Go, OptionReplyKind::Info, info).await;
        }
        server.reply_option(OptionKind::Go, OptionReplyKind::Ack, &[]).await;
        server.wait_for_end().await;
    };
    breach(serve).await
}

#[tokio::test]
async fn an_export_that_cannot_be_is_refused() {
    assert_eq!(breach_of_export(&[]).await, Malformed::ExportMissing);
    assert_eq!(breach_of_export(&[b"\0\x03\0\0\0\x01\0\0\x10\0\x02\0\0\0"]).await, Malformed::ExportMissing);
    assert_eq!(breach_of_export(&[b"\0\0\0\0"]).await, Malformed::Truncated);
    assert_eq!(breach_of_export(&[b""]).await, Malformed::Truncated);
    assert_eq!(
        breach_of_export(&[b"\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x01"]).await,
        Malformed::ExportSize { size: u64::MAX }
    );
    assert_eq!(
        breach_of_export(&[b"\0\0\0\0\0\0\0\0\x10\0\0\x02"]).await,
        Malformed::TransmissionFlags { flags: 2 }
    );
    assert_eq!(breach_of_export(&[b"\0\0\0\0\0\0\0\0\x10\0\0\x01x"]).await, Malformed::Trailing { count: 1 });
    for sizes in [
        b"\0\x03\0\0\0\0\0\0\x10\0\x02\0\0\0", // minimum 0
        b"\0\x03\0\0\0\x03\0\0\x10\0\x02\0\0\0",
        b"\0\x03\0\x10\0\0\0\x10\0\0\x02\0\0\0",
        b"\0\x03\0\0\0\x01\0\0\x10\0\0\0\0\0", // maximum 0: a request could not be cut
    ] {
        let refused = breach_of_export(Box::leak(Box::new([sizes.as_slice()]))).await;
        assert!(matches!(refused, Malformed::BlockSize { .. }), "{refused:?}");
    }
}

#[tokio::test]
async fn endless_information_comes_to_an_end() {
    let chatty = |mut server: FakeServer| async move {
        server.greet().await;
        server.accept_structured_replies().await;
        server.accept_allocation_context().await;
        server.receive_option(OptionKind::Go).await;
        while !server.stream_is_closed() {
            server.reply_info(Info::Other(1)).await;
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(breach(chatty).await, Malformed::OptionReplyCount { max: 64 });
}

#[tokio::test]
async fn a_server_that_wants_larger_blocks_gets_aligned_and_smaller_requests() {
    let blocky = |mut server: FakeServer| async move {
        server.greet().await;
        server.accept_structured_replies().await;
        server.accept_allocation_context().await;
        server.receive_option(OptionKind::Go).await;
        server.reply_info(Info::Export { size: SIZE, flags: TransmissionFlags::new(0) }).await;
        server.reply_info(Info::BlockSize { minimum: 4096, preferred: 4096, maximum: 10_000 }).await;
        server.reply_option(OptionKind::Go, OptionReplyKind::Ack, &[]).await;
        while let Some((request, _)) = server.next_request().await {
            assert!(request.offset % 4096 == 0 && request.length % 4096 == 0 && request.length <= 10_000);
            server.answer(request).await;
        }
    };
    let client = connect(blocky).await.unwrap();
    assert_eq!(client.read(4096, 40_960).await.unwrap(), crate::fake_server::pattern(4096, 40_960));
    let error = client.read(512, 4096).await.unwrap_err();
    assert!(matches!(error, Error::Unaligned { block: 4096, .. }), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From any point of the handshake on, the server sends anything at all and leaves.
    #[test]
    fn arbitrary_bytes_in_a_handshake_end_it_with_an_error(
        stage in 0..4, bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let rude = move |mut server: FakeServer| async move {
            if stage > 0 {
                server.greet().await;
            }
            if stage > 1 {
                server.accept_structured_replies().await;
            }
            if stage > 2 {
                server.accept_allocation_context().await;
            }
            server.send(&bytes).await;
        };
        prop_assert!(runtime.block_on(connect(rude)).is_err());
    }
}
