//! Ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;
use runtime::Entropy;

/// Below the range from which the kernel takes ports of outgoing connections: a server that restarts on its port finds it free.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// Finds a TCP port of 127.0.0.1 that nobody listens on. Another may take it before its use: servers try again.
///
/// Errors: a hundred random ports were all in use.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a fraction below 1 of COUNT
        let port = FIRST + (Entropy.fraction() * f64::from(COUNT)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no free port on 127.0.0.1 in {FIRST}..{}", FIRST + COUNT)
}
