//! What is collected around an instance: its ports, and the networks, routers and security groups that they need.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// One network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    pub id: String,
    pub name: String,
    pub description: String,
    pub network_id: String,
    /// The network's name.
    pub network: String,
    pub mac_address: String,
    #[serde(alias = "ip_address", deserialize_with = "fixed_ips")]
    pub fixed_ips: Vec<FixedIp>,
    pub floating_ips: Vec<FloatingIp>,
    pub allowed_address_pairs: Vec<AllowedAddressPair>,
    /// Ids; all of them, and those that their rules name, are in the topology.
    pub security_groups: Vec<String>,
    pub port_security_enabled: bool,
    pub admin_state_up: bool,
    /// `normal`, `direct`, `macvtap`, ...
    pub vnic_type: String,
    /// JSON; empty where the cloud does not show it.
    pub binding_profile: String,
    pub dns_name: String,
    pub dns_domain: String,
    pub extra_dhcp_opts: Vec<ExtraDhcpOpt>,
    pub qos_policy_id: Option<String>,
    pub tags: Vec<String>,
    /// How the guest finds it in its metadata.
    pub device_tag: Option<String>,
}

/// An address of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FixedIp {
    pub subnet_id: String,
    pub ip_address: String,
}

/// An address of an outer network that leads to a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloatingIp {
    pub id: String,
    pub floating_ip_address: String,
    pub fixed_ip_address: String,
    pub floating_network_id: String,
    pub description: String,
    pub dns_name: String,
    pub dns_domain: String,
    pub tags: Vec<String>,
}

/// Addresses that a port may use beside its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllowedAddressPair {
    pub ip_address: String,
    pub mac_address: String,
}

/// What a port's DHCP answers say more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExtraDhcpOpt {
    pub opt_name: String,
    pub opt_value: String,
    pub ip_version: u8,
}

/// All that the ports of an instance need. Each list ascends by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topology {
    pub networks: Vec<Network>,
    pub routers: Vec<Router>,
    pub security_groups: Vec<SecurityGroup>,
}

/// A network with its subnets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub id: String,
    pub name: String,
    pub description: String,
    pub project_id: String,
    pub admin_state_up: bool,
    pub shared: bool,
    /// Floating addresses and routers' gateways are of such networks.
    pub is_external: bool,
    pub mtu: u32,
    pub port_security_enabled: bool,
    pub dns_domain: String,
    pub availability_zone_hints: Vec<String>,
    /// `provider:*`, where the cloud shows them.
    pub provider: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub subnets: Vec<Subnet>,
}

/// A range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subnet {
    pub id: String,
    pub name: String,
    pub description: String,
    pub ip_version: u8,
    pub cidr: String,
    pub gateway_ip: Option<String>,
    pub enable_dhcp: bool,
    pub allocation_pools: Vec<AllocationPool>,
    pub dns_nameservers: Vec<String>,
    pub host_routes: Vec<Route>,
    pub ipv6_ra_mode: Option<String>,
    pub ipv6_address_mode: Option<String>,
    pub service_types: Vec<String>,
    pub tags: Vec<String>,
}

/// Addresses that are given out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocationPool {
    pub start: String,
    pub end: String,
}

/// A way to elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    pub destination: String,
    pub nexthop: String,
}

/// A router with its legs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Router {
    pub id: String,
    pub name: String,
    pub description: String,
    pub project_id: String,
    pub admin_state_up: bool,
    /// Where the cloud shows it.
    pub distributed: Option<bool>,
    /// Where the cloud shows it.
    pub ha: Option<bool>,
    pub external_gateway: Option<ExternalGateway>,
    pub interfaces: Vec<RouterInterface>,
    pub routes: Vec<Route>,
    pub availability_zone_hints: Vec<String>,
    pub tags: Vec<String>,
}

/// A router's leg in an outer network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExternalGateway {
    pub network_id: String,
    pub enable_snat: bool,
    pub external_fixed_ips: Vec<FixedIp>,
}

/// A router's leg in a network of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterInterface {
    pub port_id: String,
    pub network_id: String,
    pub fixed_ips: Vec<FixedIp>,
}

/// Rules for the traffic of ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroup {
    pub id: String,
    pub name: String,
    pub description: String,
    pub project_id: String,
    pub stateful: bool,
    pub rules: Vec<SecurityGroupRule>,
    pub tags: Vec<String>,
}

/// What one rule lets through. Absent: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityGroupRule {
    pub id: String,
    /// `ingress` or `egress`.
    pub direction: String,
    pub ethertype: String,
    pub protocol: Option<String>,
    pub port_range_min: Option<i32>,
    pub port_range_max: Option<i32>,
    pub remote_ip_prefix: Option<String>,
    pub remote_group_id: Option<String>,
    pub remote_address_group_id: Option<String>,
    pub description: String,
}

/// Older records hold one address as text.
fn fixed_ips<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FixedIp>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Old(String),
        New(Vec<FixedIp>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::New(all) => all,
        Either::Old(text) if text.is_empty() => Vec::new(),
        Either::Old(ip_address) => vec![FixedIp { subnet_id: String::new(), ip_address }],
    })
}
