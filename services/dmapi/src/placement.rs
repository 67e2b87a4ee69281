//! From a placement to a queue: asks the cloud, and nobody else.

use std::fmt;

use bus_config::{key, queue};
use cloud::{Located, Placement};
use model::{Failure, HostName, InstanceId, PoolName};
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

    /// Its datamover said that it does not know this command.
    #[must_use]
    pub fn too_old(&self, verb: &str) -> Failure {
        let message = format!(
            "the datamover of {self} is of an earlier version and does not know {verb}: upgrade holdfast-datamover there; it is \
             tried again meanwhile"
        );
        Failure::transient("HOST_TOO_OLD", message)
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
/// Errors: why an instance is on no host, each with its own code; the cloud's failures as they are.
pub async fn resolve(cloud: &dyn Placement, at: &PlacedAt) -> Result<Destination, Failure> {
    match at {
        PlacedAt::Host(host) => Ok(Destination::Host(host.clone())),
        PlacedAt::Instance(id) => host_of(*id, cloud.locate_instance(*id).await?).map(Destination::Host),
        PlacedAt::Volume(id) => Ok(Destination::Pool(cloud.pool_of_volume(*id).await?)),
        PlacedAt::Target(id) => Ok(Destination::Pool(cloud.pool_of_target(*id).await?)),
    }
}

/// The host, or why there is none.
fn host_of(id: InstanceId, located: Located) -> Result<HostName, Failure> {
    Err(match located {
        Located::On(host) => return Ok(host),
        Located::Nowhere => Failure::permanent(
            "INSTANCE_NOT_FOUND",
            format!("the cloud knows no instance {id}: was it deleted? Take it out of the workload"),
        ),
        Located::Deleted => Failure::permanent(
            "INSTANCE_DELETED",
            format!("instance {id} was deleted: take it out of the workload; its snapshots stay"),
        ),
        Located::Shelved => Failure::permanent(
            "INSTANCE_SHELVED",
            format!("instance {id} is shelved and on no host: unshelve it, then start the job again"),
        ),
        Located::Migrating { from } => Failure::transient(
            "INSTANCE_MIGRATING",
            format!("instance {id} is on its way from host {from} to another; it is looked up again"),
        ),
        Located::Building => Failure::transient(
            "INSTANCE_BUILDING",
            format!("instance {id} is being built or unshelved; it is looked up again"),
        ),
        Located::NeverPlaced => Failure::permanent(
            "INSTANCE_NEVER_PLACED",
            format!(
                "the cloud found no host for instance {id}: it has no disks; take it out of the workload"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use model::ErrorClass;
    use runtime::Entropy;

    use super::*;

    #[track_caller]
    fn check(located: Located, class: ErrorClass, code: &str) {
        let id = InstanceId::from_uuid(Entropy.uuid());
        let failure = host_of(id, located).unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (class, code));
        assert!(failure.message.contains(&id.to_string()), "{failure}");
    }

    #[test]
    fn an_instance_on_no_host_is_said_to_be_so_for_its_own_reason() {
        check(Located::Nowhere, ErrorClass::Permanent, "INSTANCE_NOT_FOUND");
        check(Located::Deleted, ErrorClass::Permanent, "INSTANCE_DELETED");
        check(Located::Shelved, ErrorClass::Permanent, "INSTANCE_SHELVED");
        check(Located::NeverPlaced, ErrorClass::Permanent, "INSTANCE_NEVER_PLACED");
    }

    #[test]
    fn an_instance_that_will_be_somewhere_is_looked_up_again() {
        check(Located::Building, ErrorClass::Transient, "INSTANCE_BUILDING");
        let from = "node-1".parse().unwrap();
        check(Located::Migrating { from }, ErrorClass::Transient, "INSTANCE_MIGRATING");
    }
}
