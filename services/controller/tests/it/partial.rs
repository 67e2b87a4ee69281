//! Snapshots of which instances are left out: what is kept, what is said, and what is left behind.

use catalog::PartStatus;
use controller::sagas::remote::Command;
use model::{Failure, SnapshotState, WorkloadType};
use serde_json::Value;

use crate::harness::{Harness, Sent, play_until};
use crate::world::{World, make_uuid};

/// Every verb with which an instance may fail, with a code that is its own.
const BREAKS: [(&str, &str); 11] = [
    ("describe_instance", "INSTANCE_IN_ERROR"),
    ("describe_connector", "CONNECTOR_OFF"),
    ("freeze_guest", "INSTANCE_NOT_FOUND"),
    ("cut_disks", "CUT_FAILED"),
    ("create_volume_snapshot", "VOLUME_IN_ERROR"),
    ("thaw_guest", "HOST_NOT_ENROLLED"),
    ("create_volume", "VOLUME_FAILED"),
    ("attach_volume", "ATTACHMENT_FAILED"),
    ("transfer_disk", "SOURCE_READ_FAILED"),
    ("transfer_disk", "POINT_IN_TIME_LOST"),
    ("verify_manifest", "PACK_MISSING"),
];

/// The snapshot's record on the target, as it was written last.
fn last_record(written: &[Vec<u8>]) -> Value {
    serde_json::from_slice(written.last().expect("a record was written")).unwrap()
}

fn snapshot_records(sent: &Sent) -> Vec<Vec<u8>> {
    let Command::WriteRecords(it) = &sent.command else { return Vec::new() };
    let is_snapshot = |name: &str| name.starts_with("w/") && !name.ends_with("workload.json");
    it.records.iter().filter(|record| is_snapshot(&record.name)).map(|record| record.body.clone()).collect()
}

#[tokio::test]
async fn an_instance_that_fails_is_left_out_with_its_error_and_the_others_are_in_the_snapshot() {
    for (verb, code) in BREAKS {
        let mut harness = Harness::start_partial(World::with_a_break(verb, code)).await;
        let (_, id) = harness.start_snapshot().await;
        let mut written = Vec::new();
        harness
            .play(|sent| {
                written.extend(snapshot_records(sent));
                None
            })
            .await;
        let row = harness.snapshot(id).await;
        assert_eq!(row.status, SnapshotState::Available, "{verb} {code}: {row:?}");
        let warning = row.warning_message.unwrap_or_else(|| panic!("{verb}: no warning"));
        assert!(warning.contains("instance web-10 is not in it: ") && warning.contains(code), "{warning}");
        let mut tx = harness.catalog.read().await.unwrap();
        let parts = tx.list_snapshot_instances(id).await.unwrap();
        let [failed, saved] = parts.as_slice() else { panic!("{parts:?}") };
        assert_eq!((failed.status, failed.error_code.as_deref()), (PartStatus::Error, Some(code)));
        assert!(failed.error_message.as_ref().unwrap().contains("it is broken"), "{failed:?}");
        assert_eq!((saved.status, saved.error_code.as_deref()), (PartStatus::Available, None), "{verb}");
        let disks = tx.list_snapshot_disks(id).await.unwrap();
        assert!(disks.iter().all(|disk| disk.instance_id == saved.instance_id), "{disks:?}");
        assert_eq!(disks.len(), 3);
        let record = last_record(&written);
        let instances = record["instances"].as_array().unwrap();
        let of = |id: String| instances.iter().find(|it| it["instance_id"] == id.as_str()).unwrap();
        assert_eq!(of(failed.instance_id.to_string())["error"]["code"], code);
        assert_eq!(of(failed.instance_id.to_string())["disks"].as_array().unwrap().len(), 0);
        assert_eq!(of(saved.instance_id.to_string())["disks"].as_array().unwrap().len(), 3);
        drop(tx);
        let left = harness.world.things();
        let expected = |thing: &String| thing.starts_with("record") || thing.starts_with("transfer");
        assert!(left.iter().all(expected), "{verb} {code} left {left:?}");
        assert_eq!(left.iter().filter(|thing| thing.starts_with("transfer")).count(), 3, "{left:?}");
        assert_eq!(left.iter().filter(|thing| thing.ends_with("lineage.json")).count(), 3, "{left:?}");
        harness.assert_nothing_held().await;
    }
}

#[tokio::test]
async fn without_leave_to_be_partial_the_snapshot_fails_and_says_which_instance_did() {
    // A guest that cannot be thawed on the way back either leaves the saga stuck.
    for (verb, code) in BREAKS.into_iter().filter(|(verb, _)| *verb != "thaw_guest") {
        let mut harness = Harness::start().await;
        harness.world = World::with_a_break(verb, code);
        let (_, id) = harness.start_snapshot().await;
        harness.play(|_| None).await;
        let row = harness.snapshot(id).await;
        assert_eq!((row.status, row.error_code.as_deref()), (SnapshotState::Error, Some(code)), "{verb}");
        let parts = harness.catalog.read().await.unwrap().list_snapshot_instances(id).await.unwrap();
        let failed: Vec<_> = parts.iter().filter(|part| part.error_code.is_some()).collect();
        assert_eq!(failed.len(), 1, "{verb}: {parts:?}");
        assert_eq!((failed[0].name.as_str(), failed[0].error_code.as_deref()), ("web-10", Some(code)));
        assert_eq!(harness.world.things(), Vec::<String>::new());
        harness.assert_nothing_held().await;
    }
}

#[tokio::test]
async fn a_snapshot_of_which_no_instance_is_left_fails_with_the_last_ones_error() {
    for verb in ["describe_instance", "cut_disks", "transfer_disk", "verify_manifest"] {
        let mut harness = Harness::start_partial(World::with_local_disks()).await;
        let (_, id) = harness.start_snapshot().await;
        harness.play(|sent| (sent.verb() == verb).then(|| Failure::permanent("DRILL", "it cannot be"))).await;
        let row = harness.snapshot(id).await;
        assert_eq!((row.status, row.error_code.as_deref()), (SnapshotState::Error, Some("DRILL")), "{verb}");
        let parts = harness.catalog.read().await.unwrap().list_snapshot_instances(id).await.unwrap();
        assert!(parts.len() == 2 && parts.iter().all(|part| part.error_code.is_some()), "{verb}: {parts:?}");
        assert_eq!(harness.world.things(), Vec::<String>::new(), "{verb}");
        harness.assert_nothing_held().await;
    }
}

#[tokio::test]
async fn an_instance_that_never_answers_is_left_out_when_its_attempts_are_spent() {
    let mut harness = Harness::start_partial(World::with_local_disks()).await;
    let (_, id) = harness.start_snapshot().await;
    let silent = "web-10";
    let mut attempts = 0;
    harness
        .play(|sent| match &sent.command {
            Command::CreateVolumeSnapshot(it) if World::is_volume_of_first(&it.volume_id) => {
                attempts += 1;
                Some(Failure::new(model::ErrorClass::Indeterminate, "JOB_TIMEOUT", "no answer"))
            }
            _ => None,
        })
        .await;
    assert_eq!(attempts, 16, "eight for each of its volumes");
    let row = harness.snapshot(id).await;
    assert_eq!(row.status, SnapshotState::Available, "{row:?}");
    assert!(row.warning_message.unwrap().contains(silent));
    harness.assert_nothing_held().await;
}

/// Verb and instance of each command that works on a guest, its disks or their transfers, in the order in which they went out.
async fn play_in_order(harness: &mut Harness) -> Vec<(String, String)> {
    let mut order = Vec::new();
    harness
        .play(|sent| {
            let instance = match &sent.command {
                Command::FreezeGuest(it) => Some(it.instance_id.clone()),
                Command::CutDisks(it) => Some(it.instance_id.clone()),
                Command::ThawGuest(it) => Some(it.instance_id.clone()),
                Command::TransferDisk(it) => Some(it.instance_id.clone()),
                _ => None,
            };
            order.extend(instance.map(|instance| (sent.verb().to_owned(), instance)));
            None
        })
        .await;
    order.dedup();
    order
}

#[tokio::test]
async fn a_serial_workload_is_done_with_one_instance_before_it_touches_the_next() {
    let world = World::with_local_disks();
    let mut harness = Harness::start_with(3, WorkloadType::Serial, false, world).await;
    let (_, id) = harness.start_snapshot().await;
    let order = play_in_order(&mut harness).await;
    let verbs: Vec<&str> = order.iter().map(|(verb, _)| verb.as_str()).collect();
    let lap = ["freeze_guest", "cut_disks", "thaw_guest", "transfer_disk"];
    assert_eq!(verbs, [lap, lap, lap].concat());
    let mut instances: Vec<_> = order.iter().map(|(_, instance)| instance.clone()).collect();
    instances.dedup();
    let expected: Vec<_> = (10..13).map(|number| make_uuid(number).to_string()).collect();
    assert_eq!(instances, expected, "in the order of the workload");
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_parallel_workload_does_each_step_for_all_its_instances() {
    let world = World::with_local_disks();
    let mut harness = Harness::start_with(3, WorkloadType::Parallel, false, world).await;
    harness.start_snapshot().await;
    let mut verbs: Vec<_> = play_in_order(&mut harness).await.into_iter().map(|(verb, _)| verb).collect();
    verbs.dedup();
    assert_eq!(verbs, ["freeze_guest", "cut_disks", "thaw_guest", "transfer_disk"]);
}

#[tokio::test]
async fn a_serial_workload_with_every_fate_goes_on_with_those_that_are_left() {
    for workload_type in [WorkloadType::Parallel, WorkloadType::Serial] {
        let world = World::with_local_disks().with_every_fate();
        let mut harness = Harness::start_with(4, workload_type, true, world).await;
        let (_, id) = harness.start_snapshot().await;
        let order = play_in_order(&mut harness).await;
        let freezes = order.iter().filter(|(verb, _)| verb == "freeze_guest").count();
        assert_eq!(freezes, 6, "{workload_type:?}: four, and two that were lost");
        let row = harness.snapshot(id).await;
        assert_eq!(row.status, SnapshotState::Available, "{workload_type:?}: {row:?}");
        let warning = row.warning_message.unwrap();
        assert!(warning.contains("SOURCE_READ_FAILED") && warning.contains("PACK_MISSING"), "{warning}");
        let left = harness.world.things();
        assert_eq!(left.iter().filter(|thing| thing.starts_with("transfer")).count(), 6, "{left:?}");
        assert!(
            !left.iter().any(|thing| thing.starts_with("cut") || thing.starts_with("volume")),
            "{left:?}"
        );
        harness.assert_nothing_held().await;
    }
}

#[tokio::test]
async fn the_next_snapshot_of_an_instance_that_was_left_out_builds_on_the_one_that_has_it() {
    let mut harness = Harness::start_partial(World::with_local_disks()).await;
    harness.world.keeps_changes = true;
    let (_, first) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    harness.world.breaks = World::with_a_break("transfer_disk", "SOURCE_READ_FAILED").breaks;
    harness.start_snapshot().await;
    harness.play(|_| None).await;
    harness.world.breaks = Vec::new();
    harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    let parents = sent.iter().filter_map(|sent| match &sent.command {
        Command::TransferDisk(it) if it.parent_snapshot_id == first.to_string() => Some(it),
        _ => None,
    });
    let parents: Vec<_> = parents.collect();
    assert_eq!(parents.len(), 3, "the disks of the instance that was left out");
    assert_eq!(parents.iter().filter(|it| !it.base_volume_snapshot_id.is_empty()).count(), 1);
}

#[tokio::test]
async fn a_dead_host_holds_no_workload_and_the_warning_says_what_stays_there() {
    let mut harness =
        Harness::start_partial(World::with_a_break("transfer_disk", "SOURCE_READ_FAILED")).await;
    let (saga, id) = harness.start_snapshot().await;
    let dead = make_uuid(10).to_string();
    let mut attempts = 0;
    harness
        .play(|sent| match &sent.command {
            Command::EndCut(it) if it.instance_id == dead => {
                attempts += 1;
                Some(Failure::transient("DATAMOVER_NOT_RUNNING", "no datamover is connected"))
            }
            _ => None,
        })
        .await;
    assert_eq!(attempts, 20);
    assert_eq!(harness.saga(saga).await.phase, "succeeded");
    let row = harness.snapshot(id).await;
    assert_eq!(row.status, SnapshotState::Available);
    let warning = row.warning_message.unwrap();
    assert!(warning.contains("instance web-10 is not in it: "), "{warning}");
    let stays = "the cut of the local disks of instance web-10 could not be removed";
    assert!(warning.contains(stays) && warning.contains("[DATAMOVER_NOT_RUNNING]"), "{warning}");
    let left = harness.world.things();
    let cuts: Vec<_> = left.iter().filter(|thing| thing.starts_with("cut")).collect();
    assert!(cuts.len() == 1 && cuts[0].contains(&dead), "all else is gone: {left:?}");
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_volume_snapshot_of_which_a_user_made_a_volume_holds_no_workload_either() {
    let mut harness = Harness::start_partial(World::with_a_break("verify_manifest", "PACK_MISSING")).await;
    harness.world.keeps_changes = true;
    for number in 0..2 {
        let (saga, id) = harness.start_snapshot().await;
        let in_use = || Some(Failure::permanent("VOLUME_SNAPSHOT_IN_USE", "volumes were made of it"));
        harness.play(|sent| (sent.verb() == "delete_volume_snapshots").then(in_use).flatten()).await;
        assert_eq!(harness.saga(saga).await.phase, "succeeded");
        let row = harness.snapshot(id).await;
        assert_eq!(row.status, SnapshotState::Available);
        let warning = row.warning_message.unwrap();
        // Of each instance one volume snapshot is kept as a base; the second time the earlier one was to go, too.
        let count = warning.matches("VOLUME_SNAPSHOT_IN_USE").count();
        assert_eq!(count, 3 + number, "{warning}");
        assert!(warning.contains("the volume snapshot of disk vdb of instance web-10 could"), "{warning}");
        harness.assert_nothing_held().await;
    }
}

#[tokio::test]
async fn a_purge_goes_to_others_where_the_host_of_a_transfer_is_dead_unless_a_volume_is_connected_there() {
    /// Then the host is back. Others were asked long before.
    const ATTEMPTS_DEAD: u32 = 8;
    let mut harness =
        Harness::start_partial(World::with_a_break("transfer_disk", "SOURCE_READ_FAILED")).await;
    harness.start_snapshot().await;
    let (mut by_others, mut by_the_host) = (0, 0);
    harness
        .play(|sent| match &sent.command {
            Command::PurgeTransfer(it) => {
                use proto::common::v1::placement::At;
                let is_on_host = matches!(it.placement.as_ref().unwrap().at, Some(At::Host(_)));
                let is_dead = is_on_host && it.header.as_ref().unwrap().attempt < ATTEMPTS_DEAD;
                by_others += u32::from(!is_on_host);
                by_the_host += u32::from(is_on_host && !is_dead);
                let silent = Failure::transient("DATAMOVER_NOT_RUNNING", "no datamover is connected");
                is_dead.then_some(silent)
            }
            _ => None,
        })
        .await;
    assert_eq!((by_others, by_the_host), (2, 1), "one of the three disks is reached by an attachment");
    let purged = harness.world.things();
    assert_eq!(purged.iter().filter(|thing| thing.starts_with("transfer")).count(), 3, "{purged:?}");
    harness.assert_nothing_held().await;
}
