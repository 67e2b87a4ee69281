//! Instances whose point in time is lost are cut once more; and volume snapshots that one snapshot keeps for the next.

use controller::sagas::remote::Command;
use model::{Failure, SnapshotState};

use crate::harness::{Harness, play_until};
use crate::world::World;

async fn attach_a_disk_in_the_cut(harness: &mut Harness) {
    let thaws = play_until(harness, "thaw_guest").await;
    harness.world.disk_count += 1;
    for thaw in &thaws {
        harness.succeed(thaw).await;
    }
}

#[tokio::test]
async fn a_disk_that_comes_while_the_cloud_cuts_is_in_the_second_cut() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    attach_a_disk_in_the_cut(&mut harness).await;
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
    let disks = harness.catalog.read().await.unwrap().list_snapshot_disks(snapshot_id).await.unwrap();
    assert_eq!(disks.len(), 6);
    assert!(disks.iter().all(|disk| disk.manifest_digest.is_some()), "{disks:?}");
    let things = harness.world.things();
    let is_kept = |thing: &String| thing.starts_with("record") || thing.starts_with("transfer");
    assert!(things.iter().all(is_kept), "left {things:?}");
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_disk_that_comes_in_either_cut_fails_the_snapshot() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    attach_a_disk_in_the_cut(&mut harness).await;
    attach_a_disk_in_the_cut(&mut harness).await;
    harness.play(|_| None).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.error_code.as_deref(), Some("INSTANCE_CHANGED"));
    let message = snapshot.error_message.unwrap();
    assert!(
        message.contains("instance web-10 changed") && message.contains("disk vdd was attached"),
        "{message}"
    );
    assert_eq!(harness.world.things(), Vec::<String>::new());
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn an_instance_whose_point_in_time_is_lost_is_cut_once_more() {
    let mut harness = Harness::start().await;
    harness.world = World::with_a_loss();
    let (_, snapshot_id) = harness.start_snapshot().await;
    let (mut cuts, mut purges, mut transfers) = (Vec::new(), 0, 0);
    harness
        .play(|sent| {
            match &sent.command {
                Command::CutDisks(it) => cuts.push(it.instance_id.clone()),
                Command::PurgeTransfer(_) => purges += 1,
                Command::TransferDisk(_) => transfers += 1,
                _ => {}
            }
            None
        })
        .await;
    let lost = harness.world.stops[0].to_string();
    assert_eq!(cuts.iter().filter(|id| **id == lost).count(), 2);
    assert_eq!((cuts.len(), purges, transfers), (3, 3, 9), "the other instance is left alone");
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_point_in_time_that_is_lost_twice_fails_the_snapshot_and_names_the_action() {
    let mut harness = Harness::start().await;
    harness.world.disk_count = 3;
    let (_, snapshot_id) = harness.start_snapshot().await;
    let lost = || Some(Failure::permanent("POINT_IN_TIME_LOST", "the instance was stopped"));
    harness
        .play(|sent| match &sent.command {
            Command::TransferDisk(it) if it.volume_snapshot_id.is_empty() => lost(),
            _ => None,
        })
        .await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.error_code.as_deref(), Some("POINT_IN_TIME_LOST"));
    assert!(snapshot.error_message.unwrap().contains("the instance was stopped"));
    assert_eq!(harness.world.things(), Vec::<String>::new());
    harness.assert_nothing_held().await;
}

fn volume_snapshots(harness: &Harness) -> Vec<String> {
    let things = harness.world.things().into_iter();
    things.filter(|thing| thing.starts_with("volume snapshot")).collect()
}

#[tokio::test]
async fn a_kept_volume_snapshot_is_the_base_of_the_next_snapshot_and_goes_after_it() {
    let mut harness = Harness::start().await;
    harness.world.keeps_changes = true;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (_, snapshot_id) = harness.start_snapshot().await;
        let mut bases = Vec::new();
        harness
            .play(|sent| {
                if let Command::TransferDisk(it) = &sent.command {
                    bases.extend(Some(it.base_volume_snapshot_id.clone()).filter(|id| !id.is_empty()));
                }
                None
            })
            .await;
        assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
        assert_eq!(bases.len(), kept.len());
        let before = std::mem::replace(&mut kept, volume_snapshots(&harness));
        assert_eq!(kept.len(), 2, "that of the boot disk of each instance: {kept:?}");
        assert!(!kept.iter().any(|thing| before.contains(thing)), "{before:?} became {kept:?}");
    }
    // A snapshot that fails takes only its own away.
    let (_, failed) = harness.start_snapshot().await;
    harness
        .play(|sent| (sent.verb() == "verify_manifest").then(|| Failure::permanent("DRILL", "it is bad")))
        .await;
    assert_eq!(harness.snapshot(failed).await.status, SnapshotState::Error);
    assert_eq!(volume_snapshots(&harness), kept);
}
