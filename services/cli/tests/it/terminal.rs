//! A pseudo-terminal with `holdfast` on it, as a person has it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const DEADLINE: Duration = Duration::from_secs(60);

/// The terminal, what was drawn on it, and the process.
pub(crate) struct Terminal {
    keyboard: File,
    /// Held open: the terminal outlives the process.
    line: OwnedFd,
    drawn: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Terminal {
    /// Starts `holdfast` on a terminal of 100 columns and 30 lines.
    pub(crate) fn start(variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = File::options()
            .read(true)
            .write(true)
            .open(std::ffi::OsStr::from_bytes(name.as_bytes()))
            .map(OwnedFd::from)
            .unwrap();
        tcsetwinsize(&line, Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .env_clear()
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .args(arguments)
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line.try_clone().unwrap())
            .spawn()
            .unwrap();
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let (mut screen, to) = (File::from(keyboard.try_clone().unwrap()), Arc::clone(&drawn));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                to.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { keyboard: File::from(keyboard), line, drawn, child }
    }

    /// Everything that was drawn so far.
    pub(crate) fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// Waits until `text` was drawn for the `count`th time.
    pub(crate) fn wait_for(&self, text: &str, count: usize) {
        let until = Instant::now() + DEADLINE;
        while self.drawn().matches(text).count() < count {
            assert!(Instant::now() < until, "{text:?} was not drawn {count} times: {:?}", self.drawn());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    pub(crate) fn resize(&self, columns: u16) {
        let size = Winsize { ws_row: 30, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.line, size).unwrap();
        // The kernel tells only who has it as controlling terminal.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Whether the terminal hands keys over one by one and shows none.
    pub(crate) fn is_taken_over(&self) -> bool {
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        !modes.contains(LocalModes::ICANON) && !modes.contains(LocalModes::ECHO)
    }

    /// Waits until it ends by itself; gives the exit code.
    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.drawn());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}
