//! Neutron.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{nullable, text};

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct FixedIp {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) subnet_id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) ip_address: String,
}

impl From<FixedIp> for cloud::FixedIp {
    fn from(wire: FixedIp) -> Self {
        Self { subnet_id: wire.subnet_id, ip_address: wire.ip_address }
    }
}

pub(crate) fn fixed_ips(wire: Vec<FixedIp>) -> Vec<cloud::FixedIp> {
    wire.into_iter().map(Into::into).collect()
}

#[derive(Debug, Deserialize)]
pub(crate) struct PortBody {
    pub(crate) port: Port,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Port {
    pub(crate) id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) description: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) project_id: String,
    pub(crate) network_id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) device_id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) device_owner: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) mac_address: String,
    pub(crate) admin_state_up: bool,
    #[serde(deserialize_with = "nullable")]
    pub(crate) fixed_ips: Vec<FixedIp>,
    #[serde(deserialize_with = "nullable")]
    allowed_address_pairs: Vec<AddressPair>,
    #[serde(deserialize_with = "nullable")]
    extra_dhcp_opts: Vec<DhcpOpt>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) security_groups: Vec<String>,
    #[serde(rename = "binding:vnic_type", deserialize_with = "nullable")]
    vnic_type: String,
    #[serde(rename = "binding:profile", deserialize_with = "nullable")]
    profile: BTreeMap<String, Value>,
    #[serde(deserialize_with = "nullable")]
    port_security_enabled: bool,
    #[serde(deserialize_with = "nullable")]
    dns_name: String,
    #[serde(deserialize_with = "nullable")]
    dns_domain: String,
    qos_policy_id: Option<String>,
    #[serde(deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct AddressPair {
    #[serde(default, deserialize_with = "nullable")]
    ip_address: String,
    #[serde(default, deserialize_with = "nullable")]
    mac_address: String,
}

#[derive(Debug, Clone, Deserialize)]
struct DhcpOpt {
    #[serde(default)]
    opt_name: String,
    #[serde(default, deserialize_with = "nullable")]
    opt_value: String,
    #[serde(default)]
    ip_version: u8,
}

impl From<Port> for cloud::Port {
    fn from(wire: Port) -> Self {
        let pairs = wire.allowed_address_pairs.into_iter().map(|pair| cloud::AllowedAddressPair {
            ip_address: pair.ip_address,
            mac_address: pair.mac_address,
        });
        let options = wire.extra_dhcp_opts.into_iter().map(|option| cloud::ExtraDhcpOpt {
            opt_name: option.opt_name,
            opt_value: option.opt_value,
            ip_version: option.ip_version,
        });
        let profile =
            (!wire.profile.is_empty()).then(|| Value::Object(wire.profile.into_iter().collect()).to_string());
        Self {
            id: wire.id,
            name: wire.name,
            description: wire.description,
            network_id: wire.network_id,
            network: String::new(),
            mac_address: wire.mac_address,
            fixed_ips: fixed_ips(wire.fixed_ips),
            floating_ips: Vec::new(),
            allowed_address_pairs: pairs.collect(),
            security_groups: wire.security_groups,
            port_security_enabled: wire.port_security_enabled,
            admin_state_up: wire.admin_state_up,
            vnic_type: wire.vnic_type,
            binding_profile: profile.unwrap_or_default(),
            dns_name: wire.dns_name,
            dns_domain: wire.dns_domain,
            extra_dhcp_opts: options.collect(),
            qos_policy_id: wire.qos_policy_id,
            tags: wire.tags,
            device_tag: None,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FloatingIp {
    pub(crate) id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) port_id: String,
    pub(crate) floating_ip_address: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) fixed_ip_address: String,
    pub(crate) floating_network_id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) description: String,
    #[serde(deserialize_with = "nullable")]
    dns_name: String,
    #[serde(deserialize_with = "nullable")]
    dns_domain: String,
    #[serde(deserialize_with = "nullable")]
    tags: Vec<String>,
}

impl From<FloatingIp> for cloud::FloatingIp {
    fn from(wire: FloatingIp) -> Self {
        Self {
            id: wire.id,
            floating_ip_address: wire.floating_ip_address,
            fixed_ip_address: wire.fixed_ip_address,
            floating_network_id: wire.floating_network_id,
            description: wire.description,
            dns_name: wire.dns_name,
            dns_domain: wire.dns_domain,
            tags: wire.tags,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    description: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) project_id: String,
    admin_state_up: bool,
    shared: bool,
    #[serde(rename = "router:external")]
    is_external: bool,
    mtu: u32,
    port_security_enabled: bool,
    #[serde(deserialize_with = "nullable")]
    dns_domain: String,
    #[serde(deserialize_with = "nullable")]
    availability_zone_hints: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    tags: Vec<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl From<Network> for cloud::Network {
    fn from(wire: Network) -> Self {
        let provider =
            wire.rest.into_iter().filter(|(key, value)| key.starts_with("provider:") && !value.is_null());
        Self {
            id: wire.id,
            name: wire.name,
            description: wire.description,
            project_id: wire.project_id,
            admin_state_up: wire.admin_state_up,
            shared: wire.shared,
            is_external: wire.is_external,
            mtu: wire.mtu,
            port_security_enabled: wire.port_security_enabled,
            dns_domain: wire.dns_domain,
            availability_zone_hints: wire.availability_zone_hints,
            provider: provider.map(|(key, value)| (key, text(value))).collect(),
            tags: wire.tags,
            subnets: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Subnet {
    pub(crate) id: String,
    pub(crate) network_id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    description: String,
    ip_version: u8,
    cidr: String,
    gateway_ip: Option<String>,
    enable_dhcp: bool,
    #[serde(deserialize_with = "nullable")]
    allocation_pools: Vec<Pool>,
    #[serde(deserialize_with = "nullable")]
    dns_nameservers: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    host_routes: Vec<Route>,
    ipv6_ra_mode: Option<String>,
    ipv6_address_mode: Option<String>,
    #[serde(deserialize_with = "nullable")]
    service_types: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Pool {
    start: String,
    end: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Route {
    destination: String,
    nexthop: String,
}

fn routes(wire: Vec<Route>) -> Vec<cloud::Route> {
    let route = |route: Route| cloud::Route { destination: route.destination, nexthop: route.nexthop };
    wire.into_iter().map(route).collect()
}

impl From<Subnet> for cloud::Subnet {
    fn from(wire: Subnet) -> Self {
        let pool = |pool: Pool| cloud::AllocationPool { start: pool.start, end: pool.end };
        Self {
            id: wire.id,
            name: wire.name,
            description: wire.description,
            ip_version: wire.ip_version,
            cidr: wire.cidr,
            gateway_ip: wire.gateway_ip,
            enable_dhcp: wire.enable_dhcp,
            allocation_pools: wire.allocation_pools.into_iter().map(pool).collect(),
            dns_nameservers: wire.dns_nameservers,
            host_routes: routes(wire.host_routes),
            ipv6_ra_mode: wire.ipv6_ra_mode,
            ipv6_address_mode: wire.ipv6_address_mode,
            service_types: wire.service_types,
            tags: wire.tags,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Router {
    pub(crate) id: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    description: String,
    #[serde(deserialize_with = "nullable")]
    project_id: String,
    admin_state_up: bool,
    distributed: Option<bool>,
    ha: Option<bool>,
    pub(crate) external_gateway_info: Option<Gateway>,
    #[serde(deserialize_with = "nullable")]
    routes: Vec<Route>,
    #[serde(deserialize_with = "nullable")]
    availability_zone_hints: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Gateway {
    pub(crate) network_id: String,
    #[serde(default)]
    enable_snat: bool,
    #[serde(default, deserialize_with = "nullable")]
    external_fixed_ips: Vec<FixedIp>,
}

impl Router {
    /// With its legs, which are ports.
    pub(crate) fn described(self, legs: Vec<Port>) -> cloud::Router {
        let leg = |port: Port| cloud::RouterInterface {
            port_id: port.id,
            network_id: port.network_id,
            fixed_ips: fixed_ips(port.fixed_ips),
        };
        let gateway = self.external_gateway_info.map(|gateway| cloud::ExternalGateway {
            network_id: gateway.network_id,
            enable_snat: gateway.enable_snat,
            external_fixed_ips: fixed_ips(gateway.external_fixed_ips),
        });
        cloud::Router {
            id: self.id,
            name: self.name,
            description: self.description,
            project_id: self.project_id,
            admin_state_up: self.admin_state_up,
            distributed: self.distributed,
            ha: self.ha,
            external_gateway: gateway,
            interfaces: legs.into_iter().map(leg).collect(),
            routes: routes(self.routes),
            availability_zone_hints: self.availability_zone_hints,
            tags: self.tags,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SecurityGroup {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(deserialize_with = "nullable")]
    description: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) project_id: String,
    stateful: Option<bool>,
    #[serde(deserialize_with = "nullable")]
    security_group_rules: Vec<Rule>,
    #[serde(deserialize_with = "nullable")]
    tags: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rule {
    id: String,
    direction: String,
    #[serde(deserialize_with = "nullable")]
    ethertype: String,
    /// Some releases give a number.
    protocol: Value,
    port_range_min: Option<i32>,
    port_range_max: Option<i32>,
    remote_ip_prefix: Option<String>,
    remote_group_id: Option<String>,
    remote_address_group_id: Option<String>,
    #[serde(deserialize_with = "nullable")]
    description: String,
}

impl From<SecurityGroup> for cloud::SecurityGroup {
    fn from(wire: SecurityGroup) -> Self {
        let rule = |rule: Rule| cloud::SecurityGroupRule {
            id: rule.id,
            direction: rule.direction,
            ethertype: rule.ethertype,
            protocol: Some(text(rule.protocol)).filter(|text| !text.is_empty()),
            port_range_min: rule.port_range_min,
            port_range_max: rule.port_range_max,
            remote_ip_prefix: rule.remote_ip_prefix,
            remote_group_id: rule.remote_group_id,
            remote_address_group_id: rule.remote_address_group_id,
            description: rule.description,
        };
        let mut rules: Vec<_> = wire.security_group_rules.into_iter().map(rule).collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        Self {
            id: wire.id,
            name: wire.name,
            description: wire.description,
            project_id: wire.project_id,
            stateful: wire.stateful.unwrap_or(true),
            rules,
            tags: wire.tags,
        }
    }
}

/// The ids of all security groups that these rules let in.
pub(crate) fn remote_groups(group: &cloud::SecurityGroup) -> impl Iterator<Item = &str> {
    group.rules.iter().filter_map(|rule| rule.remote_group_id.as_deref())
}
