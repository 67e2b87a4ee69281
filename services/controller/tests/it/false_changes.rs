//! Records of changes that are found to be false: nothing builds on them any more, on no host; and commands that only those
//! hosts are sent that know them.

use catalog::{ServiceKind, ServiceSign};
use controller::engine::{JobResult, Outcome, Worker};
use controller::sagas::answer::Answer;
use controller::sagas::remote::Command;
use model::{Failure, SnapshotState};
use proto::rep::v1::DiskTransferred;

use crate::harness::{Harness, Sent, host, play_until};
use crate::world::{World, make_uuid};

fn is_of_first(sent: &Sent) -> bool {
    matches!(&sent.command, Command::TransferDisk(it) if it.instance_id == make_uuid(10).to_string())
}

/// Plays until transfers are on their way and ends them; `amend` may change what is told of each.
async fn end_transfers(harness: &mut Harness, mut amend: impl FnMut(&Sent, &mut DiskTransferred)) {
    for sent in play_until(harness, "transfer_disk").await {
        let Answer::DiskTransferred(mut told) = harness.world.carry_out(&sent.command) else { panic!() };
        amend(&sent, &mut told);
        harness.end(&sent, Outcome::Succeeded(Answer::DiskTransferred(told))).await;
    }
}

fn volume_snapshots(harness: &Harness) -> usize {
    harness.world.things().iter().filter(|thing| thing.starts_with("volume snapshot")).count()
}

#[tokio::test]
async fn a_base_whose_record_of_changes_lies_is_used_by_no_later_snapshot_although_the_one_that_found_it_fails()
 {
    let mut harness = Harness::start().await;
    harness.world.keeps_changes = true;
    harness.start_snapshot().await;
    harness.play(|_| None).await;

    let (_, failing) = harness.start_snapshot().await;
    let transfers = play_until(&mut harness, "transfer_disk").await;
    let has_base = |sent: &&Sent| matches!(&sent.command, Command::TransferDisk(it) if !it.base_volume_snapshot_id.is_empty());
    let found = transfers.iter().filter(has_base).find(|sent| is_of_first(sent)).unwrap();
    harness.accept(found).await;
    let failure = Failure::permanent("SOURCE_READ_FAILED", "the disk cannot be read");
    let result = JobResult {
        worker: Worker::Mover(host("host-a")),
        job_id: found.job_id,
        attempt: found.attempt,
        outcome: Outcome::Failed { failure, effect_free: false },
        changes_false: true,
    };
    harness.engine.job_ended(&result).await.unwrap();
    for sent in transfers.iter().filter(|sent| sent.job_id != found.job_id) {
        harness.succeed(sent).await;
    }
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(failing).await.status, SnapshotState::Error);
    assert_eq!(volume_snapshots(&harness), 2, "what is kept of either instance is not stranded");

    let (_, id) = harness.start_snapshot().await;
    let mut with_base = Vec::new();
    end_transfers(&mut harness, |sent, _| {
        if has_base(&sent) {
            with_base.push(is_of_first(sent));
        }
    })
    .await;
    assert_eq!(with_base, [false], "that of the other instance alone");
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
    assert_eq!(volume_snapshots(&harness), 2, "the false base went with this snapshot");
    harness.start_snapshot().await;
    let mut with_base = 0;
    end_transfers(&mut harness, |sent, _| with_base += u32::from(has_base(&sent))).await;
    assert_eq!(with_base, 2, "what came after it is a base as any");
}

/// The first local disk of the first instance arrives by its record, and the second proves it false.
fn lie(sent: &Sent, told: &mut DiskTransferred) {
    let Command::TransferDisk(it) = &sent.command else { return };
    if is_of_first(sent) && it.disk_id == "vde" {
        told.changes_false = true;
        told.full_read_reason = "the record of changes lies".to_owned();
    }
}

#[tokio::test]
async fn a_disk_that_arrived_by_a_record_that_another_disk_proves_false_is_cut_and_read_once_more() {
    let mut harness = Harness::start().await;
    harness.world.disk_count = 5;
    harness.start_snapshot().await;
    harness.play(|_| None).await;

    let (_, id) = harness.start_snapshot().await;
    end_transfers(&mut harness, lie).await;
    let mut again = Vec::new();
    harness
        .play(|sent| {
            again.extend(matches!(sent.verb(), "cut_disks" | "transfer_disk").then(|| sent.clone()));
            None
        })
        .await;
    let cuts = again.iter().filter(|sent| sent.verb() == "cut_disks").count();
    let transfers: Vec<_> = again.iter().filter(|sent| sent.verb() == "transfer_disk").collect();
    assert_eq!((cuts, transfers.len()), (1, 5), "all disks of that instance, and no other");
    assert!(transfers.iter().all(|sent| is_of_first(sent)));
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_snapshot_whose_records_prove_false_in_the_second_cut_too_fails() {
    let mut harness = Harness::start().await;
    harness.world.disk_count = 5;
    harness.start_snapshot().await;
    harness.play(|_| None).await;
    let before = harness.world.things();

    let (_, id) = harness.start_snapshot().await;
    end_transfers(&mut harness, lie).await;
    end_transfers(&mut harness, lie).await;
    harness.play(|_| None).await;
    let row = harness.snapshot(id).await;
    assert_eq!((row.status, row.error_code.as_deref()), (SnapshotState::Error, Some("CHANGE_RECORD_FALSE")));
    assert_eq!(harness.world.things(), before);
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_disk_alone_whose_record_lies_is_not_cut_again() {
    let mut harness = Harness::start().await;
    harness.world = World::with_local_disks();
    harness.start_snapshot().await;
    harness.play(|_| None).await;
    let (_, id) = harness.start_snapshot().await;
    end_transfers(&mut harness, |sent, told| {
        if matches!(&sent.command, Command::TransferDisk(it) if it.disk_id == "vdc") {
            told.changes_false = true;
            told.full_read_reason = "the record of changes lies".to_owned();
        }
    })
    .await;
    harness.play(|sent| (sent.verb() == "cut_disks").then(|| Failure::permanent("DRILL", "not again"))).await;
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
}

#[tokio::test]
async fn a_command_names_the_hosts_that_said_that_they_do_not_know_it() {
    let mut harness = Harness::start().await;
    harness.world = World::with_local_disks();
    harness.start_snapshot().await;
    harness.play(|_| None).await;
    let mut tx = harness.catalog.begin().await.unwrap();
    let known = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let said = [
        ("host-a", known(&[])),
        ("host-b", known(&["transfer_disk", "drop_changes"])),
        ("host-c", known(&["transfer_disk"])),
        ("host-d", None), // it was not heard of since the controllers ask
    ];
    for (name, capabilities) in said {
        let (kind, version) = (ServiceKind::Datamover, None);
        let (boot_id, pools) = ("first".to_owned(), Vec::new());
        let sign = ServiceSign { kind, host: host(name), boot_id, version, pools, capabilities };
        tx.upsert_service(&sign).await.unwrap();
    }
    tx.commit().await.unwrap();
    harness.start_clearing(false).await;
    let sent = play_until(&mut harness, "drop_changes").await;
    let Command::DropChanges(it) = &sent[0].command else { panic!("{sent:?}") };
    assert_eq!(it.placement.as_ref().unwrap().hosts_too_old, ["host-a", "host-c"]);
    // It is answered by dmapi, and tried again until the host is upgraded.
    let too_old = Failure::transient("HOST_TOO_OLD", "upgrade it");
    harness.end_as(&sent[0], Worker::Dmapi, Outcome::Failed { failure: too_old, effect_free: true }).await;
    for other in &sent[1..] {
        harness.succeed(other).await;
    }
    harness.play(|_| None).await;
    assert_eq!(harness.world.drops.len(), 2);
    harness.start_snapshot().await;
    let sent = play_until(&mut harness, "freeze_guest").await;
    let Command::FreezeGuest(it) = &sent[0].command else { panic!("{sent:?}") };
    assert!(it.placement.as_ref().unwrap().hosts_too_old.is_empty(), "what all know goes to all");
}
