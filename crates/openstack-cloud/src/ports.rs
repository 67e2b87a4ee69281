//! The ports of a new instance: with the addresses of the original where they are free.

use std::collections::BTreeMap;

use cloud::{NewInstance, Port, Tag};
use model::{Failure, Owner};
use openstack::Service::Network;
use serde_json::{Value, json};

use crate::calls::{Calls, segment};
use crate::tags;
use crate::wire::neutron;

/// A port that waits for its server.
#[derive(Debug)]
pub(crate) struct ReadyPort {
    pub(crate) id: String,
    pub(crate) device_tag: Option<String>,
}

/// Which of the original's addresses a port asks for.
#[derive(Debug, Clone, Copy)]
enum Addresses {
    All,
    /// On a network of another project only its owner may choose hardware addresses; and one that is in use is in use.
    WithoutMac,
    None,
}

/// What of the project a port refers to, as it is there now.
#[derive(Debug)]
struct Surroundings {
    network_id: String,
    /// The original's, and so are its subnets.
    is_original_network: bool,
    security_groups: Vec<String>,
}

/// Makes, or finds, a port for each of the original's, in their order.
///
/// A port of the original that its user made outlives the instance: it is taken again, and never deleted by us.
/// Errors: `NETWORK_NOT_FOUND`, `SECURITY_GROUP_NOT_FOUND`: an instance is not let into another network, nor under other rules.
pub(crate) async fn create(
    calls: &Calls,
    owner: &Owner,
    new: &NewInstance,
) -> Result<Vec<ReadyPort>, Failure> {
    let made: BTreeMap<usize, neutron::Port> = tagged(calls, &new.tag).await?.into_iter().collect();
    let mut ready = Vec::new();
    for (index, port) in new.description.ports.iter().enumerate() {
        let id = if let Some(made) = made.get(&index) {
            // Its making may have ended between the two.
            finish(calls, port, made).await?;
            made.id.clone()
        } else if let Some(id) = find_free_original(calls, owner, port).await? {
            id
        } else {
            let around = surroundings(calls, owner, new, port).await?;
            let description = tags::description(&port.description, &new.tag, index);
            let made = make(calls, port, &around, &description).await?;
            finish(calls, port, &made).await?;
            made.id
        };
        ready.push(ReadyPort { id, device_tag: port.device_tag.clone() });
    }
    Ok(ready)
}

/// Deletes all that bear the tag.
pub(crate) async fn delete(calls: &Calls, tag: &Tag) -> Result<(), Failure> {
    for (_, port) in tagged(calls, tag).await? {
        calls.delete(Network, format!("/ports/{}", port.id)).await?;
    }
    Ok(())
}

/// With their index; of one whose answer was lost there may be two.
async fn tagged(calls: &Calls, tag: &Tag) -> Result<Vec<(usize, neutron::Port)>, Failure> {
    let all: Vec<neutron::Port> = calls.list(Network, "/ports".to_owned(), "ports").await?;
    let ours = all.into_iter().filter_map(|port| match tags::of_description(&port.description) {
        Some((of, index)) if of == *tag => Some((index, port)),
        _ => None,
    });
    Ok(ours.collect())
}

async fn find_free_original(calls: &Calls, owner: &Owner, port: &Port) -> Result<Option<String>, Failure> {
    if port.id.is_empty() {
        return Ok(None); // of a record that does not know it
    }
    let found: Option<neutron::PortBody> =
        calls.find(Network, format!("/ports/{}", segment(&port.id))).await?;
    let free =
        |port: &neutron::Port| port.device_id.is_empty() && port.project_id == owner.project_id.as_str();
    Ok(found.map(|body| body.port).filter(free).map(|port| port.id))
}

/// By id, else by name among what is the owner's own: others may let him see a network or a group that they named like his.
async fn surroundings(
    calls: &Calls,
    owner: &Owner,
    new: &NewInstance,
    port: &Port,
) -> Result<Surroundings, Failure> {
    let is_own = |project_id: &str| project_id == owner.project_id.as_str();
    let networks: Vec<neutron::Network> = calls.list(Network, "/networks".to_owned(), "networks").await?;
    let by_id = networks.iter().find(|network| network.id == port.network_id);
    let mut by_name = networks.iter().filter(|network| {
        !port.network.is_empty() && network.name == port.network && is_own(&network.project_id)
    });
    let network = by_id.or_else(|| by_name.next().filter(|_| by_name.next().is_none()));
    let network = network.ok_or_else(|| {
        Failure::permanent(
            "NETWORK_NOT_FOUND",
            format!(
                "instance {} had a port in network {} ({}), which is not there any more, and none or several of the project have its \
                 name: restore the network first, or choose another for the instance",
                new.name, port.network, port.network_id
            ),
        )
    })?;
    let groups: Vec<neutron::SecurityGroup> = match port.security_groups.is_empty() {
        true => Vec::new(),
        false => calls.list(Network, "/security-groups".to_owned(), "security_groups").await?,
    };
    let of_topology = &new.description.topology.security_groups;
    let security_groups = port.security_groups.iter().map(|id| {
        let name = of_topology.iter().find(|group| group.id == *id).map_or(id, |group| &group.name);
        let mut by_name = groups.iter().filter(|group| group.name == *name && is_own(&group.project_id));
        let by_id = groups.iter().find(|group| group.id == *id);
        let found = by_id.or_else(|| by_name.next().filter(|_| by_name.next().is_none()));
        found.map(|group| group.id.clone()).ok_or_else(|| {
            Failure::permanent(
                "SECURITY_GROUP_NOT_FOUND",
                format!(
                    "instance {} was under the rules of security group {name} ({id}), which is not there any more, and none or \
                     several of the project have its name: restore the network topology first, or make a group of that name",
                    new.name
                ),
            )
        })
    });
    Ok(Surroundings {
        network_id: network.id.clone(),
        is_original_network: network.id == port.network_id,
        security_groups: security_groups.collect::<Result<_, _>>()?,
    })
}

/// With as many of the original's addresses as can be had.
async fn make(
    calls: &Calls,
    port: &Port,
    around: &Surroundings,
    description: &str,
) -> Result<neutron::Port, Failure> {
    for addresses in [Addresses::All, Addresses::WithoutMac, Addresses::None] {
        let body = request(port, around, description, addresses);
        let made: Result<neutron::PortBody, _> = calls.post(Network, "/ports", &body).await;
        let refused = match made {
            Ok(body) => return Ok(body.port),
            Err(error) => error,
        };
        let failure = refused.failure();
        // In use, not allowed to choose, or not of the subnet any more.
        let may_be_address = matches!(refused.status(), Some(400 | 403 | 409));
        if !may_be_address
            || failure.code == "OPENSTACK_QUOTA_EXCEEDED"
            || matches!(addresses, Addresses::None)
        {
            return Err(failure);
        }
        tracing::info!(
            port = port.id,
            ?addresses,
            reason = failure.message,
            "a port cannot have its old addresses"
        );
    }
    unreachable!("the last attempt returns")
}

fn request(port: &Port, around: &Surroundings, description: &str, addresses: Addresses) -> Value {
    let mut body = json!({
        "network_id": around.network_id,
        "name": port.name,
        "description": description,
    });
    if matches!(addresses, Addresses::All) && !port.mac_address.is_empty() {
        body["mac_address"] = json!(port.mac_address);
    }
    if matches!(addresses, Addresses::All | Addresses::WithoutMac) && around.is_original_network {
        let fixed = port.fixed_ips.iter().filter(|ip| !ip.subnet_id.is_empty());
        let fixed: Vec<Value> =
            fixed.map(|ip| json!({ "subnet_id": ip.subnet_id, "ip_address": ip.ip_address })).collect();
        if !fixed.is_empty() {
            body["fixed_ips"] = json!(fixed);
        }
    }
    // A record from before ports were collected says neither.
    let is_collected = !port.id.is_empty();
    if is_collected && !port.port_security_enabled {
        body["port_security_enabled"] = json!(false);
        body["security_groups"] = json!([]);
    } else if !around.security_groups.is_empty() || is_collected {
        body["security_groups"] = json!(around.security_groups);
    }
    if !port.allowed_address_pairs.is_empty() {
        // The hardware address of a pair is the port's own where it was not told.
        let pairs =
            port.allowed_address_pairs.iter().map(|pair| match pair.mac_address == port.mac_address {
                true => json!({ "ip_address": pair.ip_address }),
                false => json!({ "ip_address": pair.ip_address, "mac_address": pair.mac_address }),
            });
        body["allowed_address_pairs"] = json!(pairs.collect::<Vec<_>>());
    }
    if !matches!(port.vnic_type.as_str(), "" | "normal") {
        body["binding:vnic_type"] = json!(port.vnic_type);
    }
    if !port.extra_dhcp_opts.is_empty() {
        body["extra_dhcp_opts"] = json!(port.extra_dhcp_opts);
    }
    json!({ "port": body })
}

/// What cannot be said at creation: tags, and floating addresses that lead nowhere now.
async fn finish(calls: &Calls, port: &Port, made: &neutron::Port) -> Result<(), Failure> {
    if !port.tags.is_empty() {
        calls.put(Network, format!("/ports/{}/tags", made.id), &json!({ "tags": port.tags })).await?;
    }
    for address in &port.floating_ips {
        #[derive(serde::Deserialize)]
        struct Body {
            floatingip: neutron::FloatingIp,
        }
        let path = format!("/floatingips/{}", segment(&address.id));
        let found: Option<Body> = calls.find(Network, path.clone()).await?;
        if found.is_some_and(|body| body.floatingip.port_id.is_empty()) {
            calls.put(Network, path, &json!({ "floatingip": { "port_id": made.id } })).await?;
        }
    }
    Ok(())
}
