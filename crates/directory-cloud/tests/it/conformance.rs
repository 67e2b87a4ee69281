use cloud::conformance::{self, Ground};
use cloud::{Cloud as _, Planned};
use model::{ByteCount, InstanceId};
use runtime::Entropy;

use crate::toy::{Toy, owner};

#[tokio::test]
async fn the_directory_keeps_all_promises_of_the_port() {
    let toy = Toy::new();
    let ground = Ground {
        owner: owner(),
        instance_id: toy.web.id,
        foreign_instance_ids: vec![toy.other.id, InstanceId::from_uuid(Entropy.uuid())],
        foreign_volume_id: toy.other.disks[0].volume_id.unwrap(),
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
