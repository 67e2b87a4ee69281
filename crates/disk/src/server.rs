//! One connection to a disk, and the `qemu-nbd` child that serves it; of an export that is there already the connection
//! alone.
//!
//! The connection is made before the child: we listen on a socket in a fresh directory of mode 0700, connect to it
//! ourselves, and remove both names. The child gets the listening socket the way systemd would give it (descriptor 3,
//! `LISTEN_FDS`, `LISTEN_PID`), finds our connection waiting and serves it. So there is nothing to poll for, no name
//! by which anybody else could connect, and a child that dies closes our stream at once.
//!
//! ```text
//! setpriv --pdeathsig KILL     dies with the process that started it (see `launcher`)
//!   └▶ /bin/sh SCRIPT          leaves if that process died before; no core dumps; LISTEN_PID=$$
//!        └▶ qemu-nbd           same pid throughout; empty environment, stderr kept (bounded)
//! ```
//!
//! `qemu-nbd` is not `--persistent`: it also ends by itself when its only connection does.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use model::{DiskFormat, DiskLocation, NbdExport};
use runtime::Entropy;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::launcher::launch;
use crate::qemu_source::QemuSource;
use crate::{Error, Opener};

/// How long a child may take to close its disk: qemu writes back the metadata of a large qcow2 then.
const CLOSE_MAX: Duration = Duration::from_secs(60);

/// How long the end of a child that already closed its socket may take.
const END_MAX: Duration = Duration::from_secs(5);

/// How much of a child's stderr is kept; the rest is read and dropped. Units: bytes.
const STDERR_LENGTH_MAX: u64 = 4096;

/// `$1` is the pid that must still be our parent; `$2` our descriptor of the backing file, or nothing; the rest is the
/// command. `$$` stays its pid through `exec`.
const SCRIPT: &str = r#"[ "$PPID" = "$1" ] || exit 1
[ -z "$2" ] || exec 4<"/proc/$1/fd/$2"
shift 2
ulimit -c 0
LISTEN_PID=$$
export LISTEN_PID
exec "$@" 3>&1 >/dev/null"#;

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The connection to a disk, and the child that serves it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) client: nbd::Client,
    /// Absent: somebody else serves it.
    process: Option<Process>,
    location: DiskLocation,
}

impl Server {
    /// Connects to the disk: through a child, unless it is served already.
    ///
    /// Errors: any but those of an open disk. Cancel safe: yes; a child is killed.
    pub(crate) async fn start(
        opener: &Opener,
        location: &DiskLocation,
        access: Access,
        dirty_bitmap: Option<&str>,
    ) -> Result<Self, Error> {
        let options =
            nbd::Options { dirty_bitmap: dirty_bitmap.map(str::to_owned), ..nbd::Options::default() };
        match location {
            DiskLocation::Export(export) => Self::join(location, export, options).await,
            DiskLocation::File(_) | DiskLocation::Rbd(_) | DiskLocation::Device(_) => {
                Self::launch(opener, location, access, options).await
            }
        }
    }

    async fn launch(
        opener: &Opener,
        location: &DiskLocation,
        access: Access,
        options: nbd::Options,
    ) -> Result<Self, Error> {
        let (prepared_opener, prepared_location) = (opener.clone(), location.clone());
        let preparation =
            tokio::task::spawn_blocking(move || Prepared::new(&prepared_opener, &prepared_location, access));
        let prepared = preparation
            .await
            .map_err(|error| Error::File { disk: location.to_string(), source: error.into() })??;
        let Prepared { binary, stream, command, backing } = prepared;
        let mut process = match launch(command).await {
            Ok(child) => Process::new(child),
            Err(source) => return Err(Error::Start { binary, source }),
        };
        let connected = nbd::Client::connect(stream, options).await;
        drop(backing); // the child has opened it by now, or never will
        match connected {
            Ok(client) => Ok(Self { client, process: Some(process), location: location.clone() }),
            Err(source) => {
                let (_, stderr) = process.end(END_MAX).await;
                Err(open_error(location, stderr, source))
            }
        }
    }

    /// Connects to an export of somebody else's.
    async fn join(location: &DiskLocation, export: &NbdExport, options: nbd::Options) -> Result<Self, Error> {
        let options = nbd::Options { export_name: export.name.clone(), ..options };
        let disk = location.to_string();
        let stream = match tokio::net::UnixStream::connect(&export.socket).await {
            Ok(stream) => stream,
            Err(source) => return Err(Error::Connect { disk, source }),
        };
        match nbd::Client::connect(stream, options).await {
            Ok(client) => Ok(Self { client, process: None, location: location.clone() }),
            Err(source) => Err(Error::ExportGone { disk, source: Box::new(source) }),
        }
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref()?.child.id()
    }

    /// The disk that is served.
    pub(crate) const fn location(&self) -> &DiskLocation {
        &self.location
    }

    /// The error of a failed call, with what was being done. An export that ended took its point in time with it; a child
    /// of ours is started again.
    pub(crate) fn io_error(&self, doing: &'static str, source: nbd::Error) -> Error {
        let (disk, source) = (self.location.to_string(), Box::new(source));
        let gone = matches!(*source, nbd::Error::Lost { .. } | nbd::Error::Overdue { .. });
        match self.process {
            None if gone => Error::ExportGone { disk, source },
            _ => Error::Io { disk, doing, source },
        }
    }

    /// Disconnects and waits until the child has closed the disk and ended well.
    ///
    /// Errors: `Io`, `ServerDied`, `ServerStuck`.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        let disconnected = self.client.clone().close().await;
        let disk = self.location.to_string();
        if let Some(process) = &mut self.process {
            let (status, stderr) = process.end(CLOSE_MAX).await;
            let Some(status) = status else { return Err(Error::ServerStuck { disk }) };
            if !status.success() {
                return Err(Error::ServerDied { disk, status: status.to_string(), stderr });
            }
        }
        disconnected.map_err(|source| self.io_error("close", source))
    }
}

/// All that a child needs, made before it.
struct Prepared {
    binary: PathBuf,
    stream: tokio::net::UnixStream,
    command: Command,
    /// Held open until the child has opened it through us.
    backing: Option<File>,
}

impl Prepared {
    /// Opens and judges the files, and makes the connection. Blocks on the file system.
    fn new(opener: &Opener, location: &DiskLocation, access: Access) -> Result<Self, Error> {
        let binary = find_binary(&opener.qemu_nbd)?;
        let source = QemuSource::open(location, access)?;
        let (listener, stream) = make_connection(&opener.runtime_dir)
            .map_err(|source| Error::RuntimeDir { path: opener.runtime_dir.clone(), source })?;
        let mut command = make_command(&binary, &source, access);
        let stdin = source.file.map_or_else(Stdio::null, Stdio::from);
        command.stdin(stdin).stdout(Stdio::from(OwnedFd::from(listener)));
        Ok(Self { binary, stream, command, backing: source.backing })
    }
}

/// A child whose stderr is being read. Dropping it kills the child.
#[derive(Debug)]
struct Process {
    child: Child,
    stderr: JoinHandle<String>,
}

impl Process {
    fn new(mut child: Child) -> Self {
        let stderr = child.stderr.take();
        Self { child, stderr: tokio::spawn(read_stderr(stderr)) }
    }

    /// Waits for the end, and kills after `limit`. The status is absent when it had to be killed.
    async fn end(&mut self, limit: Duration) -> (Option<ExitStatus>, String) {
        let status = match timeout(limit, self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = self.child.kill().await; // it fails only if the child has ended
                None
            }
        };
        let stderr = timeout(END_MAX, &mut self.stderr).await;
        (status, stderr.ok().and_then(Result::ok).unwrap_or_default())
    }
}

impl Drop for Process {
    /// The child is killed by its own drop. Its stderr may stay open: it may have children.
    fn drop(&mut self) {
        self.stderr.abort();
    }
}

/// Reads a child's stderr to its end, and keeps the beginning, where the cause is.
async fn read_stderr(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let mut kept = Vec::new();
    let mut beginning = (&mut stderr).take(STDERR_LENGTH_MAX);
    if beginning.read_to_end(&mut kept).await.is_ok() {
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).trim().replace(|c: char| c.is_control(), " ")
}

/// The error for a child that did not come to serve.
fn open_error(location: &DiskLocation, stderr: String, source: nbd::Error) -> Error {
    let disk = location.to_string();
    // qemu's words since 2.10: Failed to get "write" lock; Is another process using the image?
    if stderr.contains("lock") && stderr.contains("Failed to get") {
        return Error::InUse { disk, reason: stderr };
    }
    if stderr.contains("Unknown driver") || stderr.contains("Unknown protocol") {
        return Error::DriverMissing { disk, stderr };
    }
    let format = location.format().map_or("", DiskFormat::as_str);
    Error::OpenFailed { disk, format, stderr, source: Box::new(source) }
}

/// A listening socket and a connection to it that waits to be accepted; both names are gone already.
fn make_connection(runtime_dir: &Path) -> io::Result<(UnixListener, tokio::net::UnixStream)> {
    DirBuilder::new().recursive(true).mode(0o700).create(runtime_dir)?;
    let dir = runtime_dir.join(format!("disk-{}", Entropy.uuid()));
    DirBuilder::new().mode(0o700).create(&dir)?;
    let connection = connect_within(&dir);
    std::fs::remove_dir_all(&dir)?;
    connection
}

fn connect_within(dir: &Path) -> io::Result<(UnixListener, tokio::net::UnixStream)> {
    // A socket's name holds 107 bytes; the way through the descriptor is short, however deep the directory lies.
    let handle = File::open(dir)?;
    let socket = PathBuf::from(format!("/proc/self/fd/{}/s", handle.as_raw_fd()));
    let listener = UnixListener::bind(&socket)?;
    let stream = UnixStream::connect(&socket)?;
    stream.set_nonblocking(true)?;
    Ok((listener, tokio::net::UnixStream::from_std(stream)?))
}

/// The command but for its standard input, the disk, and its standard output, the listening socket.
fn make_command(binary: &Path, source: &QemuSource, access: Access) -> Command {
    let mut command = match find_in_path("setpriv".as_ref()) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--no-new-privs", "--", "/bin/sh"]);
            command
        }
        // Without it a child ends with its connection all the same, once it has one.
        None => Command::new("/bin/sh"),
    };
    let backing = source.backing.as_ref().map_or_else(String::new, |file| file.as_raw_fd().to_string());
    command.args(["-c", SCRIPT, "holdfast-qemu-nbd", &std::process::id().to_string(), &backing]).arg(binary);
    if access == Access::Read {
        command.arg("--read-only");
    }
    // writeback: through the page cache; what must be durable is flushed by us.
    command.args(["--cache=writeback", "--discard=unmap", "--detect-zeroes=off", "--image-opts"]);
    command.arg(&source.options);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("LISTEN_FDS", "1")
        .current_dir("/")
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The program's path: as given if it has a slash, else the first of that name in `PATH`.
fn find_binary(program: &Path) -> Result<PathBuf, Error> {
    let found = if program.components().count() > 1 {
        std::path::absolute(program).ok().filter(|path| is_executable(path))
    } else {
        find_in_path(program)
    };
    found.ok_or_else(|| Error::QemuNbdMissing { binary: program.to_owned() })
}

fn find_in_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
