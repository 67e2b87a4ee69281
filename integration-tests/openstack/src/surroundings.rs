//! All that an instance can have around it, made for a test by the product's own client.

use anyhow::{Context as _, Result};
use openstack::Service::{BlockStorage, Compute, Network};
use runtime::Entropy;
use serde_json::{Value, json};

use crate::account::Account;
use crate::lab::Lab;
use crate::project::Project;

/// `#!/bin/sh`, a line end, `true`, a line end.
pub const USER_DATA: &str = "IyEvYmluL3NoCnRydWUK";
pub const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcMdrMmk3OvzNh0ifCOSLUrLBjQ3q5pXrKB3C2QFv4N user@example";

/// What was made, as the services answered.
#[derive(Debug)]
pub struct Surroundings {
    pub network: Value,
    pub subnet: Value,
    pub external: Value,
    pub router: Value,
    pub web: Value,
    pub db: Value,
    pub port: Value,
    pub floating_ip: Value,
    pub server_group: Value,
    pub data: Value,
    pub server_id: String,
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned())
}

impl Surroundings {
    /// An instance that boots from a new volume of the image and has a second one, with ports in two networks.
    pub async fn make(lab: &Lab, project: &Project, account: &Account) -> Result<Self> {
        let (network, subnet) = make_network(account).await?;
        let externals: Vec<Value> =
            account.list(Network, "/networks?router:external=true", "networks").await?;
        let external = externals.into_iter().find(|it| it["name"] == lab.network.as_str());
        let external = external.context("the lab has an external network")?;
        let router = make_router(account, &subnet["id"], &external["id"]).await?;
        let (web, db) = make_security_groups(account).await?;
        let body = json!({"port": {
            "network_id": network["id"], "name": "first", "description": "of the test",
            "mac_address": "fa:16:3e:77:00:01",
            "fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "10.77.0.50"}],
            "allowed_address_pairs": [{"ip_address": "10.77.0.200"}],
            "security_groups": [web["id"]],
        }});
        let port = account.make(Network, "/ports", "port", body).await?;
        let body = json!({"floatingip": {"floating_network_id": external["id"], "port_id": port["id"]}});
        let floating_ip = account.make(Network, "/floatingips", "floatingip", body).await?;
        let body = json!({"server_group": {"name": "apart", "policy": "soft-anti-affinity"}});
        let server_group = account.make(Compute, "/os-server-groups", "server_group", body).await?;
        let key = json!({"keypair": {"name": "holder", "type": "ssh", "public_key": PUBLIC_KEY}});
        account.make(Compute, "/os-keypairs", "keypair", key).await?;
        let body = json!({"volume": {
            "name": "data", "description": "of the test", "size": 1, "metadata": {"purpose": "data"},
        }});
        let data = account.make(BlockStorage, "/volumes", "volume", body).await?;
        project.wait_for_status(&["volume"], &text(&data["id"])?, "available")?;
        let mut made = Self {
            network,
            subnet,
            external,
            router,
            web,
            db,
            port,
            floating_ip,
            server_group,
            data,
            server_id: String::new(),
        };
        made.server_id = made.make_server(lab, account).await?;
        project.wait_for_status(&["server"], &made.server_id, "ACTIVE")?;
        Ok(made)
    }

    async fn make_server(&self, lab: &Lab, account: &Account) -> Result<String> {
        let images: Vec<Value> = account.list(openstack::Service::Image, "/images", "images").await?;
        let image = images.into_iter().find(|it| it["name"] == lab.image.as_str());
        let image = image.context("the lab has an image")?;
        let flavors: Vec<Value> = account.list(Compute, "/flavors/detail", "flavors").await?;
        let flavor = flavors.into_iter().find(|it| it["name"] == lab.flavor_diskless.as_str());
        let flavor = flavor.context("the lab has a flavor without a disk")?;
        let body = json!({
            "server": {
                "name": "described", "description": "all that belongs to it",
                "flavorRef": flavor["id"], "key_name": "holder", "user_data": USER_DATA,
                "metadata": {"role": "web"}, "tags": ["blue"], "config_drive": true,
                "networks": [{"port": self.port["id"], "tag": "front"}, {"uuid": self.external["id"]}],
                "block_device_mapping_v2": [
                    {"boot_index": 0, "uuid": image["id"], "source_type": "image", "destination_type": "volume",
                     "volume_size": 1, "delete_on_termination": true, "tag": "system"},
                    {"boot_index": -1, "uuid": self.data["id"], "source_type": "volume",
                     "destination_type": "volume", "tag": "store"},
                ],
            },
            "os:scheduler_hints": {"group": self.server_group["id"]},
        });
        text(&account.make(Compute, "/servers", "server", body).await?["id"])
    }

    /// Takes away what `Project::close` does not: all but instances, volumes and ports. The instance must be gone.
    pub async fn remove(self, account: &Account) -> Result<()> {
        let (router, subnet) = (text(&self.router["id"])?, &self.subnet["id"]);
        let floating_ip = format!("/floatingips/{}", text(&self.floating_ip["id"])?);
        account.session.delete_if_there(Network, &floating_ip).await?;
        let bare = json!({"router": {"routes": [], "external_gateway_info": {}}});
        account.change(Network, &format!("/routers/{router}"), bare).await?;
        let leg = json!({"subnet_id": subnet});
        account.change(Network, &format!("/routers/{router}/remove_router_interface"), leg).await?;
        for path in [
            format!("/routers/{router}"),
            format!("/ports/{}", text(&self.port["id"])?),
            format!("/networks/{}", text(&self.network["id"])?),
        ] {
            account.session.delete_if_there(Network, &path).await?;
        }
        let group = format!("/os-server-groups/{}", text(&self.server_group["id"])?);
        account.session.delete_if_there(Compute, &group).await?;
        Ok(account.session.delete_if_there(Compute, "/os-keypairs/holder").await?)
    }
}

/// A network of the project's own, with a subnet.
pub async fn make_network(account: &Account) -> Result<(Value, Value)> {
    let body = json!({"network": {"name": "inner", "description": "of the test"}});
    let network = account.make(Network, "/networks", "network", body).await?;
    let body = json!({"subnet": {
        "name": "inner4", "network_id": network["id"], "ip_version": 4, "cidr": "10.77.0.0/24",
        "dns_nameservers": ["9.9.9.9"],
        "host_routes": [{"destination": "10.88.0.0/16", "nexthop": "10.77.0.9"}],
        "allocation_pools": [{"start": "10.77.0.10", "end": "10.77.0.100"}],
    }});
    let subnet = account.make(Network, "/subnets", "subnet", body).await?;
    Ok((network, subnet))
}

async fn make_router(account: &Account, subnet_id: &Value, external_id: &Value) -> Result<Value> {
    let body = json!({"router": {"name": "edge", "external_gateway_info": {"network_id": external_id}}});
    let router = account.make(Network, "/routers", "router", body).await?;
    let path = format!("/routers/{}", text(&router["id"])?);
    let leg = json!({"subnet_id": subnet_id});
    account.change(Network, &format!("{path}/add_router_interface"), leg).await?;
    let routes = json!({"router": {"routes": [{"destination": "10.99.0.0/16", "nexthop": "10.77.0.9"}]}});
    account.change(Network, &path, routes).await?;
    Ok(router)
}

/// `web` lets in `db`, which is on no port.
async fn make_security_groups(account: &Account) -> Result<(Value, Value)> {
    let mut groups = Vec::new();
    for name in ["web", "db"] {
        // Neutron's groups of the same name are told apart by their ids only.
        let description = format!("of the test {}", Entropy.uuid().simple());
        let body = json!({"security_group": {"name": name, "description": description}});
        groups.push(account.make(Network, "/security-groups", "security_group", body).await?);
    }
    let [web, db] = <[Value; 2]>::try_from(groups).expect("two were made");
    let rule = json!({"security_group_rule": {
        "security_group_id": web["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp",
        "port_range_min": 5432, "port_range_max": 5433, "remote_group_id": db["id"],
    }});
    account.make(Network, "/security-group-rules", "security_group_rule", rule).await?;
    Ok((web, db))
}
