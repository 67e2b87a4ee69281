//! Tells the controllers at each session that this process is here, and what it can do.

use std::sync::Arc;

use bus::{Session, SessionState};
use model::PoolName;
use proto::rep::v1::Register;
use service_kit::{Service, drill};

use super::ResultSender;
use crate::ports::Ports;

const NAME: &str = "registrar";

/// What this version can do; a controller sends nothing else.
const CAPABILITIES: [&str; 9] = [
    "freeze_guest",
    "thaw_guest",
    "describe_connector",
    "transfer_disk",
    "purge_transfer",
    "verify_manifest",
    "write_disk",
    "abort_write",
    "examine",
];

/// Starts it. At each session all results are sent again too: the broker may have lost what it had not confirmed.
pub fn start_registrar(
    service: &Service,
    session: &Session,
    ports: Arc<Ports>,
    results: ResultSender,
    about: (String, &[PoolName]),
) {
    let register = Register {
        host: ports.host_name.to_string(),
        boot_id: about.0,
        pools: about.1.iter().map(ToString::to_string).collect(),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut states = session.state();
    service.supervise(NAME, async move {
        loop {
            let state = states.borrow_and_update().clone();
            if matches!(state, SessionState::Ready { .. }) {
                drill::maybe_panic(NAME);
                if let Err(error) = ports.replies.send_register(&register).await {
                    tracing::warn!(%error, "failed to register, will try again at the next session");
                }
                results.send_all_soon();
            }
            if matches!(state, SessionState::Closed) || states.changed().await.is_err() {
                return;
            }
        }
    });
}
