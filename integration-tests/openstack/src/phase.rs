//! What takes how long, said while it happens.

use std::io::Write as _;
use std::time::Instant;

/// A phase of a test; it says its seconds when it ends.
#[derive(Debug)]
pub struct Phase {
    what: String,
    begun_at: Instant,
}

impl Phase {
    /// Begins it.
    #[must_use]
    pub fn begin(what: impl Into<String>) -> Self {
        Self { what: what.into(), begun_at: Instant::now() }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        let seconds = self.begun_at.elapsed().as_secs_f64();
        let end = if std::thread::panicking() { "   FAILED" } else { "" };
        // Not by `println!`: the harness would keep it until the test fails.
        let _ = writeln!(std::io::stdout(), "   {seconds:6.1} s  {}{end}", self.what);
    }
}
