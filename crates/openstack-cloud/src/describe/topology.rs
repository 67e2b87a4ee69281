//! Reads what lies around an instance: networks with their subnets, routers with their legs, security groups with all that
//! their rules name.

use std::collections::{BTreeMap, BTreeSet};

use cloud::{Network as DescribedNetwork, SecurityGroup, Topology};
use futures::future::try_join_all;
use futures::try_join;
use model::Failure;
use openstack::Service::Network;

use crate::calls::Calls;
use crate::wire::{neutron, nova};

/// A project has hundreds at most; a cloud that names ever more is not followed for ever.
const SECURITY_GROUP_COUNT_MAX: usize = 2000;
/// Some dozens of ids fit into an address that every server takes.
const IDS_PER_CALL: usize = 40;

/// Reads it all. What the owner may not see, as another project's router, is not in it.
pub(super) async fn read(
    calls: &Calls,
    ports: &[neutron::Port],
    interfaces: &[nova::Interface],
    floating_ips: &[neutron::FloatingIp],
) -> Result<Topology, Failure> {
    let inner: BTreeSet<String> = ports
        .iter()
        .map(|port| port.network_id.clone())
        .chain(interfaces.iter().map(|interface| interface.net_id.clone()))
        .filter(|id| !id.is_empty())
        .collect();
    let groups: BTreeSet<String> = ports.iter().flat_map(|port| port.security_groups.clone()).collect();
    let (routers, security_groups) =
        try_join!(read_routers(calls, &inner), read_security_groups(calls, groups))?;
    let outer = floating_ips.iter().map(|address| address.floating_network_id.clone());
    let gateways = routers.iter().filter_map(|router| router.external_gateway.as_ref());
    let all = inner.iter().cloned().chain(outer).chain(gateways.map(|gateway| gateway.network_id.clone()));
    let networks = read_networks(calls, &all.collect()).await?;
    Ok(Topology { networks, routers, security_groups })
}

async fn read_networks(calls: &Calls, ids: &BTreeSet<String>) -> Result<Vec<DescribedNetwork>, Failure> {
    let (networks, subnets): (Vec<neutron::Network>, Vec<neutron::Subnet>) =
        try_join!(list_by(calls, "networks", "id", ids), list_by(calls, "subnets", "network_id", ids))?;
    let mut described: Vec<DescribedNetwork> = networks.into_iter().map(Into::into).collect();
    for subnet in subnets {
        if let Some(network) = described.iter_mut().find(|network| network.id == subnet.network_id) {
            network.subnets.push(subnet.into());
        }
    }
    for network in &mut described {
        network.subnets.sort_by(|a, b| a.id.cmp(&b.id));
    }
    described.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(described)
}

/// The routers with a leg in one of these networks, with all their legs.
async fn read_routers(calls: &Calls, networks: &BTreeSet<String>) -> Result<Vec<cloud::Router>, Failure> {
    let ports: Vec<neutron::Port> = list_by(calls, "ports", "network_id", networks).await?;
    let ids: BTreeSet<String> = ports.into_iter().filter(is_leg).map(|port| port.device_id).collect();
    let (routers, legs): (Vec<neutron::Router>, Vec<neutron::Port>) =
        try_join!(list_by(calls, "routers", "id", &ids), list_by(calls, "ports", "device_id", &ids))?;
    let mut legs_of: BTreeMap<String, Vec<neutron::Port>> = BTreeMap::new();
    for leg in legs.into_iter().filter(is_leg) {
        legs_of.entry(leg.device_id.clone()).or_default().push(leg);
    }
    let described = routers.into_iter().map(|router| {
        let mut legs = legs_of.remove(&router.id).unwrap_or_default();
        legs.sort_by(|a, b| a.id.cmp(&b.id));
        router.described(legs)
    });
    let mut described: Vec<cloud::Router> = described.collect();
    described.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(described)
}

/// Whether a port is a router's leg in a project's network. Neutron has a word for each kind of router.
fn is_leg(port: &neutron::Port) -> bool {
    let owner = port.device_owner.as_str();
    owner.starts_with("network:router_interface") || owner == "network:ha_router_replicated_interface"
}

/// The groups, and those that their rules name, and so on.
async fn read_security_groups(
    calls: &Calls,
    mut wanted: BTreeSet<String>,
) -> Result<Vec<SecurityGroup>, Failure> {
    let mut seen: BTreeMap<String, Option<SecurityGroup>> = BTreeMap::new();
    while !wanted.is_empty() && seen.len() < SECURITY_GROUP_COUNT_MAX {
        let found: Vec<neutron::SecurityGroup> = list_by(calls, "security-groups", "id", &wanted).await?;
        // What the owner may not see is asked for once only.
        seen.extend(wanted.into_iter().map(|id| (id, None)));
        let found: Vec<SecurityGroup> = found.into_iter().map(Into::into).collect();
        let named = found.iter().flat_map(neutron::remote_groups).filter(|id| !seen.contains_key(*id));
        wanted = named.map(str::to_owned).collect();
        seen.extend(found.into_iter().map(|group| (group.id.clone(), Some(group))));
    }
    Ok(seen.into_values().flatten().collect())
}

/// All rows of a collection of which `field` is one of `values`; without values there are none.
pub(super) async fn list_by<T: serde::de::DeserializeOwned>(
    calls: &Calls,
    collection: &str,
    field: &str,
    values: &BTreeSet<String>,
) -> Result<Vec<T>, Failure> {
    // With dashes in the address, and with underscores in the answer.
    let key = collection.replace('-', "_");
    let values: Vec<&String> = values.iter().collect();
    let pages = values.chunks(IDS_PER_CALL).map(|some| {
        let filter: Vec<_> = some.iter().map(|value| format!("{field}={value}")).collect();
        calls.list(Network, format!("/{collection}?{}", filter.join("&")), &key)
    });
    Ok(try_join_all(pages).await?.into_iter().flatten().collect())
}
