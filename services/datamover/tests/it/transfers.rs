//! Transfers and restores.

use proto::cmd::v1 as cmd;
use proto::rep::v1::job_succeeded::Result as Success;
use proto::rep::v1::{DiskTransferred, DiskWritten};

use crate::controller::{Kind, make_header, make_job, wait_for};
use crate::mover::{Mover, make_noise};

const MIB: usize = 1 << 20;

fn transferred(kind: Kind) -> DiskTransferred {
    match kind {
        Kind::Succeeded(Success::DiskTransferred(transferred)) => transferred,
        other => panic!("not transferred: {other:?}"),
    }
}

fn written(kind: Kind) -> DiskWritten {
    match kind {
        Kind::Succeeded(Success::DiskWritten(written)) => written,
        other => panic!("not written: {other:?}"),
    }
}

#[tokio::test]
async fn a_disk_goes_to_the_target_and_comes_back_and_results_are_sent_until_acknowledged() {
    let mut bytes = make_noise(5 * MIB);
    bytes[2 * MIB..3 * MIB].fill(0);
    let mover = Mover::start(&bytes, "").await;
    let controller = mover.controller.clone();
    let job_id = make_job();
    let command = mover.transfer(job_id).await;
    controller.command(&mover.host, "TransferDisk", &command).await;
    assert_eq!(controller.wait_accepted(job_id, 1).await.kind, Kind::Accepted { needs_lease: true });
    assert_eq!(mover.objects().len(), 0, "it began without a grant");
    controller.grant(&mover.host, job_id, 1, 7).await;
    let result = controller.wait_result(job_id, 1).await;
    assert_eq!(result.header.epoch, 7);
    assert_eq!(transferred(result.kind).size_bytes, bytes.len() as u64);
    wait_for("the result again", || {
        let copies =
            controller.replies(job_id).into_iter().filter(|reply| reply.message_id == result.message_id);
        (copies.count() >= 3).then_some(())
    })
    .await;
    controller.acknowledge(&mover.host, job_id, 1).await;
    wait_for("the job to settle", || mover.journal(job_id).filter(|text| text.contains("settled"))).await;

    let verify = make_job();
    let message = cmd::VerifyManifest {
        header: make_header(verify, 1),
        placement: None,
        target_id: command.target_id.clone(),
        lineage_id: command.lineage_id.clone(),
        snapshot_id: command.snapshot_id.clone(),
        sealed: Vec::new(),
    };
    controller.command(&mover.host, "VerifyManifest", &message).await;
    assert!(matches!(
        controller.wait_result(verify, 1).await.kind,
        Kind::Succeeded(Success::ManifestVerified(verified)) if verified.chunk_count == 4
    ));

    let job_id = make_job();
    let message = mover.write(job_id, &command, bytes.len()).await;
    controller.command(&mover.host, "WriteDisk", &message).await;
    controller.wait_accepted(job_id, 1).await;
    controller.grant(&mover.host, job_id, 1, 1).await;
    let report = written(controller.wait_result(job_id, 1).await.kind);
    assert_eq!(report.bytes_read_back, bytes.len() as u64);
    let volume = mover.path(&format!("cloud/volumes/{}/disk.img", message.destination_volume_id));
    assert!(std::fs::read(volume).unwrap() == bytes);
}

#[tokio::test]
async fn a_transfer_killed_in_the_middle_is_announced_again_and_resumes() {
    let bytes = make_noise(160 * MIB);
    let mut mover = Mover::start(&bytes, "rate_limit_mib_per_s = 40").await;
    let controller = mover.controller.clone();
    let job_id = make_job();
    let command = mover.transfer(job_id).await;
    controller.command(&mover.host, "TransferDisk", &command).await;
    controller.wait_accepted(job_id, 1).await;
    controller.grant(&mover.host, job_id, 1, 1).await;
    let beat = wait_for("a durable pack", || {
        let beats = controller.beats(&mover.host, job_id).into_iter();
        beats.filter_map(|(_, beat)| beat).find(|beat| beat.bytes_stored > 0)
    })
    .await;
    assert!(0 < beat.bytes_done && beat.bytes_done < beat.bytes_total, "{beat:?}");
    let disk_servers = mover.children();
    assert_eq!(disk_servers.len(), 1);
    mover.kill();
    wait_for("the disk server to die too", || {
        let alive = disk_servers
            .iter()
            .any(|pid| std::path::Path::new(&format!("/proc/{pid}")).try_exists().unwrap());
        (!alive).then_some(())
    })
    .await;
    let announced = controller.replies(job_id).len();
    mover.spawn(&[]);
    wait_for("JobAccepted again", || (controller.replies(job_id).len() > announced).then_some(())).await;
    controller.grant(&mover.host, job_id, 1, 2).await;
    let result = controller.wait_result(job_id, 1).await;
    assert_eq!(result.header.epoch, 2);
    let report = transferred(result.kind);
    assert!(report.bytes_read <= 96 * MIB as u64, "{} bytes were read again", report.bytes_read);
    assert_eq!((report.chunk_count, report.size_bytes), (160, bytes.len() as u64));
}

#[tokio::test]
async fn a_later_attempt_takes_over_and_the_earlier_one_says_nothing_more() {
    let mover = Mover::start(&make_noise(6 * MIB), "rate_limit_mib_per_s = 1").await;
    let controller = mover.controller.clone();
    let job_id = make_job();
    let mut command = mover.transfer(job_id).await;
    controller.command(&mover.host, "TransferDisk", &command).await;
    controller.wait_accepted(job_id, 1).await;
    controller.grant(&mover.host, job_id, 1, 1).await;
    wait_for("progress", || {
        let beats = controller.beats(&mover.host, job_id).into_iter();
        beats.filter_map(|(_, beat)| beat).find(|beat| beat.bytes_done > 0)
    })
    .await;
    command.header = make_header(job_id, 2);
    controller.command(&mover.host, "TransferDisk", &command).await;
    controller.wait_accepted(job_id, 2).await;
    controller.grant(&mover.host, job_id, 2, 2).await;
    transferred(controller.wait_result(job_id, 2).await.kind);
    let first = controller.replies(job_id).into_iter().filter(|reply| reply.header.attempt == 1);
    assert!(first.into_iter().all(|reply| matches!(reply.kind, Kind::Accepted { .. })));
}

#[tokio::test]
async fn a_purge_stops_the_transfer_leaves_nothing_and_bars_it_for_ever() {
    let mut mover = Mover::start(&make_noise(160 * MIB), "rate_limit_mib_per_s = 40").await;
    let controller = mover.controller.clone();
    let (job_id, purge) = (make_job(), make_job());
    let mut command = mover.transfer(job_id).await;
    controller.command(&mover.host, "TransferDisk", &command).await;
    controller.wait_accepted(job_id, 1).await;
    controller.grant(&mover.host, job_id, 1, 1).await;
    wait_for("an object on the target", || (!mover.objects().is_empty()).then_some(())).await;
    let message = cmd::PurgeTransfer {
        header: make_header(purge, 1),
        placement: None,
        transfer_job_id: job_id.to_string(),
        snapshot_id: command.snapshot_id.clone(),
        target_id: command.target_id.clone(),
        lineage_id: command.lineage_id.clone(),
    };
    controller.command(&mover.host, "PurgeTransfer", &message).await;
    assert_eq!(controller.wait_accepted(purge, 1).await.kind, Kind::Accepted { needs_lease: true });
    controller.grant(&mover.host, purge, 1, 1).await;
    assert!(matches!(controller.wait_result(purge, 1).await.kind, Kind::Succeeded(Success::Done(_))));
    assert_eq!(mover.objects().len(), 0);
    assert_eq!(mover.children().len(), 0);
    assert_eq!(mover.journal(job_id), None);
    assert_eq!(std::fs::read_dir(mover.path("state/transfers")).unwrap().count(), 0);
    // Also after a restart.
    mover.kill();
    mover.spawn(&[]);
    command.header = make_header(job_id, 2);
    controller.command(&mover.host, "TransferDisk", &command).await;
    assert_eq!(controller.wait_result(job_id, 2).await.kind, Kind::Cancelled);
    assert_eq!(mover.objects().len(), 0);
}

#[tokio::test]
async fn an_aborted_job_is_cancelled_whether_it_runs_or_waits() {
    let mover = Mover::start(&make_noise(30 * MIB), "rate_limit_mib_per_s = 1").await;
    let controller = mover.controller.clone();
    let (running, waiting) = (make_job(), make_job());
    for job_id in [running, waiting] {
        controller.command(&mover.host, "TransferDisk", &mover.transfer(job_id).await).await;
        controller.wait_accepted(job_id, 1).await;
    }
    controller.grant(&mover.host, running, 1, 1).await;
    wait_for("a disk server", || (!mover.children().is_empty()).then_some(())).await;
    for job_id in [running, waiting] {
        controller
            .control(&mover.host, "AbortJob", &cmd::AbortJob { job_id: job_id.to_string(), attempt: 1 })
            .await;
        assert_eq!(controller.wait_result(job_id, 1).await.kind, Kind::Cancelled);
    }
    wait_for("the disk server to end", || mover.children().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_refused_lease_drops_the_job_and_a_lapsed_one_waits_for_an_extension() {
    let mover = Mover::start(&make_noise(2 * MIB), "").await;
    let controller = mover.controller.clone();
    let (refused, lapsed) = (make_job(), make_job());
    for job_id in [refused, lapsed] {
        controller.command(&mover.host, "TransferDisk", &mover.transfer(job_id).await).await;
        controller.wait_accepted(job_id, 1).await;
    }
    let refuse =
        cmd::LeaseRefuse { job_id: refused.to_string(), attempt: 1, reason: "another has it".to_owned() };
    controller.control(&mover.host, "LeaseRefuse", &refuse).await;
    wait_for("the job to be dropped", || mover.journal(refused).is_none().then_some(())).await;

    // A lease as long as its margin gives no right: the job is granted, beats, and writes nothing.
    let grant = cmd::LeaseGrant { job_id: lapsed.to_string(), attempt: 1, epoch: 3, lease_ttl_ms: 1000 };
    controller.control(&mover.host, "LeaseGrant", &grant).await;
    let beat = |after: u64| {
        let beats = controller.beats(&mover.host, lapsed).into_iter();
        beats
            .filter(|(_, beat)| beat.is_some())
            .map(|(sequence, _)| sequence)
            .find(|sequence| *sequence > after)
    };
    let first = wait_for("a beat", || beat(0)).await;
    let second = wait_for("another beat", || beat(first)).await;
    assert_eq!(mover.objects().len(), 0);
    let job = cmd::JobLease { job_id: lapsed.to_string(), attempt: 1, epoch: 3 };
    let extend = cmd::LeaseExtend { sequence: second, lease_ttl_ms: 90_000, jobs: vec![job] };
    controller.control(&mover.host, "LeaseExtend", &extend).await;
    transferred(controller.wait_result(lapsed, 1).await.kind);
    assert_eq!(
        controller
            .replies(refused)
            .iter()
            .filter(|reply| !matches!(reply.kind, Kind::Accepted { .. }))
            .count(),
        0
    );
}

#[tokio::test]
async fn a_damaged_pack_fails_the_restore_and_names_disk_snapshot_and_pack() {
    let mover = Mover::start(&make_noise(2 * MIB), "").await;
    let controller = mover.controller.clone();
    let (job_id, write) = (make_job(), make_job());
    let command = mover.transfer(job_id).await;
    controller.command(&mover.host, "TransferDisk", &command).await;
    controller.wait_accepted(job_id, 1).await;
    controller.grant(&mover.host, job_id, 1, 1).await;
    transferred(controller.wait_result(job_id, 1).await.kind);
    let pack = mover.objects().into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut content = std::fs::read(&pack).unwrap();
    content[MIB] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, content).unwrap();
    let message = mover.write(write, &command, 2 * MIB).await;
    controller.command(&mover.host, "WriteDisk", &message).await;
    controller.wait_accepted(write, 1).await;
    controller.grant(&mover.host, write, 1, 1).await;
    let Kind::Failed { code, message, .. } = controller.wait_result(write, 1).await.kind else {
        panic!("not failed")
    };
    assert!(code.starts_with("PACK_"), "{code}");
    let pack_id = pack.file_stem().unwrap().to_str().unwrap();
    for name in [&command.disk_id, &command.snapshot_id, pack_id] {
        assert!(message.contains(name), "{message} does not name {name}");
    }
}
