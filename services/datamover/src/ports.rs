//! Every outside thing a datamover touches, as one struct.

use std::sync::Arc;
use std::time::Duration;

use cloud::Host;
use model::HostName;
use runtime::Clock;

use crate::actors::{LeaseKeeper, ThawTimer};
use crate::connections::Connections;
use crate::journal::JournalHandle;
use crate::pipeline::Means;
use crate::replies::Replies;

/// What jobs need. Shared by all of them.
#[derive(Debug)]
pub struct Ports {
    pub host_name: HostName,
    pub host: Arc<dyn Host>,
    pub connections: Connections,
    pub means: Means,
    pub journal: JournalHandle,
    pub clock: Arc<dyn Clock>,
    pub replies: Replies,
    pub thaw_timer: ThawTimer,
    pub lease_keeper: LeaseKeeper,
    pub settings: Settings,
}

/// Settings that jobs need.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub freeze_duration_max: Duration,
    pub lease_margin: Duration,
}
