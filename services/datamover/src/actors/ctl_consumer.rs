//! Takes the control messages of running jobs: never behind work.

use std::sync::Arc;

use actix::Addr;
use async_trait::async_trait;
use bus::Envelope;
use service_kit::actors::{Handled, MessageHandler};

use super::{ResultSender, TransferSupervisor};
use crate::config::Config;
use crate::ctl;
use crate::ports::Ports;

/// Handles the messages of the host's control queue.
#[derive(Debug)]
pub struct CtlHandler {
    pub ports: Arc<Ports>,
    pub config: Arc<Config>,
    pub supervisor: Addr<TransferSupervisor>,
    pub results: ResultSender,
}

#[async_trait]
impl MessageHandler for CtlHandler {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        ctl::handle(self, envelope).await
    }
}
