use std::collections::BTreeMap;

use anyhow::Result;
use cloud::conformance::{self, Ground};
use cloud::{Cloud as _, NewInstance, NewVolume, Planned, Tag};
use model::{ByteCount, DiskFormat, ErrorClass, InstanceId, VolumeId};
use openstack::Service::{BlockStorage, Compute, Network};
use openstack_tests::account::Account;
use openstack_tests::cutting_proxy::CuttingProxy;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::surroundings;
use runtime::Entropy;

fn make_volume(tag: &str) -> NewVolume {
    NewVolume {
        name: "made".to_owned(),
        size: ByteCount::mib(700),
        volume_type: String::new(),
        format: DiskFormat::Raw,
        bootable: true,
        source: None,
        image_properties: BTreeMap::from([("hw_qemu_guest_agent".to_owned(), "yes".to_owned())]),
        tag: Tag::from_text(tag),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cloud_keeps_all_promises_of_the_port() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let account = Account::of(&project).await?;
    let phase = Phase::begin("effects: conformance");
    let volume = account.cloud().create_volume(&account.owner, &make_volume("ground")).await?;
    let server = project.create_volume_server("ground", &["--volume", &volume.to_string()])?;
    let ground = Ground {
        owner: account.owner.clone(),
        instance_id: server.parse()?,
        foreign_instance_ids: vec![InstanceId::from_uuid(Entropy.uuid())],
        foreign_volume_id: VolumeId::from_uuid(Entropy.uuid()),
        connector: r#"{"host": "holdfast-conformance", "ip": "127.0.0.1"}"#.to_owned(),
    };
    conformance::check(&account.cloud(), &ground).await;
    drop(phase);
    project.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_whose_answer_was_lost_is_found_and_not_made_twice() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let account = Account::of(&project).await?;
    let owner = &account.owner;
    let before = account.cloud().list_resources(owner).await?;
    let proxy = CuttingProxy::start(&account.session.endpoint(BlockStorage).await?).await?;
    let lossy = Account::by_way_of(&project, BlockStorage, proxy.port).await?.cloud();

    let phase = Phase::begin("lost answers: volume");
    let new = make_volume("lost/volume/0");
    proxy.lose_next_answer();
    let lost = lossy.create_volume(owner, &new).await.unwrap_err();
    assert_eq!((lost.class, proxy.lost_count()), (ErrorClass::Indeterminate, 1), "{lost}");
    let volume = lossy.create_volume(owner, &new).await?;
    let made = account.tagged(BlockStorage, "/volumes/detail", "volumes", "lost/volume/0").await?;
    assert_eq!(made.len(), 1, "the first attempt made it: {made:?}");
    assert_eq!(made[0]["id"], volume.to_string());
    drop(phase);

    let phase = Phase::begin("lost answers: volume snapshot");
    let tag = Tag::from_text("lost/cut/0");
    proxy.lose_next_answer();
    let lost = lossy.create_volume_snapshot(owner, volume, &tag).await.unwrap_err();
    assert_eq!((lost.class, proxy.lost_count()), (ErrorClass::Indeterminate, 2), "{lost}");
    lossy.create_volume_snapshot(owner, volume, &tag).await?;
    let made = account.tagged(BlockStorage, "/snapshots/detail", "snapshots", "lost/cut/0").await?;
    assert_eq!(made.len(), 1, "the first attempt made it: {made:?}");
    // Undone without a repeat, it is found as well.
    let late = Tag::from_text("lost/cut/1");
    proxy.lose_next_answer();
    lossy.create_volume_snapshot(owner, volume, &late).await.unwrap_err();
    lossy.delete_volume_snapshots(owner, &late).await?;
    lossy.delete_volume_snapshots(owner, &tag).await?;
    drop(phase);

    check_lost_instance(&lab, &project, &account, volume).await?;
    account.cloud().delete_volumes(owner, &new.tag).await?;
    assert_eq!(account.cloud().list_resources(owner).await?, before, "nothing is left");
    project.close()
}

/// Of one that had `volume` and is gone.
async fn check_lost_instance(
    lab: &Lab,
    project: &Project,
    account: &Account,
    volume: VolumeId,
) -> Result<()> {
    let owner = &account.owner;
    let phase = Phase::begin("lost answers: instance");
    let proxy = CuttingProxy::start(&account.session.endpoint(Compute).await?).await?;
    let lossy = Account::by_way_of(project, Compute, proxy.port).await?.cloud();
    // Only in a network of one's own one may choose addresses.
    let (network, _) = surroundings::make_network(account).await?;
    let network = network["id"].as_str().unwrap().to_owned();
    let ground = project.create_one(&[
        "server",
        "create",
        "ground",
        "--wait",
        "--flavor",
        &lab.flavor_diskless,
        "--network",
        &network,
        "--volume",
        &volume.to_string(),
    ])?;
    let description = account.cloud().describe_instance(owner, ground.parse()?).await?;
    project.run(&["server", "delete", "--wait", &ground])?;
    project.wait_for_status(&["volume"], &volume.to_string(), "available")?;
    let new = NewInstance {
        name: "again".to_owned(),
        description,
        volume_ids: vec![volume],
        tag: Tag::from_text("lost/instance/0"),
    };
    proxy.lose_next_answer();
    let lost = lossy.create_instance(owner, &new).await.unwrap_err();
    assert_eq!((lost.class, proxy.lost_count()), (ErrorClass::Indeterminate, 1), "{lost}");
    let instance = lossy.create_instance(owner, &new).await?;
    let made = account.tagged(Compute, "/servers/detail", "servers", "lost/instance/0").await?;
    assert_eq!(made.len(), 1, "the first attempt made it: {made:?}");
    assert_eq!(made[0]["id"], instance.to_string());
    let again = account.cloud().describe_instance(owner, instance).await?;
    let addresses = |of: &cloud::InstanceDescription| {
        of.ports.iter().map(|port| (port.mac_address.clone(), port.fixed_ips.clone())).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&again), addresses(&new.description), "they are free, and its own again");
    lossy.delete_instances(owner, &new.tag).await?;
    account.session.delete_if_there(Network, &format!("/networks/{network}")).await?;
    drop(phase);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_too_small_is_told_before_and_refused_without_leaving_anything() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let account = Account::of(&project).await?;
    let (cloud, owner) = (account.cloud(), &account.owner);
    let phase = Phase::begin("quota: volume snapshots lowered to none");
    let new = make_volume("quota/volume/0");
    let volume = cloud.create_volume(owner, &new).await?;
    let cut = Planned::VolumeSnapshot { volume_type: String::new(), size: new.size };
    cloud.check_quotas(owner, &[cut.clone(), cut.clone()]).await?;
    lab.admin(&["quota", "set", "--snapshots", "0", owner.project_id.as_str()], "")?;
    let refused = cloud.check_quotas(owner, &[cut.clone(), cut]).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.class), ("QUOTA_TOO_SMALL", ErrorClass::Permanent));
    let told = "2 volume snapshots are needed, 0 of 0 are left (quota snapshots)";
    assert!(refused.message.contains(told), "{refused}");
    let before = cloud.list_resources(owner).await?;
    let refused =
        cloud.create_volume_snapshot(owner, volume, &Tag::from_text("quota/cut/0")).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.class),
        ("OPENSTACK_QUOTA_EXCEEDED", ErrorClass::Permanent),
        "{refused}"
    );
    assert_eq!(cloud.list_resources(owner).await?, before);
    cloud.delete_volumes(owner, &new.tag).await?;
    drop(phase);
    project.close()
}
