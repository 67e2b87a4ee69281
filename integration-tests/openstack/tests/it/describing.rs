use anyhow::Result;
use cloud::{Cloud as _, FixedIp, InstanceDescription, UserData};
use model::{ByteCount, Failure, InstanceId};
use openstack::Service::{BlockStorage, Compute};
use openstack_tests::account::Account;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::surroundings::{PUBLIC_KEY, Surroundings, USER_DATA};
use serde_json::{Value, json};

fn assert_server(description: &InstanceDescription, made: &Surroundings) {
    assert_eq!(description.name, "described");
    assert_eq!(description.metadata.clone().into_iter().collect::<Vec<_>>(), [("role".into(), "web".into())]);
    assert_eq!(description.availability_zone, "nova");
    let flavor = &description.flavor;
    assert_eq!((flavor.name.as_str(), flavor.disk_gib, flavor.swap_mib), ("diskless", 0, 0));
    assert!(flavor.vcpus > 0 && flavor.ram_mib > 0, "{flavor:?}");
    let server = &description.server;
    assert_eq!((server.description.as_str(), server.status.as_str()), ("all that belongs to it", "ACTIVE"));
    assert_eq!(server.tags, ["blue"]);
    assert!(server.config_drive && !server.is_locked && !server.created_at.is_empty());
    assert_eq!(server.image, None);
    let keypair = server.keypair.as_ref().unwrap();
    assert_eq!((keypair.name.as_str(), keypair.keypair_type.as_str()), ("holder", "ssh"));
    assert_eq!(keypair.public_key.as_deref(), Some(PUBLIC_KEY));
    let group = server.server_group.as_ref().unwrap();
    assert_eq!((group.name.as_str(), group.policy.as_str()), ("apart", "soft-anti-affinity"));
    assert_eq!(made.server_group["id"], group.id);
}

fn assert_ports(description: &InstanceDescription, made: &Surroundings) {
    let [first, second] = &description.ports[..] else { panic!("{:?}", description.ports) };
    assert_eq!((first.name.as_str(), first.description.as_str()), ("first", "of the test"));
    assert_eq!((first.network.as_str(), second.network.as_str()), ("inner", "external"));
    assert_eq!(first.mac_address, "fa:16:3e:77:00:01");
    let subnet_id = made.subnet["id"].as_str().unwrap().to_owned();
    assert_eq!(first.fixed_ips, [FixedIp { subnet_id, ip_address: "10.77.0.50".to_owned() }]);
    assert_eq!(first.allowed_address_pairs[0].ip_address, "10.77.0.200");
    assert_eq!(made.web["id"], first.security_groups[0]);
    assert_eq!((first.device_tag.as_deref(), second.device_tag.as_deref()), (Some("front"), None));
    assert_eq!((first.vnic_type.as_str(), first.port_security_enabled), ("normal", true));
    let [floating] = &first.floating_ips[..] else { panic!("{:?}", first.floating_ips) };
    assert_eq!(made.floating_ip["floating_ip_address"], floating.floating_ip_address);
    assert_eq!(made.external["id"], floating.floating_network_id);
    assert_eq!(floating.fixed_ip_address, "10.77.0.50");
}

fn assert_topology(description: &InstanceDescription, made: &Surroundings) {
    let topology = &description.topology;
    let mut names: Vec<_> = topology.networks.iter().map(|network| network.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["external", "inner"]);
    let inner = topology.networks.iter().find(|network| network.name == "inner").unwrap();
    assert_eq!((inner.description.as_str(), inner.is_external), ("of the test", false));
    let [subnet] = &inner.subnets[..] else { panic!("{:?}", inner.subnets) };
    assert_eq!((subnet.name.as_str(), subnet.cidr.as_str()), ("inner4", "10.77.0.0/24"));
    assert_eq!((subnet.gateway_ip.as_deref(), subnet.enable_dhcp), (Some("10.77.0.1"), true));
    let pool = &subnet.allocation_pools[0];
    assert_eq!((pool.start.as_str(), pool.end.as_str()), ("10.77.0.10", "10.77.0.100"));
    assert_eq!(subnet.dns_nameservers, ["9.9.9.9"]);
    assert_eq!(subnet.host_routes[0].destination, "10.88.0.0/16");
    let [router] = &topology.routers[..] else { panic!("{:?}", topology.routers) };
    assert_eq!(made.router["id"], router.id);
    assert_eq!(made.external["id"], router.external_gateway.as_ref().unwrap().network_id);
    assert_eq!(made.network["id"], router.interfaces[0].network_id);
    assert_eq!(router.routes[0].destination, "10.99.0.0/16");
    let mut names: Vec<_> = topology.security_groups.iter().map(|group| group.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["db", "default", "web"], "also what only a rule names");
    let web = topology.security_groups.iter().find(|group| group.name == "web").unwrap();
    let rule = web.rules.iter().find(|rule| rule.direction == "ingress").unwrap();
    assert_eq!(rule.remote_group_id.as_deref(), made.db["id"].as_str());
    assert_eq!(
        (rule.protocol.as_deref(), rule.port_range_min, rule.port_range_max),
        (Some("tcp"), Some(5432), Some(5433))
    );
}

fn assert_disks(description: &InstanceDescription, made: &Surroundings) {
    let [system, data] = &description.disks[..] else { panic!("{:?}", description.disks) };
    assert_eq!((system.device.as_str(), data.device.as_str()), ("vda", "vdb"));
    assert_eq!((system.size, data.size), (ByteCount::gib(1), ByteCount::gib(1)));
    assert!(system.bootable && !data.bootable);
    assert!(system.attachment.delete_on_termination && !data.attachment.delete_on_termination);
    assert_eq!(
        (system.attachment.tag.as_deref(), data.attachment.tag.as_deref()),
        (Some("system"), Some("store"))
    );
    assert_eq!(system.volume.image_metadata["hw_qemu_guest_agent"], "yes");
    assert_eq!(made.data["id"], data.volume_id.unwrap().to_string());
    assert_eq!((data.volume.name.as_str(), data.volume.description.as_str()), ("data", "of the test"));
    assert_eq!(data.volume.metadata["purpose"], "data");
    assert!(!data.volume.encrypted && !data.volume.multiattach && !data.volume_type.is_empty());
    assert!(!system.is_excluded && !data.is_excluded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_described_with_all_that_belongs_to_it() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let (account, admin) = (Account::of(&project).await?, Account::admin(&lab).await?);
    let phase = Phase::begin("describing: instance with two volumes, two networks, router, floating address");
    let made = Surroundings::make(&lab, &project, &account).await?;
    let id: InstanceId = made.server_id.parse()?;
    drop(phase);

    let phase = Phase::begin("describing: compared field by field");
    let description = account.cloud().describe_instance(&account.owner, id).await?;
    assert_server(&description, &made);
    assert_ports(&description, &made);
    assert_topology(&description, &made);
    assert_disks(&description, &made);
    assert_eq!(description.server.user_data, UserData::NotShown, "Nova hides it from its own user");
    let cloud = account.cloud_with(Some(admin.session.clone()));
    let description = cloud.describe_instance(&account.owner, id).await?;
    assert_eq!(description.server.user_data, UserData::Base64(USER_DATA.to_owned()));
    drop(phase);

    let phase = Phase::begin("describing: of another project, though the token would show it");
    let found: Value = admin.session.get(Compute, &format!("/servers/{id}")).json().await?;
    assert_eq!(found["server"]["id"], id.to_string());
    let refused = admin.cloud().describe_instance(&admin.owner, id).await.unwrap_err();
    assert_eq!(refused.code, "INSTANCE_NOT_FOUND");
    let volume = description.disks[0].volume_id.unwrap();
    let refused =
        admin.cloud().create_volume_snapshot(&admin.owner, volume, &cloud::Tag::from_text("t")).await;
    assert_eq!(refused.unwrap_err().code, "VOLUME_NOT_FOUND");
    drop(phase);

    let phase = Phase::begin("describing: disks excluded by their user");
    let path = format!("/volumes/{}/metadata", made.data["id"].as_str().unwrap());
    account.act(BlockStorage, &path, json!({"metadata": {"exclude_from_backup": "True"}})).await?;
    let path = format!("/servers/{id}/metadata");
    account.act(Compute, &path, json!({"metadata": {"exclude_boot_disk_from_backup": "True"}})).await?;
    let description = account.cloud().describe_instance(&account.owner, id).await?;
    assert!(description.disks.iter().all(|disk| disk.is_excluded), "{:?}", description.disks);
    drop(phase);

    project.run(&["server", "delete", "--wait", &made.server_id])?;
    made.remove(&account).await?;
    project.close()
}

/// What becomes of a snapshot of the instance now.
async fn judge(account: &Account, id: &str) -> Result<String> {
    let outcome = account.cloud().describe_instance(&account.owner, id.parse()?).await;
    Ok(outcome.map_or_else(|Failure { code, .. }| code, |described| described.server.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_an_instance_has_its_answer() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let (account, admin) = (Account::of(&project).await?, Account::admin(&lab).await?);
    let phase = Phase::begin("states: server from a volume");
    let image = lab.image.clone();
    let id = project.create_volume_server("states", &["--image", &image, "--boot-from-volume", "1"])?;
    let volume = project.volume_of(&id)?;
    drop(phase);

    let phase = Phase::begin("states: paused, suspended, shut off, in error, shelved, deleted");
    assert_eq!(judge(&account, &id).await?, "ACTIVE");
    for (verb, status, back) in [("pause", "PAUSED", "unpause"), ("suspend", "SUSPENDED", "resume")] {
        project.run(&["server", verb, &id])?;
        project.wait_for_status(&["server"], &id, status)?;
        assert_eq!(judge(&account, &id).await?, status);
        project.run(&["server", back, &id])?;
        project.wait_for_status(&["server"], &id, "ACTIVE")?;
    }
    let path = format!("/volumes/{volume}/action");
    for (status, judged) in [("error", "VOLUME_IN_ERROR"), ("extending", "VOLUME_BUSY"), ("in-use", "ACTIVE")]
    {
        admin.act(BlockStorage, &path, json!({"os-reset_status": {"status": status}})).await?;
        assert_eq!(judge(&account, &id).await?, judged, "volume {status}");
    }
    let path = format!("/servers/{id}/action");
    for (state, judged) in [("error", "INSTANCE_IN_ERROR"), ("active", "ACTIVE")] {
        admin.act(Compute, &path, json!({"os-resetState": {"state": state}})).await?;
        assert_eq!(judge(&account, &id).await?, judged, "instance {state}");
    }
    project.stop(&id)?;
    assert_eq!(judge(&account, &id).await?, "SHUTOFF");
    project.run(&["server", "shelve", &id])?;
    project.wait_for_status(&["server"], &id, "SHELVED_OFFLOADED")?;
    assert_eq!(judge(&account, &id).await?, "INSTANCE_SHELVED");
    project.run(&["server", "delete", "--wait", &id])?;
    assert_eq!(judge(&account, &id).await?, "INSTANCE_NOT_FOUND");
    drop(phase);
    project.close()
}
