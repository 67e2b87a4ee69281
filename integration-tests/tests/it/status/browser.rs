//! A headless Chromium with a profile of its own for each look, and a server for it to look at.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use sandbox::Supervised;

/// It starts in two seconds on a free core.
const DEADLINE: Duration = Duration::from_secs(120);

/// Nothing but the page: no updates, no sync, no calls home.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
];

/// Runs Chromium.
pub(super) struct Browser {
    dir: tempfile::TempDir,
}

impl Browser {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::Builder::new().prefix("holdfast-browser-").tempdir()? })
    }

    /// The document as it is after the page was loaded.
    pub(super) fn dump(&self, url: &str, flags: &[&str]) -> Result<String> {
        let flags: Vec<String> =
            flags.iter().map(ToString::to_string).chain(["--dump-dom".to_owned()]).collect();
        let dom = self.run(url, &flags)?;
        ensure!(dom.contains("</html>"), "no document came: {dom:?}");
        Ok(dom)
    }

    /// A picture of the page; it stays in `HOLDFAST_PICTURES` when that names a folder.
    pub(super) fn picture(&self, url: &str, name: &str, size: &str) -> Result<PathBuf> {
        let dir =
            std::env::var_os("HOLDFAST_PICTURES").map_or_else(|| self.dir.path().to_owned(), PathBuf::from);
        let file = dir.join(format!("status-{name}.png"));
        let flags = [format!("--screenshot={}", file.display()), format!("--window-size={size}")];
        self.run(url, &flags)?;
        Ok(file)
    }

    /// Runs it to its end; gives what it printed.
    fn run(&self, url: &str, flags: &[String]) -> Result<String> {
        let profile = tempfile::tempdir_in(self.dir.path())?;
        let (log, printed) = (profile.path().join("log"), profile.path().join("printed"));
        // It has children of its own: the group is ended as a whole. The end of the shell is the end of Chromium.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec chromium \"$@\" >\"$PRINTED\"", "browser"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .args(flags)
            .arg(url)
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", profile.path())
            .env("PRINTED", &printed);
        let mut chromium = Supervised::spawn("chromium", &command, &log)?;
        let ended = wait::until(DEADLINE, "chromium ends", || chromium.ended());
        ended.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        std::fs::read_to_string(&printed).with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
    }
}

/// Serves one page for ever, with the number of the reading in the place of `mark`. Ends with the test's process.
pub(super) struct CountingServer {
    address: SocketAddr,
}

impl CountingServer {
    pub(super) fn start(html: String, mark: &'static str) -> Result<Self> {
        ensure!(html.contains(mark), "{mark} is not in the page");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let body = html.replace(mark, &format!("reading {}", index + 1));
                let mut request = [0; 4096];
                // Whoever goes away early did not want the page.
                let _ = stream.read(&mut request);
                let head =
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n";
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Ok(Self { address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/status", self.address)
    }
}
