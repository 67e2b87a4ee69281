//! A cloud that does what no real one does on demand: one socket that speaks as much HTTP as the tests need, and is Keystone besides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openstack::{Auth, Config, Domain, Named, Scope, Session};
use runtime::RetryPolicy;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// How many came over the same connection before it.
    pub(crate) nth_of_connection: usize,
    /// How many of this method and target came before it.
    pub(crate) nth: usize,
}

/// What the fake does with it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// Status, headers and body as they are.
    Text(u16, Vec<(&'static str, String)>, String),
    /// As `Json` 200, and then closes the connection without having said so.
    JsonThenClose(Value),
    /// Closes the connection with no answer.
    Close,
    /// Says that this much comes, sends less, and closes.
    Cut {
        length: usize,
        sent: usize,
    },
    /// Sends this many zeroes.
    Zeroes(usize),
    /// Begins an answer and never goes on.
    Stall,
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

/// The cloud.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// Starts it; `handler` answers all but the giving of tokens.
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    /// The same, and over TLS when it has a certificate.
    pub(crate) async fn start_with(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, base, all): (Arc<Handler>, _, _) = (Arc::new(handler), url.clone(), seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, handler, base, all) = (tls.clone(), handler.clone(), base.clone(), all.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, handler, base, all).await,
                        // A client that does not believe us hangs up.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, handler, base, all).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, seen }
    }

    /// What arrived, tokens' requests left out.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.all().into_iter().filter(|seen| seen.target != "/v3/auth/tokens").collect()
    }

    /// How many tokens were asked for.
    pub(crate) fn logins(&self) -> usize {
        self.all().iter().filter(|seen| seen.target == "/v3/auth/tokens" && seen.method == "POST").count()
    }

    fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// A user's settings, with pauses that a test can wait for.
    pub(crate) fn config(&self) -> Config {
        let named =
            |name: &str| Named::Name { name: name.to_owned(), domain: Domain::Id("default".to_owned()) };
        let scope = Scope::Project(named("shop"));
        let auth = Auth::password(&self.url, named("alice"), "s3cret-pass".into(), scope).unwrap();
        let mut config = Config::new(auth);
        config.retry = RetryPolicy {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
            attempts_max: Some(3),
        };
        config
    }

    pub(crate) fn session(&self) -> Session {
        Session::new(self.config()).unwrap()
    }
}

async fn serve(mut stream: impl Stream, handler: Arc<Handler>, base: String, all: Arc<Mutex<Vec<Seen>>>) {
    for nth_of_connection in 0.. {
        let Some(mut seen) = read(&mut stream).await else { return };
        seen.nth_of_connection = nth_of_connection;
        {
            let mut all = all.lock().unwrap();
            let is_same = |it: &&Seen| it.method == seen.method && it.target == seen.target;
            seen.nth = all.iter().filter(is_same).count();
            all.push(seen.clone());
        }
        let reply = match (seen.method.as_str(), seen.target.as_str()) {
            ("POST", "/v3/auth/tokens") if !String::from_utf8_lossy(&seen.body).contains("wrong") => {
                token(&base, seen.nth)
            }
            _ => handler(&seen),
        };
        if !write(&mut stream, reply).await {
            return;
        }
    }
}

/// Token number `nth`, for an hour.
fn token(base: &str, nth: usize) -> Reply {
    let entry = |kind: &str, path: &str| {
        let endpoint = json!({ "interface": "public", "region_id": "here", "region": "here", "url": format!("{base}{path}") });
        json!({ "type": kind, "name": kind, "endpoints": [endpoint] })
    };
    let body = json!({ "token": {
        "user": { "id": "u1", "name": "alice" }, "project": { "id": "p1", "name": "shop" },
        "roles": [{ "id": "r1", "name": "member" }], "methods": ["password"],
        "issued_at": "2026-11-27T20:00:00.000000Z", "expires_at": "2026-11-27T21:00:00.000000Z",
        "catalog": [entry("compute", "/compute/v2.1"), entry("volumev3", "/volume/v3/p1"), entry("network", "/net"),
            entry("image", "/img"), entry("identity", "")],
    }});
    Reply::Text(201, vec![("X-Subject-Token", format!("token-{nth}"))], body.to_string())
}

async fn read(stream: &mut impl Stream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_length = loop {
        if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_length].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
    let mut body = bytes[head_length + 4..].to_vec();
    let is_whole = |body: &[u8]| match headers.get("content-length") {
        Some(length) => body.len() >= length.parse().unwrap(),
        None => !headers.contains_key("transfer-encoding") || body.ends_with(b"0\r\n\r\n"),
    };
    while !is_whole(&body) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { method, target, headers, body, nth_of_connection: 0, nth: 0 })
}

/// Says whether the connection goes on.
async fn write(stream: &mut impl Stream, reply: Reply) -> bool {
    let head = |status: u16, headers: &[(&str, String)], length: usize| {
        let mut head = format!("HTTP/1.1 {status} Words\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    };
    let (text, goes_on) = match reply {
        Reply::Json(status, value) => {
            let body = value.to_string();
            let request_id = [("x-openstack-request-id", "req-of-service".to_owned())];
            (head(status, &request_id, body.len()) + &body, true)
        }
        Reply::Text(status, headers, body) => (head(status, &headers, body.len()) + &body, true),
        Reply::JsonThenClose(value) => (head(200, &[], value.to_string().len()) + &value.to_string(), false),
        Reply::Close => return false,
        Reply::Cut { length, sent } => (head(200, &[], length) + &" ".repeat(sent), false),
        Reply::Zeroes(length) => {
            if stream.write_all(head(200, &[], length).as_bytes()).await.is_err() {
                return false;
            }
            let part = vec![0_u8; 1 << 20];
            for _ in 0..length / part.len() {
                if stream.write_all(&part).await.is_err() {
                    return false;
                }
            }
            return true;
        }
        Reply::Stall => {
            let _ = stream.write_all(head(200, &[], 100).as_bytes()).await;
            // Until the client gives up.
            let _ = stream.read(&mut [0; 1]).await;
            return false;
        }
    };
    stream.write_all(text.as_bytes()).await.is_ok() && goes_on
}
