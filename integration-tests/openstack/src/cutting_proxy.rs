//! A way to a service on which answers get lost: the request arrives, and the connection ends before its answer comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// Runs until it is dropped.
#[derive(Debug)]
pub struct CuttingProxy {
    pub port: u16,
    cuts: Arc<Cuts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Cuts {
    is_armed: AtomicBool,
    done_count: AtomicU32,
}

impl CuttingProxy {
    /// A way to the service behind `endpoint`.
    pub async fn start(endpoint: &Url) -> Result<Self> {
        let upstream = endpoint.socket_addrs(|| None)?.into_iter().next().context("no address")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let cuts = Arc::new(Cuts::default());
        let of_task = Arc::clone(&cuts);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, upstream, Arc::clone(&of_task)));
            }
        });
        Ok(Self { port, cuts, accepting })
    }

    /// The answer to the next POST will be lost.
    pub fn lose_next_answer(&self) {
        self.cuts.is_armed.store(true, Ordering::SeqCst);
    }

    /// How many answers were lost.
    #[must_use]
    pub fn lost_count(&self) -> u32 {
        self.cuts.done_count.load(Ordering::SeqCst)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Both directions of one connection, until either side ends it, or it is cut.
async fn carry(mut client: TcpStream, upstream: SocketAddr, cuts: Arc<Cuts>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut is_to_be_cut = false;
    loop {
        // Cancel safe: `read` loses nothing when the other branch wins.
        tokio::select! {
            read = client.read(&mut asked) => match read? {
                0 => return Ok(()),
                length => {
                    if asked[..length].starts_with(b"POST ") {
                        is_to_be_cut |= cuts.is_armed.swap(false, Ordering::SeqCst);
                    }
                    server.write_all(&asked[..length]).await?;
                }
            },
            read = server.read(&mut answered) => match read? {
                0 => return Ok(()),
                _ if is_to_be_cut => {
                    cuts.done_count.fetch_add(1, Ordering::SeqCst);
                    return Ok(()); // what was done is done
                }
                length => client.write_all(&answered[..length]).await?,
            },
        }
    }
}
