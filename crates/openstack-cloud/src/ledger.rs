//! Full listings of a project: what a saga could leave behind, ours or not.

use std::collections::BTreeMap;

use cloud::{Resource, ResourceKind, Tag};
use futures::future::try_join_all;
use model::Failure;
use openstack::Service;
use serde::Deserialize;

use crate::calls::Calls;
use crate::tags;
use crate::wire::{nullable, texts};

/// A row of any listing, as far as a ledger needs it.
#[derive(Debug, Deserialize)]
struct Row {
    id: String,
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    description: String,
    #[serde(default, deserialize_with = "texts")]
    metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    project_id: String,
    #[serde(default, deserialize_with = "nullable")]
    owner: String,
    #[serde(default, deserialize_with = "nullable")]
    floating_ip_address: String,
}

/// Where a kind is listed.
struct Listing {
    kind: ResourceKind,
    service: Service,
    path: &'static str,
    key: &'static str,
}

const fn listing(kind: ResourceKind, service: Service, path: &'static str, key: &'static str) -> Listing {
    Listing { kind, service, path, key }
}

const LISTINGS: [Listing; 12] = [
    listing(ResourceKind::Instance, Service::Compute, "/servers/detail", "servers"),
    listing(ResourceKind::ServerGroup, Service::Compute, "/os-server-groups", "server_groups"),
    listing(ResourceKind::Volume, Service::BlockStorage, "/volumes/detail", "volumes"),
    listing(ResourceKind::VolumeSnapshot, Service::BlockStorage, "/snapshots/detail", "snapshots"),
    listing(ResourceKind::Attachment, Service::BlockStorage, "/attachments", "attachments"),
    listing(ResourceKind::Image, Service::Image, "/images?limit=100", "images"),
    listing(ResourceKind::Port, Service::Network, "/ports", "ports"),
    listing(ResourceKind::FloatingIp, Service::Network, "/floatingips", "floatingips"),
    listing(ResourceKind::Network, Service::Network, "/networks", "networks"),
    listing(ResourceKind::Subnet, Service::Network, "/subnets", "subnets"),
    listing(ResourceKind::Router, Service::Network, "/routers", "routers"),
    listing(ResourceKind::SecurityGroup, Service::Network, "/security-groups", "security_groups"),
];

/// Everything of the project, sorted. What other projects share with it is not its own.
pub(crate) async fn list(calls: &Calls, project_id: &str) -> Result<Vec<Resource>, Failure> {
    let lists = LISTINGS.iter().map(|listing| async move {
        let rows: Vec<Row> = calls.list(listing.service, listing.path.to_owned(), listing.key).await?;
        let own = rows.into_iter().filter(|row| {
            let of = if row.owner.is_empty() { &row.project_id } else { &row.owner };
            of.is_empty() || of == project_id
        });
        Ok::<_, Failure>(own.map(|row| resource(listing.kind, row)).collect::<Vec<_>>())
    });
    let mut resources: Vec<Resource> = try_join_all(lists).await?.into_iter().flatten().collect();
    resources.sort();
    Ok(resources)
}

fn resource(kind: ResourceKind, row: Row) -> Resource {
    let tag: Option<Tag> = match kind {
        ResourceKind::Port => tags::of_description(&row.description).map(|(tag, _)| tag),
        _ => tags::of_metadata(&row.metadata),
    };
    let name = if kind == ResourceKind::FloatingIp { row.floating_ip_address } else { row.name };
    Resource { kind, id: row.id, name, tag }
}
