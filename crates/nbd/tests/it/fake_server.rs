//! The server's end of a connection in memory: each test says what it does. Built on the crate's own codec.

use std::future::Future;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use nbd::wire::{
    ALLOCATION_CONTEXT, ChunkKind, ClientFlags, Command, ErrorChunk, Greeting, HoleChunk, Info, MetaContext,
    OptionKind, OptionReplyHeader, OptionReplyKind, OptionRequest, ReplyHeader, Request, Status, StatusChunk,
    TransmissionFlags,
};
use nbd::{Client, Error, Options};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// The size of every fake export.
pub(crate) const SIZE: u64 = 1 << 30;
/// The number of the allocation context.
pub(crate) const CONTEXT: u32 = 42;
/// Short, for tests of servers that do not answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_millis(300);

/// One end of a connection in memory.
#[derive(Debug)]
pub(crate) struct FakeServer {
    pub(crate) stream: DuplexStream,
}

/// Connects a client to a server that behaves as told. Nothing here may take longer than 20 s.
pub(crate) async fn connect<F>(behaviour: impl FnOnce(FakeServer) -> F) -> Result<Client, Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(behaviour(FakeServer { stream: theirs }));
    let options =
        Options { handshake_max: Duration::from_secs(2), answer_max: ANSWER_MAX, ..Options::default() };
    within(Client::connect(ours, options)).await
}

/// Connects to a server that shakes hands rightly, and then behaves as told.
pub(crate) async fn connect_then<F>(behaviour: impl FnOnce(FakeServer) -> F + Send + 'static) -> Client
where
    F: Future<Output = ()> + Send + 'static,
{
    let serve = |mut server: FakeServer| async move {
        server.shake_hands().await;
        behaviour(server).await;
    };
    connect(serve).await.unwrap()
}

/// Waits for something that must not hang.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("this must not hang")
}

impl FakeServer {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await; // the client may have left, which is what the test wants
    }

    pub(crate) async fn send_encoded(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        encode(&mut out);
        self.send(&out).await;
    }

    /// Waits until the client closes, or for ever.
    pub(crate) async fn wait_for_end(&mut self) {
        let mut bytes = [0; 4096];
        while matches!(self.stream.read(&mut bytes).await, Ok(count) if count > 0) {}
    }

    /// Whether the client has left. For servers that only ever send.
    pub(crate) fn stream_is_closed(&mut self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut byte = [0];
        let mut buffer = tokio::io::ReadBuf::new(&mut byte);
        let polled = std::pin::Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        polled.is_ready() && buffer.filled().is_empty()
    }

    pub(crate) async fn greet(&mut self) {
        self.send_encoded(|out| Greeting { no_zeroes: true }.encode(out)).await;
        let mut flags = [0; ClientFlags::LENGTH];
        self.stream.read_exact(&mut flags).await.unwrap();
        assert_eq!(ClientFlags::decode(&flags), Ok(ClientFlags { no_zeroes: true }));
    }

    /// Reads an option, which must be `expected`.
    pub(crate) async fn receive_option(&mut self, expected: OptionKind) -> Vec<u8> {
        let mut header = [0; OptionRequest::HEADER_LENGTH];
        self.stream.read_exact(&mut header).await.unwrap();
        let (kind, length) = OptionRequest::decode_header(&header).unwrap();
        assert_eq!(kind, expected);
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data).await.unwrap();
        data
    }

    pub(crate) async fn reply_option(&mut self, option: OptionKind, kind: OptionReplyKind, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        self.send_encoded(|out| OptionReplyHeader { option, kind, length }.encode(out)).await;
        self.send(data).await;
    }

    pub(crate) async fn accept_structured_replies(&mut self) {
        self.receive_option(OptionKind::StructuredReply).await;
        self.reply_option(OptionKind::StructuredReply, OptionReplyKind::Ack, &[]).await;
    }

    pub(crate) async fn accept_allocation_context(&mut self) {
        const OPTION: OptionKind = OptionKind::SetMetaContext;
        self.receive_option(OPTION).await;
        let context = MetaContext { id: CONTEXT, name: ALLOCATION_CONTEXT.to_owned() };
        let mut data = BytesMut::new();
        context.encode(&mut data);
        self.reply_option(OPTION, OptionReplyKind::MetaContext, &data).await;
        self.reply_option(OPTION, OptionReplyKind::Ack, &[]).await;
    }

    pub(crate) async fn reply_info(&mut self, info: Info) {
        let mut data = BytesMut::new();
        info.encode(&mut data);
        self.reply_option(OptionKind::Go, OptionReplyKind::Info, &data).await;
    }

    /// The whole handshake: everything is agreed to.
    pub(crate) async fn shake_hands(&mut self) {
        self.greet().await;
        self.accept_structured_replies().await;
        self.accept_allocation_context().await;
        self.receive_option(OptionKind::Go).await;
        self.reply_info(export_info()).await;
        self.reply_option(OptionKind::Go, OptionReplyKind::Ack, &[]).await;
    }

    /// The next request and its data; `None` when the client has left.
    pub(crate) async fn next_request(&mut self) -> Option<(Request, Vec<u8>)> {
        let mut header = [0; Request::LENGTH];
        self.stream.read_exact(&mut header).await.ok()?;
        let request = Request::decode(&header).unwrap();
        let length = if request.command == Command::Write { request.length } else { 0 };
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data).await.ok()?;
        Some((request, data))
    }

    /// The next request, which must be there.
    pub(crate) async fn request(&mut self) -> Request {
        self.next_request().await.expect("a request").0
    }

    pub(crate) async fn chunk(&mut self, cookie: u64, done: bool, kind: ChunkKind, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap();
        self.send_encoded(|out| ReplyHeader::Chunk { done, kind, cookie, length }.encode(out)).await;
        self.send(payload).await;
    }

    pub(crate) async fn data(&mut self, cookie: u64, done: bool, offset: u64, data: &[u8]) {
        let mut payload = BytesMut::new();
        payload.put_u64(offset);
        payload.put_slice(data);
        self.chunk(cookie, done, ChunkKind::OffsetData, &payload).await;
    }

    pub(crate) async fn hole(&mut self, cookie: u64, done: bool, offset: u64, length: u32) {
        let mut payload = BytesMut::new();
        HoleChunk { offset, length }.encode(&mut payload);
        self.chunk(cookie, done, ChunkKind::OffsetHole, &payload).await;
    }

    pub(crate) async fn error(&mut self, cookie: u64, errno: u32, message: &str) {
        let mut payload = BytesMut::new();
        ErrorChunk { errno, message: message.to_owned(), offset: None }.encode(&mut payload);
        self.chunk(cookie, true, ChunkKind::Error, &payload).await;
    }

    pub(crate) async fn status(&mut self, cookie: u64, runs: &[(u32, u32)]) {
        let runs = runs.iter().map(|&(length, flags)| Status { length, flags }).collect();
        let mut payload = BytesMut::new();
        StatusChunk { context_id: CONTEXT, runs }.encode(&mut payload);
        self.chunk(cookie, true, ChunkKind::BlockStatus, &payload).await;
    }

    pub(crate) async fn done(&mut self, cookie: u64) {
        self.send_encoded(|out| ReplyHeader::Simple { error: 0, cookie }.encode(out)).await;
    }

    /// Answers one request rightly: a read brings the low byte of each 512 byte sector's number.
    pub(crate) async fn answer(&mut self, request: Request) {
        match request.command {
            Command::Read => {
                let data = pattern(request.offset, request.length as usize);
                self.data(request.cookie, true, request.offset, &data).await;
            }
            Command::BlockStatus => self.status(request.cookie, &[(request.length, 0)]).await,
            Command::Disconnect => {}
            _ => self.done(request.cookie).await,
        }
    }

    /// Answers rightly until the client leaves.
    pub(crate) async fn serve(&mut self) {
        while let Some((request, _)) = self.next_request().await {
            if request.command == Command::Disconnect {
                return;
            }
            self.answer(request).await;
        }
    }
}

/// What is said of the fake export.
pub(crate) fn export_info() -> Info {
    let bits = TransmissionFlags::FLUSH | TransmissionFlags::TRIM | TransmissionFlags::WRITE_ZEROES;
    Info::Export { size: SIZE, flags: TransmissionFlags::new(bits) }
}

/// What a read of a fake export brings.
pub(crate) fn pattern(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(|position| u8::try_from(position / 512 % 256).unwrap()).collect()
}
