//! How the process starts and ends.

use std::process::Command;

use runtime::SystemClock;

use crate::controller::{Kind, make_job, wait_for};
use crate::mover::Mover;

#[tokio::test]
async fn an_actor_that_panics_ends_the_process_with_70_and_is_named() {
    let mut mover = Mover::prepare(&[1; 4096], "").await;
    for actor in ["lease_keeper", "registrar", "command_consumer"] {
        mover.spawn(&[("HOLDFAST_DRILL", &format!("panic:{actor}"))]);
        let freeze = mover.freeze(make_job(), 1000);
        mover.controller.command(&mover.host, "FreezeGuest", &freeze).await;
        let status = mover.wait_ended().await;
        let log = mover.log();
        assert_eq!(status.code(), Some(70), "{actor}: {log}");
        let line = log.lines().rev().find(|line| line.contains("an actor died")).expect("an error line");
        assert!(line.contains(actor), "{line}");
    }
}

#[tokio::test]
async fn a_wrong_password_ends_the_process_with_69_and_is_not_shown() {
    let mut mover = Mover::prepare(&[1; 4096], "").await;
    std::fs::write(mover.path("password"), "hunter2").unwrap();
    mover.spawn(&[]);
    let status = mover.wait_ended().await;
    assert_eq!(status.code(), Some(69), "{}", mover.log());
    assert!(!mover.log().contains("hunter2"));
}

#[tokio::test]
async fn a_command_past_its_deadline_is_refused_and_leaves_nothing() {
    let mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    for (attempt, is_first) in [(1, true), (2, false)] {
        let job_id = make_job();
        let mut freeze = mover.freeze(job_id, 20_000);
        let header = freeze.header.as_mut().unwrap();
        header.attempt = attempt;
        header.deadline_at = SystemClock::shared().now().0 - 5_000_000;
        controller.command(&mover.host, "FreezeGuest", &freeze).await;
        match controller.wait_result(job_id, attempt).await.kind {
            Kind::Failed { code, message, effect_free } => {
                assert_eq!((code.as_str(), effect_free), ("COMMAND_EXPIRED", is_first));
                assert!(message.contains(mover.host.as_str()) && message.contains("clock"), "{message}");
            }
            other => panic!("it was not refused: {other:?}"),
        }
        assert!(!mover.is_frozen());
        assert_eq!(mover.journal(job_id), None);
    }
}

/// The deadline is one for accepting: a job that was, is answered as ever when its command comes again.
#[tokio::test]
async fn a_late_copy_of_a_command_that_came_in_time_gets_its_result() {
    let mover = Mover::start(&[1; 4096], "").await;
    let controller = mover.controller.clone();
    let job_id = make_job();
    let mut freeze = mover.freeze(job_id, 20_000);
    freeze.header.as_mut().unwrap().deadline_at = SystemClock::shared().now().0 + 3_600_000_000;
    controller.command(&mover.host, "FreezeGuest", &freeze).await;
    let first = controller.wait_result(job_id, 1).await;
    freeze.header.as_mut().unwrap().deadline_at = SystemClock::shared().now().0 - 1;
    controller.command(&mover.host, "FreezeGuest", &freeze).await;
    wait_for("the result again", || {
        let copies =
            controller.replies(job_id).into_iter().filter(|reply| reply.message_id == first.message_id);
        (copies.count() >= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_registers_and_drains_on_sigterm() {
    let mut mover = Mover::start(&[1; 4096], "pools = []").await;
    let register = mover.controller.registrations(&mover.host).remove(0);
    assert_eq!(register.version, env!("CARGO_PKG_VERSION"));
    let known = ["transfer_disk", "drop_changes", "examine"];
    assert!(known.iter().all(|verb| register.capabilities.iter().any(|it| it == verb)), "{register:?}");
    assert_eq!(mover.stop().await.code(), Some(0), "{}", mover.log());
    mover.spawn(&[]);
    let again =
        wait_for("another registration", || mover.controller.registrations(&mover.host).get(1).cloned())
            .await;
    assert_ne!(again.boot_id, register.boot_id);
}

#[tokio::test]
async fn a_config_is_checked_without_starting() {
    let mover = Mover::prepare(&[1; 4096], "").await;
    let check = |path: &std::path::Path| {
        let binary = env!("CARGO_BIN_EXE_holdfast-datamover");
        Command::new(binary).arg("--check-config").arg("--config").arg(path).output().unwrap()
    };
    let good = mover.path("datamover.toml");
    assert_eq!(check(&good).status.code(), Some(0));
    let bad = mover.path("bad.toml");
    std::fs::write(&bad, std::fs::read_to_string(&good).unwrap().replace("[timing]", "[timing]\nresend = 1"))
        .unwrap();
    let output = check(&bad);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("bad.toml") && text.contains("line") && text.contains("resend"), "{text}");
}

#[tokio::test]
async fn a_command_that_makes_no_sense_goes_to_the_dead_letters_with_its_reason() {
    let mover = Mover::start(&[1; 4096], "").await;
    let mut escape = mover.freeze(make_job(), 1000);
    escape.instance_id = "../../etc".to_owned();
    let envelope = mover.controller.command(&mover.host, "FreezeGuest", &escape).await;
    let reason = mover.controller.wait_dead(envelope.message_id).await;
    assert!(reason.contains("instance_id") && reason.contains("instance id"), "{reason}");
    let envelope = mover.controller.command(&mover.host, "MineBitcoin", &escape).await;
    assert!(mover.controller.wait_dead(envelope.message_id).await.contains("MineBitcoin"));
}
