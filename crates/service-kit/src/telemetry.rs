//! Logs: compact lines on a terminal, JSON lines elsewhere, always on stderr. `RUST_LOG` chooses; the default is `info`.

use std::io::IsTerminal as _;

pub use model::Chain;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// lapin tells of a lost connection as an error; our session tells it better, and makes another. Its kin tell much at `info`.
const QUIET: &str = "info,lapin=off,actix_server=warn,actix_web=warn";

/// Starts logging for `service`. A second call in one process changes nothing.
pub fn init(service: &'static str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        builder.compact().finish().try_init()
    } else {
        builder.json().flatten_event(true).finish().try_init()
    };
    if started.is_ok() {
        tracing::debug!(service, version = env!("CARGO_PKG_VERSION"), "telemetry is up");
    }
}
