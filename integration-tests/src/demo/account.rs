//! What the demo prints: short lines, aligned, and nothing that was not measured.

use std::io::Write as _;
use std::time::Duration;

use model::ByteCount;

/// Writes the account to standard output.
#[derive(Debug, Default)]
pub(super) struct Account;

impl Account {
    /// A heading.
    pub(super) fn chapter(&mut self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    /// A fact with its name.
    pub(super) fn fact(&mut self, name: &str, value: &str) {
        self.line(&format!("   {name:<22} {value}"));
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Who closed the pipe reads no account; the demo itself goes on.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}

/// A size with the speed it was moved at.
#[must_use]
pub(super) fn speed(bytes: ByteCount, took: Duration) -> String {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let per_second = u128::from(bytes.0) * 1_000_000 / u128::from(micros);
    format!("{bytes} ({}/s)", ByteCount(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

/// Seconds with one digit.
#[must_use]
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
