//! Effects of a snapshot that fail for real, because the cloud is as it is: each is refused or taken back with a code and a
//! sentence, and what is around the instances is as before.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::jobs::JOB_DEADLINE;
use integration_tests::wait;
use openstack_tests::estate::Estate;
use openstack_tests::guest::Guest;
use openstack_tests::halted_service::HaltedService;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::{Pace, Site};

/// What freezes guests thaws them after 20 s by itself.
const THAW_MAX: Duration = Duration::from_secs(60);

/// A creation that nobody answers is tried some times, for a minute each.
const GIVE_UP_MAX: Duration = Duration::from_secs(900);

/// Something that is wrong with the cloud.
struct Trouble {
    name: &'static str,
    begin: fn(&Estate) -> Result<()>,
    end: fn(&Estate) -> Result<()>,
    /// The code by which the snapshot, or its refusal, says it.
    codes: &'static [&'static str],
}

/// Runs `openstack` as the administrator.
fn admin(estate: &Estate, arguments: &[&str]) -> Result<()> {
    estate.lab.admin(arguments, "").map(drop)
}

const TROUBLES: [Trouble; 3] = [
    Trouble {
        name: "no room for a volume snapshot in the quota",
        begin: |estate| admin(estate, &["quota", "set", "--snapshots", "0", estate.project.name()]),
        end: |estate| admin(estate, &["quota", "set", "--snapshots", "10", estate.project.name()]),
        codes: &["QUOTA_TOO_SMALL"],
    },
    Trouble {
        name: "a volume in error",
        begin: |estate| admin(estate, &["volume", "set", "--state", "error", &estate.volume]),
        end: |estate| admin(estate, &["volume", "set", "--state", "in-use", &estate.volume]),
        codes: &["VOLUME_IN_ERROR"],
    },
    Trouble {
        name: "an instance in error",
        begin: |estate| admin(estate, &["server", "set", "--state", "error", &estate.db]),
        end: |estate| admin(estate, &["server", "set", "--state", "active", &estate.db]),
        codes: &["INSTANCE_IN_ERROR"],
    },
];

#[test]
fn what_the_cloud_refuses_is_said_and_nothing_is_left() -> Result<()> {
    let phase = Phase::begin("failing: two servers and a Holdfast");
    let estate = Estate::make()?;
    let before = estate.ledger()?;
    drop(phase);
    for Trouble { name, begin, end, codes } in TROUBLES {
        let phase = Phase::begin(format!("failing: {name}; code and ledger compared"));
        begin(&estate)?;
        let said = snapshot_that_fails(&estate);
        end(&estate)?;
        let said = said.with_context(|| name.to_owned())?;
        ensure!(codes.iter().any(|code| said.contains(code)), "{name}: {said}");
        estate.assert_as_before(&before, name)?;
        drop(phase);
    }
    let phase = Phase::begin(
        "failing: 8 MiB for old blocks: it says why it waits, and goes on when there is room; read back, ledger compared",
    );
    let world = &estate.site.world;
    let small = estate.site.shrink_scratch(8)?;
    let id = world.start_snapshot(estate.workload, true)?;
    let saga = world.block_on(world.client.show_snapshot(id))?.summary.saga_id;
    wait::until(JOB_DEADLINE, "the snapshot waits for room", || {
        let saga = world.block_on(world.client.show_saga(saga))?;
        Ok(format!("{:?}", saga.events).contains("SCRATCH_FULL").then_some(()))
    })?;
    assert_thawed(&estate)?;
    drop(small);
    let snapshot = world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "available", "{:?}", snapshot.summary.error_msg);
    estate.assert_readable(&snapshot)?;
    estate.reset()?;
    estate.assert_as_before(&before, "8 MiB for old blocks")?;
    drop(phase);

    let phase = Phase::begin(
        "failing: cinder-volume hangs while disks are cut, and goes on while the snapshot is taken back; ledger compared",
    );
    let halted = HaltedService::halt(&estate.lab, "cinder-volume")?;
    let id = world.start_snapshot(estate.workload, true)?;
    let saga = world.block_on(world.client.show_snapshot(id))?.summary.saga_id;
    wait::until(GIVE_UP_MAX, "the snapshot is taken back", || {
        let saga = world.block_on(world.client.show_saga(saga))?;
        Ok((saga.summary.phase == "backward").then_some(()))
    })
    .with_context(|| world.logs())?;
    assert_thawed(&estate)?;
    drop(halted);
    let snapshot = world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "error", "it is {}", snapshot.summary.status);
    estate.assert_as_before(&before, "cinder-volume that hangs")?;
    drop(phase);

    let phase = Phase::begin("failing: when all is well again, it works; read back, guests compared");
    let snapshot = estate.site.world.take_snapshot(estate.workload, true)?;
    estate.assert_readable(&snapshot)?;
    assert_thawed(&estate)?;
    drop(phase);
    estate.close()
}

/// Whatever the snapshot waits for, its guests do not wait with it.
fn assert_thawed(estate: &Estate) -> Result<()> {
    for server in [&estate.web, &estate.db] {
        let guest = Guest::wait_for(server)?;
        let what = format!("the file systems of {server} are thawed");
        wait::until(THAW_MAX, &what, || Ok((guest.frozen_status()? == "thawed").then_some(())))?;
    }
    Ok(())
}

#[test]
fn an_image_that_is_deleted_in_mid_transfer_is_not_missed() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("failing: a server from an image of its own, and a slow Holdfast");
    let template = project.create_local_server("template")?;
    Guest::wait_for(&template)?;
    project.stop(&template)?;
    let image = project.create_one(&["server", "image", "create", "--name", "own", &template])?;
    project.wait_for_status(&["image"], &image, "active")?;
    project.run(&["server", "delete", "--wait", &template])?;
    let of_image = ["--image", &image, "--flavor", &lab.flavor, "--nic", "none"];
    let server = project.create_one(&[&["server", "create", "of-own-image"], &of_image[..]].concat())?;
    project.wait_for_status(&["server"], &server, "ACTIVE")?;
    Guest::wait_for(&server)?;
    project.stop(&server)?;
    let site = Site::open_at(&lab, &project, Pace::Slow { rate_mib_per_s: 6 })?;
    let workload = site.world.create_workload("own", &[server.parse()?])?;
    drop(phase);

    for name in ["in mid-transfer", "before"] {
        let phase = Phase::begin(format!("failing: its image is deleted {name}; bytes compared"));
        let id = site.world.start_snapshot(workload, true)?;
        if name == "in mid-transfer" {
            site.world.wait_for_transfer_in_progress(id)?;
            project.run(&["image", "delete", &image])?;
        }
        let snapshot = site.world.wait_for_snapshot(id)?;
        ensure!(snapshot.summary.status == "available", "{name}: {:?}", snapshot.summary.error_msg);
        site.assert_local_disk_kept(&lab, &snapshot, &server)?;
        drop(phase);
    }
    site.close()?;
    project.close()
}

/// What is said of a snapshot: when it is asked for, or when it ended.
fn snapshot_that_fails(estate: &Estate) -> Result<String> {
    let world = &estate.site.world;
    let id = match world.start_snapshot(estate.workload, true) {
        Ok(id) => id,
        // Its text is for people; the code is beside it.
        Err(refusal) => return Ok(format!("{:?}", refusal.downcast_ref::<rest_api::Error>())),
    };
    let snapshot = world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "error", "it is {}", snapshot.summary.status);
    let saga = world.block_on(world.client.show_saga(snapshot.summary.saga_id))?;
    Ok(format!("{saga:?}"))
}
