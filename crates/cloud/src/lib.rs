//! Ports to a cloud: what the controller, dmapi and a datamover each ask of it, and nothing more.
//!
//! Traits by who asks, because services have different rights: `Cloud` (the controllers' cloud workers), `Placement` (dmapi),
//! `Host` and `Connector` (a datamover, for the instances of its own host, and for volumes that are attached to it). Drivers
//! implement them; nothing above a driver knows which it has.

pub mod conformance;
mod connector;
mod description;
mod host;
mod leftover;
mod network;
mod notification;
mod placement;
mod resources;

pub use connector::{Attached, Connected, Connection, Connector};
pub use description::{
    Attachment, DiskDescription, Flavor, Image, InstanceDescription, Keypair, Server, ServerGroup, UserData,
    Volume,
};
pub use host::{
    Base, ChangeRecord, Changes, CutRequest, DestinationDisk, Frozen, Host, Moment, SourceDisk, SourceQuery,
    Thawed,
};
pub use leftover::{HostLeftover, LeftoverKey};
pub use network::{
    AllocationPool, AllowedAddressPair, ExternalGateway, ExtraDhcpOpt, FixedIp, FloatingIp, Network, Port,
    Route, Router, RouterInterface, SecurityGroup, SecurityGroupRule, Subnet, Topology,
};
pub use notification::{Notification, Subject};
pub use placement::{Located, Placement};
pub use resources::{Cloud, NewInstance, NewVolume, Planned, Resource, ResourceKind, Tag, VolumeUse};
