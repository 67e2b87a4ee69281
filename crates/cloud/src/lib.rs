//! Ports to a cloud: what the controller, dmapi and a datamover each ask of it, and nothing more.
//!
//! Three traits, because three services with different rights ask: `Cloud` (the controllers' cloud workers), `Placement`
//! (dmapi) and `Host` (a datamover, for the instances of its own host). Drivers implement them; nothing above a driver
//! knows which it has.

mod description;
mod host;
mod placement;
mod resources;

pub use description::{DiskDescription, Flavor, InstanceDescription, Nic};
pub use host::{
    Base, ChangeRecord, Changes, CutRequest, DestinationDisk, Frozen, Host, Moment, SourceDisk, SourceQuery,
    Thawed,
};
pub use placement::{Located, Placement};
pub use resources::{Cloud, NewInstance, NewVolume, Resource, ResourceKind, Tag};
