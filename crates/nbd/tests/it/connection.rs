//! Many calls over one connection: order, bounds, dropped calls, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nbd::wire::{Command, CommandFlags, Request, Status};
use nbd::{Error, READ_LENGTH_MAX, REQUEST_COUNT_MAX, REQUEST_LENGTH_MAX, StatusExtent, Zeroing};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fake_server::{FakeServer, SIZE, connect_then, pattern, within};

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Requests as the server saw them, with the data of writes.
type Seen = mpsc::Receiver<(Request, Vec<u8>)>;

/// A server that records its requests and answers them.
fn recording() -> (impl FnOnce(FakeServer) -> Serving + Send, Seen) {
    let (seen, requests) = mpsc::channel(1024);
    let serve = |mut server: FakeServer| -> Serving {
        Box::pin(async move {
            while let Some((request, data)) = server.next_request().await {
                let last = request.command == Command::Disconnect;
                seen.send((request, data)).await.unwrap();
                if last {
                    return;
                }
                server.answer(request).await;
            }
        })
    };
    (serve, requests)
}

#[tokio::test]
async fn a_long_read_is_cut_into_requests_and_joined_again() {
    let (serve, mut requests) = recording();
    let client = connect_then(serve).await;
    let (offset, length) = (512, u64::from(REQUEST_LENGTH_MAX) * 3 + 1024);
    let data = within(client.read(offset, length)).await.unwrap();
    assert!(data == pattern(offset, usize::try_from(length).unwrap()));
    client.close().await.unwrap();
    let mut lengths = Vec::new();
    while let Some((request, _)) = requests.recv().await {
        lengths.push((request.command, request.length));
    }
    let full = (Command::Read, REQUEST_LENGTH_MAX);
    assert_eq!(lengths, [full, full, full, (Command::Read, 1024), (Command::Disconnect, 0)]);
}

#[tokio::test]
async fn replies_in_any_order_and_mixed_find_their_requests() {
    let client = connect_then(|mut server| async move {
        let mut requests = Vec::new();
        for _ in 0..8 {
            requests.push(server.request().await);
        }
        // All second halves, last request first; then all first halves.
        for request in requests.iter().rev() {
            let (middle, half) = (request.offset + 2048, &pattern(request.offset, 4096)[2048..]);
            server.data(request.cookie, false, middle, half).await;
        }
        for request in &requests {
            server.data(request.cookie, true, request.offset, &pattern(request.offset, 2048)).await;
        }
        server.serve().await;
    })
    .await;
    let calls = (0..8_u64).map(|index| {
        let client = client.clone();
        tokio::spawn(async move { (index, client.read(index << 20, 4096).await.unwrap()) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (index, data) = within(call).await.unwrap();
        assert!(data == pattern(index << 20, 4096), "{index}");
    }
}

#[tokio::test]
async fn never_more_than_sixteen_requests_are_in_flight_even_when_calls_are_dropped() {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&in_flight);
    let (go, mut wait_for_go) = mpsc::channel::<()>(1);
    let client = connect_then(|mut server| async move {
        let mut requests = Vec::new();
        loop {
            tokio::select! {
                biased;
                // Cancel safe: nothing is cancelled but at the end, when no more requests are read.
                request = server.next_request() => {
                    requests.push(request.unwrap().0);
                    seen.store(requests.len(), Ordering::SeqCst);
                }
                _ = wait_for_go.recv() => break,
            }
        }
        for request in requests {
            server.answer(request).await;
        }
        server.serve().await;
    })
    .await;
    for round in 0..40_u64 {
        let call = client.read(round * 4096, 4096);
        let _ = timeout(Duration::from_millis(1), call).await; // dropped
    }
    assert_eq!(in_flight.load(Ordering::SeqCst), REQUEST_COUNT_MAX);
    go.send(()).await.unwrap();
    let data = within(client.read(1 << 20, 8 << 20)).await.unwrap();
    assert!(data == pattern(1 << 20, 8 << 20), "dropped calls gave back their slots and spoiled nothing");
    within(client.close()).await.unwrap();
}

#[tokio::test]
async fn writes_arrive_whole_and_with_their_flags() {
    let (serve, mut requests) = recording();
    let client = connect_then(serve).await;
    let data = Bytes::from(pattern(0, 300 << 10));
    within(client.write(1024, data.clone())).await.unwrap();
    within(client.write_zeroes(0, 70 << 20, Zeroing::MayPunch)).await.unwrap();
    within(client.write_zeroes(512, 512, Zeroing::KeepAllocated)).await.unwrap();
    within(client.trim(4096, 512)).await.unwrap();
    within(client.flush()).await.unwrap();
    client.close().await.unwrap();

    let mut seen = Vec::new();
    let mut written = Vec::new();
    while let Some((request, data)) = requests.recv().await {
        seen.push((request.command, request.flags, request.offset, request.length));
        written.extend_from_slice(&data);
    }
    let none = CommandFlags::default();
    let expected = [
        (Command::Write, none, 1024, 256 << 10),
        (Command::Write, none, 1024 + (256 << 10), 44 << 10),
        (Command::WriteZeroes, none, 0, 32 << 20),
        (Command::WriteZeroes, none, 32 << 20, 32 << 20),
        (Command::WriteZeroes, none, 64 << 20, 6 << 20),
        (Command::WriteZeroes, CommandFlags::NO_HOLE, 512, 512),
        (Command::Trim, none, 4096, 512),
        (Command::Flush, none, 0, 0),
        (Command::Disconnect, none, 0, 0),
    ];
    assert_eq!(seen, expected);
    assert!(data == written);
}

#[tokio::test]
async fn block_status_is_placed_where_it_was_asked() {
    let client = connect_then(|mut server| async move {
        let cookie = server.request().await.cookie;
        server.status(cookie, &[(512, 0), (1024, Status::HOLE | Status::ZERO), (512, Status::ZERO)]).await;
        server.serve().await;
    })
    .await;
    let extents = within(client.block_status(4096, 1 << 20)).await.unwrap();
    let make = |offset, length, is_hole, is_zero| StatusExtent { offset, length, is_hole, is_zero };
    let expected =
        [make(4096, 512, false, false), make(4608, 1024, true, true), make(5632, 512, false, true)];
    assert_eq!(extents, expected);
}

#[tokio::test]
async fn the_last_dropped_clone_disconnects() {
    let (serve, mut requests) = recording();
    let client = connect_then(serve).await;
    let clone = client.clone();
    drop(client);
    within(clone.read(0, 512)).await.unwrap();
    drop(clone);
    let mut last = None;
    while let Some((request, _)) = within(requests.recv()).await {
        last = Some(request.command);
    }
    assert_eq!(last, Some(Command::Disconnect));
}

#[tokio::test]
async fn after_close_every_clone_is_closed() {
    let client = connect_then(|mut server| async move { server.serve().await }).await;
    let clone = client.clone();
    within(client.close()).await.unwrap();
    assert!(matches!(within(clone.read(0, 512)).await, Err(Error::Closed)));
    within(clone.close()).await.unwrap();
}

#[tokio::test]
async fn close_waits_for_what_is_in_flight() {
    let (go, mut wait_for_go) = mpsc::channel::<()>(1);
    let client = connect_then(|mut server| async move {
        let request = server.request().await;
        wait_for_go.recv().await;
        server.answer(request).await;
        server.serve().await;
    })
    .await;
    let reader = client.clone();
    let read = tokio::spawn(async move { reader.read(0, 512).await });
    tokio::task::yield_now().await; // the read takes its slot
    let close = tokio::spawn(client.close());
    tokio::task::yield_now().await;
    go.send(()).await.unwrap();
    assert_eq!(within(read).await.unwrap().unwrap(), pattern(0, 512));
    within(close).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_it_is_sent() {
    let client = connect_then(|mut server| async move {
        assert_eq!(server.request().await.command, Command::Disconnect, "nothing was sent");
    })
    .await;
    for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 1), (0, u64::MAX)] {
        let error = client.read(offset, length).await.unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{error:?}");
    }
    assert!(matches!(client.read(0, READ_LENGTH_MAX + 1).await, Err(Error::TooLong { .. })));
    assert!(matches!(client.block_status(0, 0).await, Err(Error::OutOfRange { .. })));
    assert!(client.read(SIZE, 0).await.unwrap().is_empty());
    client.write(0, Bytes::new()).await.unwrap();
    client.close().await.unwrap();
}
