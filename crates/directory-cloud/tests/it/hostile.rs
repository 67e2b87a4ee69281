//! Folders that want to lead astray, and records that are broken.

use std::os::unix::fs::symlink;

use cloud::{Cloud as _, Host as _};
use directory_cloud::{DirectoryCloud, fault_table};
use model::{DiskFormat, InstanceId};

use crate::toy::{self, Toy, owner, tag};

const STRANGER: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";

fn stranger() -> InstanceId {
    STRANGER.parse().expect("is a uuid")
}

/// The record of `web` under another id, with another image.
fn make_record(toy: &Toy, image: &str) -> String {
    let text = std::fs::read_to_string(toy.path().join("instances/web/instance.toml")).expect("is there");
    text.replace(&toy.web.id.to_string(), STRANGER).replace("disk0.raw", image)
}

async fn check_refused(toy: &Toy, code: &str) {
    let cloud = toy.cloud();
    let refused = cloud.describe_instance(&owner(), stranger()).await.expect_err("is refused");
    assert_eq!(refused.code, code, "{refused}");
    let listed = cloud.list_instances(&owner()).await.expect("are listed");
    assert!(listed.iter().any(|(id, _)| *id == toy.web.id), "a bad folder hides a good one");
    toy.describe(toy.web.id).await;
}

#[tokio::test]
async fn an_image_outside_the_folder_is_refused() {
    for image in ["../web/disk0.raw", "../../../raw.img", "/etc/passwd", "..", ".hidden", ""] {
        let toy = Toy::new();
        std::fs::create_dir(toy.path().join("instances/bad")).unwrap();
        toy.write("instances/bad/instance.toml", &make_record(&toy, image));
        check_refused(&toy, "CLOUD_UNSAFE_NAME").await;
        assert_eq!(
            toy.host("host-a").freeze(stranger()).await.unwrap().count,
            3,
            "what does not open the image is not concerned"
        );
    }
}

#[tokio::test]
async fn an_image_that_is_a_link_is_refused() {
    let toy = Toy::new();
    std::fs::create_dir(toy.path().join("instances/bad")).unwrap();
    toy.write("instances/bad/instance.toml", &make_record(&toy, "link.raw"));
    symlink(toy.outside().join("raw.img"), toy.path().join("instances/bad/link.raw")).unwrap();
    check_refused(&toy, "CLOUD_UNSAFE_NAME").await;
}

#[tokio::test]
async fn a_folder_or_a_record_that_is_a_link_is_refused_by_name() {
    let toy = Toy::new();
    let elsewhere = toy.outside().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("instance.toml"), make_record(&toy, "disk0.raw")).unwrap();
    symlink(&elsewhere, toy.path().join("instances/linked")).unwrap();
    check_refused(&toy, "CLOUD_UNSAFE_NAME").await;
    let refused = toy.cloud().describe_instance(&owner(), stranger()).await.unwrap_err();
    assert!(refused.message.contains("instances/linked is a link"), "{refused}");
    std::fs::remove_file(toy.path().join("instances/linked")).unwrap();
    std::fs::create_dir(toy.path().join("instances/half")).unwrap();
    symlink(elsewhere.join("instance.toml"), toy.path().join("instances/half/instance.toml")).unwrap();
    check_refused(&toy, "CLOUD_UNSAFE_NAME").await;
}

#[tokio::test]
async fn a_linked_image_of_a_snapshot_or_volume_is_not_given_to_a_datamover() {
    let toy = Toy::new();
    let (cloud, host) = (toy.cloud(), toy.host("host-a"));
    let cut = cloud.create_volume_snapshot(&owner(), toy.volume(0), &tag("t")).await.unwrap();
    let volume = cloud.create_volume(&owner(), &toy::make_volume("v", DiskFormat::Raw)).await.unwrap();
    for folder in [format!("volume-snapshots/{cut}"), format!("volumes/{volume}")] {
        let image = toy.path().join(folder).join("disk.img");
        std::fs::remove_file(&image).unwrap();
        symlink(toy.outside().join("raw.img"), &image).unwrap();
    }
    let disk = toy.describe(toy.web.id).await.disks[0].id.clone();
    assert_eq!(
        host.source_disk(&toy::at_volume_snapshot(toy.web.id, &disk, cut)).await.unwrap_err().code,
        "CLOUD_UNSAFE_NAME"
    );
    assert_eq!(host.destination_disk(volume).await.unwrap_err().code, "CLOUD_UNSAFE_NAME");
}

#[tokio::test]
async fn a_broken_record_is_named_with_its_line() {
    let toy = Toy::new();
    std::fs::create_dir(toy.path().join("instances/bad")).unwrap();
    let record = make_record(&toy, "disk0.raw").replace("host = ", "hots = ");
    toy.write("instances/bad/instance.toml", &record);
    check_refused(&toy, "CLOUD_RECORD_INVALID").await;
    let refused = toy.cloud().describe_instance(&owner(), stranger()).await.unwrap_err();
    let line = record.lines().position(|line| line.starts_with("hots")).unwrap() + 1;
    let place = format!("instances/bad/instance.toml line {line}");
    assert!(refused.message.contains(&place), "{refused} does not name {place}");
    let nobody: InstanceId = "018f3c1e-0000-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
    let refused = toy.cloud().describe_instance(&owner(), nobody).await.unwrap_err();
    assert_eq!(refused.code, "INSTANCE_NOT_FOUND", "an id that the broken record does not name");
}

#[tokio::test]
async fn an_image_that_lacks_the_header_of_its_format_is_refused() {
    let toy = Toy::new();
    toy.write("instances/web/disk1.qcow2", "no header");
    let refused = toy.cloud().describe_instance(&owner(), toy.web.id).await.unwrap_err();
    assert_eq!(refused.code, "CLOUD_RECORD_INVALID");
    assert!(refused.message.contains("disk1.qcow2"), "{refused}");
    std::fs::remove_file(toy.path().join("instances/web/disk1.qcow2")).unwrap();
    assert_eq!(toy.cloud().describe_instance(&owner(), toy.web.id).await.unwrap_err().code, "NO_SUCH_DISK");
}

#[test]
fn a_folder_that_is_no_cloud_is_refused_when_opened() {
    let toy = Toy::new();
    let empty = toy.outside().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let refused = DirectoryCloud::open(&empty, fault_table(&empty)).unwrap_err().to_string();
    assert!(refused.contains("empty/cloud.toml is missing"), "{refused}");
    assert!(DirectoryCloud::open(&toy.outside().join("nowhere"), fault_table(&empty)).is_err());
    toy.write("cloud.toml", "pool = \"default\"\nhosts = 3\n");
    let refused = DirectoryCloud::open(&toy.path(), fault_table(&empty)).unwrap_err().to_string();
    assert!(refused.contains("cloud.toml line 2"), "{refused}");
}
