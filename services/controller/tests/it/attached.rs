//! Volumes that are reached by an attachment only: what is asked of quotas for them, and where they are read.

use controller::sagas::remote::Command;
use proto::cmd::v1::planned::Kind;
use proto::common::v1::placement::At;

use crate::harness::{Harness, play_until};
use crate::world::World;

#[tokio::test]
async fn quotas_are_asked_for_one_temporary_volume_of_each_such_volume() {
    let mut harness = Harness::start_partial(World::with_local_disks()).await;
    harness.start_snapshot().await;
    let sent = play_until(&mut harness, "check_quotas").await;
    let Command::CheckQuotas(it) = &sent[0].command else { panic!("{sent:?}") };
    let (mut temporary, mut volume_snapshots) = (Vec::new(), 0);
    for planned in &it.planned {
        match &planned.kind {
            Some(Kind::Volume(volume)) => temporary.push((volume.volume_type.as_str(), volume.size_bytes)),
            Some(Kind::VolumeSnapshot(_)) => volume_snapshots += 1,
            other => panic!("a snapshot makes no {other:?}"),
        }
    }
    assert_eq!(temporary, [("fast", 8 << 20), ("fast", 8 << 20)], "one of two volumes of each instance");
    assert_eq!(volume_snapshots, 4);
}

#[tokio::test]
async fn what_is_attached_to_a_host_is_read_there_and_all_else_where_the_instance_is() {
    let mut harness = Harness::start_partial(World::with_local_disks()).await;
    harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    let mut at_host = 0;
    for sent in &sent {
        let Command::TransferDisk(it) = &sent.command else { panic!("{sent:?}") };
        match it.placement.as_ref().and_then(|placement| placement.at.as_ref()) {
            Some(At::Host(host)) => {
                assert!(host == "host-a" && !it.sealed.is_empty(), "{it:?}");
                at_host += 1;
            }
            Some(At::InstanceId(_)) => assert!(it.sealed.is_empty(), "{it:?}"),
            other => panic!("a transfer is placed at {other:?}"),
        }
    }
    assert_eq!((at_host, sent.len()), (2, 6));
}
