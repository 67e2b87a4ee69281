//! Nova, and what of Glance belongs to a server.

use std::collections::BTreeMap;

use cloud::{Flavor, Image, Keypair, ServerGroup};
use model::InstanceId;
use serde::Deserialize;
use serde_json::Value;

use super::{flag, nullable, ordered, text, texts};

#[derive(Debug, Deserialize)]
pub(crate) struct ServerBody {
    pub(crate) server: Server,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Server {
    pub(crate) id: InstanceId,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) tenant_id: String,
    #[serde(default)]
    pub(crate) user_id: String,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) metadata: BTreeMap<String, String>,
    /// An object with an id, or an empty text when it boots from a volume.
    #[serde(default)]
    pub(crate) image: Value,
    #[serde(default)]
    pub(crate) flavor: EmbeddedFlavor,
    #[serde(default)]
    pub(crate) created: String,
    /// By network, in the order of the cards.
    #[serde(default, deserialize_with = "ordered")]
    pub(crate) addresses: Vec<(String, Vec<Address>)>,
    #[serde(default, rename = "OS-EXT-AZ:availability_zone", deserialize_with = "nullable")]
    pub(crate) availability_zone: String,
    #[serde(default, deserialize_with = "flag")]
    pub(crate) config_drive: bool,
    #[serde(default)]
    pub(crate) key_name: Option<String>,
    #[serde(default, rename = "OS-EXT-STS:vm_state", deserialize_with = "nullable")]
    pub(crate) vm_state: String,
    #[serde(default, rename = "OS-EXT-STS:task_state", deserialize_with = "nullable")]
    pub(crate) task_state: String,
    #[serde(default)]
    pub(crate) locked: bool,
    #[serde(default)]
    pub(crate) locked_reason: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) description: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    pub(crate) server_groups: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) trusted_image_certificates: Vec<String>,
    #[serde(default)]
    pub(crate) fault: Option<Fault>,
    #[serde(default, rename = "OS-EXT-SRV-ATTR:hostname")]
    pub(crate) hostname: Option<String>,
    /// Only where the policy shows it: absent is not null.
    #[serde(default, rename = "OS-EXT-SRV-ATTR:root_device_name")]
    pub(crate) root_device_name: Option<String>,
    #[serde(default, rename = "OS-EXT-SRV-ATTR:user_data", deserialize_with = "present")]
    pub(crate) user_data: Option<Option<String>>,
}

/// Tells an absent field from a null.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?))
}

impl Server {
    pub(crate) fn image_id(&self) -> Option<&str> {
        self.image.get("id").and_then(Value::as_str)
    }

    /// The hardware addresses of its cards, in their order.
    pub(crate) fn mac_addresses(&self) -> Vec<&str> {
        let mut found = Vec::new();
        for address in self.addresses.iter().flat_map(|(_, addresses)| addresses) {
            if !found.contains(&address.mac_address.as_str()) {
                found.push(&address.mac_address);
            }
        }
        found
    }
}

/// What the answer to a creation tells: hardly anything but the id.
#[derive(Debug, Deserialize)]
pub(crate) struct MadeServerBody {
    pub(crate) server: MadeServer,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MadeServer {
    pub(crate) id: InstanceId,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Fault {
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Address {
    #[serde(default, rename = "OS-EXT-IPS-MAC:mac_addr")]
    mac_address: String,
}

/// A flavor as a server shows it: as it was when the server was made.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct EmbeddedFlavor {
    #[serde(default)]
    pub(crate) original_name: String,
    #[serde(default)]
    pub(crate) vcpus: u32,
    #[serde(default)]
    pub(crate) ram: u64,
    #[serde(default)]
    pub(crate) disk: u64,
    #[serde(default)]
    pub(crate) ephemeral: u64,
    #[serde(default)]
    pub(crate) swap: u64,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) extra_specs: BTreeMap<String, String>,
}

impl From<EmbeddedFlavor> for Flavor {
    fn from(wire: EmbeddedFlavor) -> Self {
        Self {
            name: wire.original_name,
            vcpus: wire.vcpus,
            ram_mib: wire.ram,
            disk_gib: wire.disk,
            ephemeral_gib: wire.ephemeral,
            swap_mib: wire.swap,
            extra_specs: wire.extra_specs,
        }
    }
}

/// A row of `/flavors/detail`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ListedFlavor {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) vcpus: u32,
    #[serde(default)]
    pub(crate) ram: u64,
    #[serde(default)]
    pub(crate) disk: u64,
    #[serde(default, rename = "OS-FLV-EXT-DATA:ephemeral")]
    pub(crate) ephemeral: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AttachmentsBody {
    #[serde(rename = "volumeAttachments")]
    pub(crate) attachments: Vec<VolumeAttachment>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VolumeAttachment {
    #[serde(rename = "volumeId")]
    pub(crate) volume_id: model::VolumeId,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) device: String,
    #[serde(default)]
    pub(crate) tag: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) delete_on_termination: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct InterfacesBody {
    #[serde(rename = "interfaceAttachments")]
    pub(crate) interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Interface {
    pub(crate) port_id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) net_id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) mac_addr: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) fixed_ips: Vec<super::neutron::FixedIp>,
    #[serde(default)]
    pub(crate) tag: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct KeypairBody {
    pub(crate) keypair: WireKeypair,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireKeypair {
    pub(crate) name: String,
    #[serde(default, rename = "type")]
    keypair_type: String,
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    fingerprint: String,
}

impl From<WireKeypair> for Keypair {
    fn from(wire: WireKeypair) -> Self {
        let WireKeypair { name, keypair_type, public_key, fingerprint } = wire;
        Self { name, keypair_type, public_key, fingerprint }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ServerGroupBody {
    pub(crate) server_group: WireServerGroup,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireServerGroup {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    policy: String,
    #[serde(default, deserialize_with = "texts")]
    rules: BTreeMap<String, String>,
}

impl From<WireServerGroup> for ServerGroup {
    fn from(wire: WireServerGroup) -> Self {
        let WireServerGroup { id, name, policy, rules } = wire;
        Self { id, name, policy, rules }
    }
}

/// Glance's image; what is no field of it is a property.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireImage {
    pub(crate) id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "nullable")]
    disk_format: String,
    #[serde(default, deserialize_with = "nullable")]
    container_format: String,
    #[serde(default)]
    min_disk: u64,
    #[serde(default)]
    min_ram: u64,
    #[serde(default)]
    pub(crate) virtual_size: Option<u64>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Fields of an image that are no properties of a machine booted from it.
const NOT_PROPERTIES: [&str; 18] = [
    "checksum",
    "created_at",
    "direct_url",
    "file",
    "locations",
    "os_hash_algo",
    "os_hash_value",
    "os_hidden",
    "owner",
    "protected",
    "schema",
    "self",
    "size",
    "status",
    "stores",
    "tags",
    "updated_at",
    "visibility",
];

impl WireImage {
    /// Empty when it has none of that name.
    pub(crate) fn property(&self, key: &str) -> &str {
        self.rest.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

impl From<WireImage> for Image {
    fn from(wire: WireImage) -> Self {
        let is_property = |key: &String| !NOT_PROPERTIES.contains(&key.as_str());
        let properties = wire.rest.into_iter().filter(|(key, _)| is_property(key));
        Self {
            id: wire.id,
            name: wire.name,
            disk_format: wire.disk_format,
            container_format: wire.container_format,
            min_disk_gib: wire.min_disk,
            min_ram_mib: wire.min_ram,
            properties: properties.map(|(key, value)| (key, text(value))).collect(),
        }
    }
}

/// `/limits`.
#[derive(Debug, Deserialize)]
pub(crate) struct LimitsBody {
    pub(crate) limits: Limits,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Limits {
    pub(crate) absolute: BTreeMap<String, i64>,
}
