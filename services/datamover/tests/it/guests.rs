//! Freezing and thawing.

use proto::rep::v1::job_succeeded::Result as Success;

use crate::controller::{Kind, make_job, wait_for};
use crate::mover::Mover;

fn frozen_count(kind: &Kind) -> u32 {
    match kind {
        Kind::Succeeded(Success::GuestFrozen(frozen)) => frozen.frozen_count,
        other => panic!("not frozen: {other:?}"),
    }
}

fn thawed_count(kind: &Kind) -> u32 {
    match kind {
        Kind::Succeeded(Success::GuestThawed(thawed)) => thawed.thawed_count,
        other => panic!("not thawed: {other:?}"),
    }
}

#[tokio::test]
async fn a_guest_is_frozen_once_and_thawed_however_often_the_command_comes() {
    let mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    let (freeze, thaw) = (make_job(), make_job());
    let envelope = controller.command(&mover.host, "FreezeGuest", &mover.freeze(freeze, 20_000)).await;
    assert_eq!(controller.wait_accepted(freeze, 1).await.kind, Kind::Accepted { needs_lease: false });
    let first = controller.wait_result(freeze, 1).await;
    assert_eq!(frozen_count(&first.kind), 1);
    assert!(mover.is_frozen());
    // Again while the result is kept: the same result, the same message.
    controller.command_again(&mover.host, &envelope).await;
    wait_for("the result again", || {
        let copies =
            controller.replies(freeze).into_iter().filter(|reply| reply.message_id == first.message_id);
        (copies.count() >= 2).then_some(())
    })
    .await;

    controller.command(&mover.host, "ThawGuest", &mover.thaw(thaw)).await;
    assert_eq!(thawed_count(&controller.wait_result(thaw, 1).await.kind), 1);
    assert!(!mover.is_frozen());
    controller.acknowledge(&mover.host, freeze, 1).await;
    wait_for("the job to settle", || mover.journal(freeze).filter(|text| text.contains("settled"))).await;
    // Again after the acknowledgement: a late copy must not freeze anybody. The queue keeps its order, so when the next
    // command is done this one was looked at.
    controller.command_again(&mover.host, &envelope).await;
    let next = make_job();
    controller.command(&mover.host, "ThawGuest", &mover.thaw(next)).await;
    assert_eq!(thawed_count(&controller.wait_result(next, 1).await.kind), 0);
    assert!(!mover.is_frozen());
}

#[tokio::test]
async fn a_guest_that_nobody_thaws_is_thawed_by_its_timer() {
    let mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    let freeze = make_job();
    controller.command(&mover.host, "FreezeGuest", &mover.freeze(freeze, 1500)).await;
    assert_eq!(frozen_count(&controller.wait_result(freeze, 1).await.kind), 1);
    wait_for("the thaw", || (!mover.is_frozen()).then_some(())).await;
    // And a thaw that comes now does not claim that the snapshot is consistent.
    let thaw = make_job();
    controller.command(&mover.host, "ThawGuest", &mover.thaw(thaw)).await;
    assert_eq!(thawed_count(&controller.wait_result(thaw, 1).await.kind), 0);
}

#[tokio::test]
async fn a_guest_frozen_by_a_killed_datamover_is_thawed_at_its_next_start() {
    let mut mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    let freeze = make_job();
    controller.command(&mover.host, "FreezeGuest", &mover.freeze(freeze, 20_000)).await;
    controller.wait_result(freeze, 1).await;
    mover.kill();
    assert!(mover.is_frozen());
    mover.spawn(&[]);
    wait_for("the thaw", || (!mover.is_frozen()).then_some(())).await;
}

#[tokio::test]
async fn a_guest_is_thawed_when_the_datamover_is_stopped() {
    let mut mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    let freeze = make_job();
    controller.command(&mover.host, "FreezeGuest", &mover.freeze(freeze, 20_000)).await;
    controller.wait_result(freeze, 1).await;
    let status = mover.stop().await;
    assert_eq!(status.code(), Some(0), "{}", mover.log());
    assert!(!mover.is_frozen());
}

#[tokio::test]
async fn an_instance_of_another_host_is_refused() {
    let mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    let (freeze, transfer) = (make_job(), make_job());
    let mut command = mover.freeze(freeze, 20_000);
    command.instance_id = mover.foreign.to_string();
    controller.command(&mover.host, "FreezeGuest", &command).await;
    let mut command = mover.transfer(transfer).await;
    command.instance_id = mover.foreign.to_string();
    controller.command(&mover.host, "TransferDisk", &command).await;
    controller.wait_accepted(transfer, 1).await;
    controller.grant(&mover.host, transfer, 1, 1).await;
    for job_id in [freeze, transfer] {
        match controller.wait_result(job_id, 1).await.kind {
            Kind::Failed { code, effect_free, .. } => {
                assert_eq!((code.as_str(), effect_free), ("FOREIGN_INSTANCE", true))
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(mover.objects().len(), 0);
}
