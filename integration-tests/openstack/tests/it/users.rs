//! What users do to their instances in the middle of a snapshot, through the whole product: it works, the snapshot ends with
//! bytes of one point in time or not at all, and nothing is left behind.

use anyhow::{Context as _, Result, ensure};
use openstack_tests::estate::Estate;
use openstack_tests::flavor::Flavor;
use openstack_tests::guest::Guest;
use openstack_tests::phase::Phase;

/// An action on the instance with a local disk.
struct Action {
    name: &'static str,
    run: fn(&Estate) -> Result<()>,
    /// Whether the instance is off after it: then its bytes can be compared with the file's.
    ends_stopped: bool,
    /// The code with which the snapshot may end instead, for it was asked for at a bad moment.
    or_code: Option<&'static str>,
    /// Brings it back to where it was.
    undo: fn(&Estate) -> Result<()>,
}

fn nothing(_: &Estate) -> Result<()> {
    Ok(())
}

const ACTIONS: [Action; 6] = [
    Action {
        name: "stop",
        run: |estate| estate.project.stop(&estate.db),
        ends_stopped: true,
        or_code: None,
        undo: |estate| estate.project.start(&estate.db),
    },
    Action {
        name: "hard reboot",
        run: |estate| {
            estate.project.run(&["server", "reboot", "--hard", "--wait", &estate.db])?;
            estate.project.wait_for_status(&["server"], &estate.db, "ACTIVE")
        },
        ends_stopped: false,
        or_code: None,
        undo: nothing,
    },
    Action {
        name: "rebuild",
        run: |estate| {
            estate.project.run(&["server", "rebuild", "--wait", &estate.db])?;
            estate.project.wait_for_status(&["server"], &estate.db, "ACTIVE")
        },
        ends_stopped: false,
        or_code: None,
        undo: nothing,
    },
    Action {
        name: "image create",
        run: |estate| {
            let image =
                estate.project.create_one(&["server", "image", "create", "--name", "picture", &estate.db])?;
            estate.project.wait_for_status(&["image"], &image, "active")?;
            estate.project.run(&["image", "delete", &image]).map(drop)
        },
        ends_stopped: false,
        or_code: None,
        undo: nothing,
    },
    Action {
        name: "pause",
        run: |estate| {
            estate.project.run(&["server", "pause", &estate.db])?;
            estate.project.wait_for_status(&["server"], &estate.db, "PAUSED")
        },
        ends_stopped: false,
        or_code: None,
        undo: |estate| {
            estate.project.run(&["server", "unpause", &estate.db])?;
            estate.project.wait_for_status(&["server"], &estate.db, "ACTIVE")
        },
    },
    Action {
        name: "resize",
        run: resize,
        ends_stopped: false,
        // Until its user confirms it, Nova has two disks of it.
        or_code: Some("INSTANCE_RESIZED"),
        undo: nothing,
    },
];

fn resize(estate: &Estate) -> Result<()> {
    let flavor = Flavor::create(&estate.lab, &["--ram", "320"])?;
    estate.project.run(&["server", "resize", "--flavor", flavor.name(), &estate.db])?;
    estate.project.wait_for_status(&["server"], &estate.db, "VERIFY_RESIZE")?;
    estate.project.run(&["server", "resize", "confirm", &estate.db])?;
    estate.project.wait_for_status(&["server"], &estate.db, "ACTIVE")
}

#[test]
fn what_users_do_in_mid_transfer_works_and_the_snapshot_has_one_point_in_time() -> Result<()> {
    let phase = Phase::begin("users: two servers and a Holdfast");
    let estate = Estate::make()?;
    let before = estate.ledger()?;
    drop(phase);
    for Action { name, run, ends_stopped, or_code, undo } in ACTIONS {
        let phase = Phase::begin(format!("users: {name} in mid-transfer; read back, ledger compared"));
        let id = estate.begin_snapshot()?;
        run(&estate).with_context(|| format!("{name} in mid-transfer"))?;
        let snapshot = estate.site.world.wait_for_snapshot(id).with_context(|| name.to_owned())?;
        let world = &estate.site.world;
        let saga = world.block_on(world.client.show_saga(snapshot.summary.saga_id))?;
        if or_code.is_none() || saga.summary.error_code.as_deref() != or_code {
            ensure!(snapshot.summary.status == "available", "{name}: {:?}", snapshot.summary.error_msg);
            estate.assert_readable(&snapshot).with_context(|| name.to_owned())?;
        }
        if ends_stopped {
            estate.assert_local_bytes(&snapshot).with_context(|| name.to_owned())?;
        }
        undo(&estate)?;
        Guest::wait_for(&estate.db)?;
        estate.reset()?;
        estate.assert_as_before(&before, name)?;
        drop(phase);
    }

    let phase = Phase::begin(
        "users: start in the middle of a snapshot of a stopped instance; read back, ledger compared",
    );
    estate.project.stop(&estate.db)?;
    let id = estate.begin_snapshot()?;
    estate.project.start(&estate.db)?;
    let snapshot = estate.site.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "available", "start: {:?}", snapshot.summary.error_msg);
    estate.assert_readable(&snapshot)?;
    Guest::wait_for(&estate.db)?;
    estate.reset()?;
    estate.assert_as_before(&before, "start")?;
    drop(phase);

    let phase = Phase::begin(
        "users: delete in mid-transfer; the snapshot says so, and what they own they can delete",
    );
    let id = estate.begin_snapshot()?;
    for server in [&estate.db, &estate.web] {
        estate.project.run(&["server", "delete", "--wait", server])?;
    }
    let snapshot = estate.site.world.wait_for_snapshot(id)?;
    let reason = snapshot.summary.error_msg.clone().unwrap_or_default();
    ensure!(snapshot.summary.status == "error" && reason.contains("delete"), "delete: {reason}");
    estate.project.wait_for_status(&["volume"], &estate.volume, "available")?;
    estate.project.run(&["volume", "delete", &estate.volume])?;
    drop(phase);
    // It fails when anything is left that cannot be deleted.
    estate.close()
}
