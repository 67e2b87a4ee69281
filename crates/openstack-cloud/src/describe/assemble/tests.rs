//! From answers of a real OpenStack Zed: an instance that boots from a volume, with a second volume and ports in two networks.

use cloud::{FixedIp, Topology};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::refusals;
use crate::wire::neutron;

const CAPTURED: &str = include_str!("../captured.json");

fn captured() -> Value {
    serde_json::from_str(CAPTURED).unwrap()
}

fn read<T: DeserializeOwned>(captured: &Value, key: &str) -> T {
    // By way of its text, as it comes from the wire: a map's order counts.
    let start = CAPTURED.find(&format!("\n \"{key}\"")).unwrap();
    let mut values = serde_json::Deserializer::from_str(&CAPTURED[start + key.len() + 5..]).into_iter::<T>();
    let as_it_came = values.next().unwrap().unwrap();
    if captured[key] == self::captured()[key] {
        as_it_came
    } else {
        serde_json::from_value(captured[key].clone()).unwrap()
    }
}

fn collected(captured: &Value) -> Collected {
    let networks: Vec<neutron::Network> = read(captured, "networks");
    let groups: Vec<neutron::SecurityGroup> = read(captured, "security_groups");
    Collected {
        server: read(captured, "server"),
        attachments: read(captured, "attachments"),
        volumes: read(captured, "volumes"),
        connects_by: BTreeMap::new(),
        interfaces: read(captured, "interfaces"),
        ports: read(captured, "ports"),
        floating_ips: read(captured, "floating_ips"),
        keypair: Some(read(captured, "keypair")),
        image: captured["server"]["image"].is_object().then(|| read(captured, "image")),
        server_group: Some(read(captured, "server_group")),
        topology: Topology {
            networks: networks.into_iter().map(Into::into).collect(),
            routers: Vec::new(),
            security_groups: groups.into_iter().map(Into::into).collect(),
        },
    }
}

fn describe(change: impl FnOnce(&mut Value)) -> InstanceDescription {
    let mut captured = captured();
    change(&mut captured);
    assemble(collected(&captured)).unwrap()
}

fn devices(description: &InstanceDescription) -> Vec<(&str, bool)> {
    description.disks.iter().map(|disk| (disk.device.as_str(), disk.is_excluded)).collect()
}

#[test]
fn the_server_itself_is_described() {
    let description = describe(|_| ());
    assert_eq!((description.name.as_str(), description.availability_zone.as_str()), ("cap", "nova"));
    assert_eq!(description.metadata, BTreeMap::from([("m".to_owned(), "1".to_owned())]));
    assert_eq!((description.flavor.name.as_str(), description.flavor.ram_mib), ("diskless", 256));
    let server = &description.server;
    assert_eq!((server.description.as_str(), server.status.as_str()), ("captured", "ACTIVE"));
    assert_eq!(server.tags, ["t1"]);
    assert_eq!(server.image, None);
    assert_eq!(server.user_data, UserData::NotShown, "Nova shows it to administrators only");
    let keypair = server.keypair.as_ref().unwrap();
    assert_eq!((keypair.name.as_str(), keypair.keypair_type.as_str()), ("k1", "ssh"));
    assert_eq!(keypair.public_key.as_deref(), Some("ssh-ed25519 AAAAC3 user@example"));
    let group = server.server_group.as_ref().unwrap();
    assert_eq!((group.name.as_str(), group.policy.as_str()), ("apart", "soft-anti-affinity"));
}

#[test]
fn cards_come_in_the_order_of_the_guest_and_not_of_a_listing() {
    let description = describe(|_| ());
    let [inner, external] = &description.ports[..] else { panic!("{:?}", description.ports) };
    assert_eq!((inner.network.as_str(), external.network.as_str()), ("inner", "external"));
    assert_eq!(inner.device_tag.as_deref(), Some("nic0"));
    let subnet_id = inner.fixed_ips[0].subnet_id.clone();
    assert_eq!(inner.fixed_ips, [FixedIp { subnet_id, ip_address: "10.77.0.50".to_owned() }]);
    assert_eq!(inner.floating_ips[0].floating_ip_address, "203.0.113.167");
    assert_eq!(inner.allowed_address_pairs[0].ip_address, "10.77.0.200");
    assert_eq!((inner.vnic_type.as_str(), inner.port_security_enabled), ("normal", true));
    let names: Vec<_> =
        description.topology.security_groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["web", "db", "default"]);
    let web = &description.topology.security_groups[0];
    let from_db = web.rules.iter().find(|rule| rule.remote_group_id.is_some()).unwrap();
    assert_eq!((from_db.protocol.as_deref(), from_db.port_range_min), (Some("tcp"), Some(5432)));
}

#[test]
fn a_port_that_neutron_does_not_show_is_described_as_far_as_nova_knows_it() {
    let description = describe(|captured| {
        captured["ports"].as_array_mut().unwrap().remove(1);
    });
    let hidden = &description.ports[0];
    assert_eq!((hidden.mac_address.as_str(), hidden.fixed_ips.len()), ("fa:16:3e:a3:85:20", 1));
    assert_eq!(description.ports.len(), 2);
}

#[test]
fn volumes_come_with_what_is_needed_to_make_them_again() {
    let description = describe(|_| ());
    assert_eq!(devices(&description), [("vda", false), ("vdb", false)]);
    let [root, data] = &description.disks[..] else { panic!("{:?}", description.disks) };
    assert!(root.bootable && root.attachment.delete_on_termination);
    assert_eq!(root.attachment.tag.as_deref(), Some("root"));
    assert_eq!(root.volume.image_metadata["hw_qemu_guest_agent"], "yes");
    assert_eq!((root.size, root.volume_type.as_str()), (ByteCount::gib(1), "rbd"));
    assert!(!data.bootable && !data.attachment.delete_on_termination && !data.attachment.id.is_empty());
    assert_eq!((data.volume.name.as_str(), data.volume.description.as_str()), ("data", "d"));
    assert_eq!(data.volume.metadata, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    assert_eq!(data.id.as_str(), data.volume_id.unwrap().to_string());
}

#[test]
fn an_instance_that_booted_from_an_image_has_a_local_disk_first() {
    let boot_from = |image: &'static str, bus: &'static str| {
        describe(move |captured| {
            captured["server"]["image"] = json!({ "id": image });
            captured["image"]["hw_disk_bus"] = json!(bus);
            captured["volumes"].as_array_mut().unwrap().remove(0);
            captured["attachments"].as_array_mut().unwrap().remove(0);
        })
    };
    let description = boot_from("0000000b-0000-4000-8000-000000000000", "virtio");
    assert_eq!(devices(&description), [("vda", false), ("vdb", false)]);
    let root = &description.disks[0];
    assert_eq!((root.volume_id, root.id.as_str()), (None, "vda"));
    assert_eq!(root.size, ByteCount::mib(512), "the flavor has no disk, so it is the image's size");
    let image = description.server.image.as_ref().unwrap();
    assert_eq!((image.name.as_str(), image.properties["hw_qemu_guest_agent"].as_str()), ("guest", "yes"));
    assert!(!image.properties.contains_key("checksum"), "{:?}", image.properties);
    assert_eq!(boot_from("0000000b-0000-4000-8000-000000000000", "scsi").disks[0].device, "sda");
}

#[test]
fn the_boot_volume_comes_first_wherever_it_hangs() {
    let description = describe(|captured| {
        captured["attachments"][0]["device"] = json!("/dev/vdz");
        captured["attachments"][1]["device"] = json!("/dev/vdaa");
    });
    assert_eq!(devices(&description), [("vdz", false), ("vdaa", false)]);
    let description = describe(|captured| {
        captured["server"]["OS-EXT-SRV-ATTR:root_device_name"] = json!("/dev/vdb");
    });
    assert_eq!(devices(&description), [("vdb", false), ("vda", false)]);
}

#[test]
fn users_exclude_disks_by_metadata() {
    let description = describe(|captured| {
        captured["volumes"][1]["metadata"] = json!({"exclude_from_backup": "True"});
        captured["server"]["metadata"] = json!({"exclude_boot_disk_from_backup": "true"});
    });
    assert_eq!(devices(&description), [("vda", true), ("vdb", true)]);
    let description = describe(|captured| {
        captured["volumes"][1]["metadata"] = json!({"exclude_from_backup": "False"});
    });
    assert_eq!(devices(&description), [("vda", false), ("vdb", false)]);
}

#[test]
fn what_a_restore_wrote_is_not_taken_for_the_users() {
    let description = describe(|captured| {
        captured["server"]["metadata"] = json!({"holdfast:tag": "a/b/0", "m": "1"});
        captured["volumes"][0]["metadata"] = json!({"holdfast:tag": "a/b/1"});
        captured["ports"][1]["description"] = json!("first [holdfast:tag=a/b/0#0]");
    });
    assert_eq!(description.metadata, BTreeMap::from([("m".to_owned(), "1".to_owned())]));
    assert!(description.disks[0].volume.metadata.is_empty());
    let first = description.ports.iter().find(|port| port.name == "p1").unwrap();
    assert_eq!(first.description, "first");
}

#[test]
fn user_data_is_shown_absent_or_hidden() {
    let shown = |value: Value| {
        describe(move |captured| captured["server"]["OS-EXT-SRV-ATTR:user_data"] = value).server.user_data
    };
    assert_eq!(shown(Value::Null), UserData::None);
    assert_eq!(shown(json!("IyEK")), UserData::Base64("IyEK".to_owned()));
}

#[track_caller]
fn check_refused(code: &str, change: impl FnOnce(&mut Value)) {
    let refused = refusals::check(&describe(change)).unwrap_err();
    assert_eq!(refused.code, code, "{refused}");
    assert!(!refused.class.may_pass(), "{refused}");
}

#[test]
fn what_could_not_be_brought_back_is_refused() {
    assert!(refusals::check(&describe(|_| ())).is_ok());
    check_refused("VOLUME_ENCRYPTED", |it| it["volumes"][1]["encrypted"] = json!(true));
    check_refused("INSTANCE_HAS_EPHEMERAL_DISK", |it| it["server"]["flavor"]["ephemeral"] = json!(2));
    check_refused("INSTANCE_HAS_VTPM", |it| {
        it["server"]["flavor"]["extra_specs"] = json!({"hw:tpm_version": "2.0"});
    });
    check_refused("INSTANCE_HAS_VTPM", |it| {
        it["volumes"][0]["volume_image_metadata"] = json!({"hw_tpm_version": "2.0"});
    });
    check_refused("INSTANCE_HAS_ENCRYPTED_MEMORY", |it| {
        it["server"]["flavor"]["extra_specs"] = json!({"hw:mem_encryption": "True"});
    });
}

#[test]
fn what_is_not_saved_anyway_is_no_reason_to_refuse() {
    let accepted = |change: fn(&mut Value)| refusals::check(&describe(change)).unwrap();
    accepted(|it| it["server"]["flavor"]["swap"] = json!(512));
    accepted(|it| it["server"]["config_drive"] = json!("True"));
    accepted(|it| it["server"]["flavor"]["extra_specs"] = json!({"hw:mem_encryption": "false"}));
    accepted(|it| {
        it["volumes"][1]["encrypted"] = json!(true);
        it["volumes"][1]["metadata"] = json!({"exclude_from_backup": "True"});
    });
}

#[test]
fn a_volume_that_is_worked_on_is_waited_for_and_a_broken_one_is_not() {
    let check = |status: &str| {
        let mut volume: cinder::Volume = serde_json::from_value(captured()["volumes"][0].clone()).unwrap();
        volume.status = status.to_owned();
        refusals::check_volume(&volume)
    };
    assert!(check("in-use").is_ok() && check("available").is_ok());
    for status in ["attaching", "detaching", "extending", "retyping", "backing-up", "reserved", "maintenance"]
    {
        let refused = check(status).unwrap_err();
        assert!(refused.code == "VOLUME_BUSY" && refused.class.may_pass(), "{refused}");
    }
    for status in ["error", "error_extending", "error_deleting"] {
        let refused = check(status).unwrap_err();
        assert!(refused.code == "VOLUME_IN_ERROR" && !refused.class.may_pass(), "{refused}");
    }
}
