use cloud::conformance::{self, Ground};
use cloud::{Cloud as _, Connector as _, Planned};
use directory_cloud::DirectoryConnector;
use model::{ByteCount, DiskFormat, HostName, InstanceId};
use runtime::{Entropy, FaultTable};

use crate::toy::{self, Toy, owner};

#[tokio::test]
async fn the_directory_keeps_all_promises_of_the_port() {
    let toy = Toy::new();
    let ground = Ground {
        owner: owner(),
        instance_id: toy.web.id,
        foreign_instance_ids: vec![toy.other.id, InstanceId::from_uuid(Entropy.uuid())],
        foreign_volume_id: toy.other.disks[0].volume_id.unwrap(),
        connector: "{\"host\": \"host-a\"}".to_owned(),
    };
    conformance::check(&toy.cloud(), &ground).await;
}

#[tokio::test]
async fn a_plan_is_compared_with_the_quotas_of_the_folder() {
    let toy = Toy::new();
    let settings = std::fs::read_to_string(toy.path().join("cloud.toml")).unwrap();
    toy.write("cloud.toml", &format!("{settings}\n[quotas]\nvolume_snapshots = 1\n"));
    let cut = Planned::VolumeSnapshot { volume_type: String::new(), size: ByteCount::gib(1) };
    let instance = Planned::Instance { vcpus: 1, ram_mib: 1 };
    toy.cloud().check_quotas(&owner(), &[cut.clone(), instance]).await.unwrap();
    let refused = toy.cloud().check_quotas(&owner(), &[cut.clone(), cut]).await.unwrap_err();
    assert_eq!(refused.code, "QUOTA_TOO_SMALL");
    assert!(refused.message.contains("2 volume snapshots are needed, 1 of 1 are left"), "{refused}");
}

#[tokio::test]
async fn a_host_of_the_directory_keeps_all_promises_of_its_connector() {
    let toy = Toy::new();
    let volume = toy::make_volume("temporary", DiskFormat::Raw);
    let id = toy.cloud().create_volume(&owner(), &volume).await.unwrap();
    let host: HostName = "host-a".parse().unwrap();
    let connector = DirectoryConnector::open(&toy.path(), host, FaultTable::none()).unwrap();
    let properties = connector.properties().await.unwrap();
    let attached = toy.cloud().attach_volume(&owner(), id, &properties).await.unwrap();
    let connections = || std::fs::read_dir(toy.path().join("connections")).unwrap().count();
    conformance::check_connector(&connector, &attached.connection, |location, size| {
        assert_eq!((size, connections()), (volume.size, 1));
        assert!(location.to_string().contains(&id.to_string()), "{location}");
    })
    .await;
    assert_eq!(connections(), 0);
    let other = DirectoryConnector::open(&toy.path(), "host-b".parse().unwrap(), FaultTable::none()).unwrap();
    assert_eq!(other.connect(&attached.connection).await.unwrap_err().code, "ATTACHMENT_NOT_FOUND");
    toy.cloud().delete_volumes(&owner(), &volume.tag).await.unwrap();
}
