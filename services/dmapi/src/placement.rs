//! From a placement to a queue: asks the cloud, and nobody else.

use std::fmt;

use bus_config::{key, queue};
use cloud::{Located, Placement};
use model::{Failure, HostName, PoolName};
use proto::convert::PlacedAt;

/// Where a command goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Host(HostName),
    Pool(PoolName),
}

impl Destination {
    /// The key by which the command is forwarded.
    #[must_use]
    pub fn routing_key(&self, verb: &str) -> String {
        match self {
            Self::Host(host) => key::mover_host(host, verb),
            Self::Pool(pool) => key::mover_pool(pool, verb),
        }
    }

    /// The queue in which it then waits.
    #[must_use]
    pub fn queue(&self) -> String {
        match self {
            Self::Host(host) => queue::mover_host(host),
            Self::Pool(pool) => queue::mover_pool(pool),
        }
    }

    /// Nobody ever enrolled it.
    #[must_use]
    pub fn not_enrolled(&self) -> Failure {
        let what_to_do = match self {
            Self::Host(host) => {
                format!("enrol it with `holdfast-controller host add {host}` and start its datamover")
            }
            Self::Pool(pool) => {
                format!("enrol a host that serves it with `holdfast-controller host add HOST --pool {pool}`")
            }
        };
        Failure::permanent("HOST_NOT_ENROLLED", format!("{self} is not enrolled with Holdfast: {what_to_do}"))
    }

    /// It is enrolled, but nobody reads its queue.
    #[must_use]
    pub fn not_running(&self) -> Failure {
        let what_to_do = match self {
            Self::Host(host) => format!("start holdfast-datamover on host {host}"),
            Self::Pool(pool) => format!("start holdfast-datamover on a host that serves pool {pool}"),
        };
        Failure::transient(
            "DATAMOVER_NOT_RUNNING",
            format!("no datamover of {self} is connected: {what_to_do}"),
        )
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host {host}"),
            Self::Pool(pool) => write!(f, "pool {pool}"),
        }
    }
}

/// Asks the cloud where a placement is. A host that is known already is taken as it is.
///
/// Errors: `INSTANCE_NOT_FOUND`; the cloud's failures as they are.
pub async fn resolve(cloud: &dyn Placement, at: &PlacedAt) -> Result<Destination, Failure> {
    match at {
        PlacedAt::Host(host) => Ok(Destination::Host(host.clone())),
        PlacedAt::Instance(id) => match cloud.locate_instance(*id).await? {
            Located::On(host) => Ok(Destination::Host(host)),
            Located::Nowhere => Err(Failure::permanent(
                "INSTANCE_NOT_FOUND",
                format!("the cloud knows no instance {id}: was it deleted? Take it out of the workload"),
            )),
        },
        PlacedAt::Volume(id) => Ok(Destination::Pool(cloud.pool_of_volume(*id).await?)),
        PlacedAt::Target(id) => Ok(Destination::Pool(cloud.pool_of_target(*id).await?)),
    }
}
