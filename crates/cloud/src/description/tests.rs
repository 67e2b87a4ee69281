use super::*;
use crate::FixedIp;

#[test]
fn a_record_of_before_ports_were_collected_is_read() {
    let text = r#"{"id": "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f", "name": "web", "project_id": "acme",
        "availability_zone": "nova", "flavor": {"name": "small", "vcpus": 1, "ram_mib": 512, "disk_gib": 1},
        "metadata": {}, "nics": [{"network": "inner", "mac_address": "fa:16:3e:00:00:01", "ip_address": "10.0.0.5"},
                                 {"network": "outer", "mac_address": "fa:16:3e:00:00:02"}],
        "disks": [{"id": "vda", "volume_id": "118f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f", "device": "vda", "size": 8,
                   "format": "raw", "volume_type": "fast", "bootable": true}]}"#;
    let description: InstanceDescription = serde_json::from_str(text).unwrap();
    let [first, second] = &description.ports[..] else { panic!("{:?}", description.ports) };
    assert_eq!((first.network.as_str(), first.mac_address.as_str()), ("inner", "fa:16:3e:00:00:01"));
    assert_eq!(first.fixed_ips, [FixedIp { subnet_id: String::new(), ip_address: "10.0.0.5".to_owned() }]);
    assert_eq!((second.network.as_str(), second.fixed_ips.len()), ("outer", 0));
    assert_eq!(description.server.user_data, UserData::NotShown);
    assert!(description.topology.networks.is_empty());
    assert!(!description.disks[0].is_excluded);
    let again = serde_json::to_string(&description).unwrap();
    assert_eq!(serde_json::from_str::<InstanceDescription>(&again).unwrap(), description);
}
