//! Bad input and broken surroundings: each a clear error that names the thing, and nothing half-done left.

use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::config::Timing;
use integration_tests::disks::{SmallDisk, run_tool};
use integration_tests::ledger::Ledger;
use integration_tests::process::{Program, binary};
use integration_tests::world::Spec;

use crate::drill::Drill;
use crate::fixture::{Shop, Sizes, assert_refused, run_cli};

const UNKNOWN: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";
const END_DEADLINE: Duration = Duration::from_secs(60);

fn assert_unchanged(before: &Ledger, after: &Ledger) -> Result<()> {
    let difference = before.difference(after);
    ensure!(difference.is_empty(), "left behind: {difference:?}");
    Ok(())
}

#[test]
fn unknown_ids_and_instances_of_another_workload_are_refused_by_name() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    for (args, noun) in [
        (vec!["workload", "show", UNKNOWN], "workload"),
        (vec!["snapshot", "show", UNKNOWN], "snapshot"),
        (vec!["snapshot", "create", UNKNOWN], "workload"),
        (vec!["restore", "show", UNKNOWN], "restore"),
        (vec!["restore", "oneclick", UNKNOWN], "snapshot"),
        (vec!["saga", "show", UNKNOWN], "saga"),
    ] {
        assert_refused(&run_cli(&shop, &args)?, 3, &[noun, UNKNOWN]);
    }
    let web = shop.web.to_string();
    let output = run_cli(&shop, &["workload", "create", "second", "--instance", &web])?;
    assert_refused(&output, 4, &[&web, &shop.workload.to_string()]);
    let output = run_cli(&shop, &["workload", "create", "second", "--instance", UNKNOWN])?;
    ensure!(!output.status.success());
    ensure!(String::from_utf8_lossy(&output.stderr).contains(UNKNOWN));
    for name in ["../../etc/passwd", "..", "/etc/passwd"] {
        let output = run_cli(&shop, &["workload", "create", "third", "--instance", name])?;
        ensure!(!output.status.success(), "{name} was taken for an instance");
    }
    ensure!(shop.world.block_on(shop.world.client.list_workloads())?.len() == 1);
    Ok(())
}

#[test]
fn a_snapshot_in_error_is_no_source() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let drill = Drill::begin(&shop, &["effect = \"create_volume_snapshot\"\nfail = \"permanent\""])?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    drop(drill);
    ensure!(snapshot.summary.status == "error");
    let output = run_cli(&shop, &["restore", "oneclick", &id.to_string()])?;
    assert_refused(&output, 4, &[&id.to_string(), "error"]);
    Ok(())
}

#[test]
fn an_unmounted_target_is_not_written_to() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let (target, away) = (shop.world.places.target(), shop.world.places.root.join("away"));
    std::fs::rename(&target, &away)?;
    std::fs::create_dir(&target)?;
    let cloud_before = shop.cloud_ledger()?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "error");
    let message = snapshot.summary.error_msg.unwrap_or_default();
    ensure!(message.contains("mounted") && message.contains(&target.display().to_string()), "{message}");
    ensure!(std::fs::read_dir(&target)?.next().is_none(), "something was written into an unmounted target");
    assert_unchanged(&cloud_before, &shop.cloud_ledger()?)?;
    std::fs::remove_dir(&target)?;
    std::fs::rename(&away, &target)?;
    shop.world.take_snapshot(shop.workload, true)?;
    Ok(())
}

#[test]
fn a_full_target_fails_the_snapshot_and_is_left_as_it_was() -> Result<()> {
    let shop = Shop::open_with(Spec::default(), Sizes { web_mib: 40, db_mib: 8 })?;
    let target = shop.world.places.target();
    let aside = shop.world.places.root.join("aside");
    run_tool(std::process::Command::new("cp").arg("-a").arg(&target).arg(&aside))?;
    let _small = SmallDisk::mount(&target, 24)?;
    run_tool(std::process::Command::new("cp").arg("-a").arg(aside.join("repo.json")).arg(&target))?;
    let (cloud_before, target_before) = (shop.cloud_ledger()?, shop.target_ledger()?);
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.error_code.as_deref() == Some("TARGET_FULL"), "{:?}", snapshot.summary);
    assert_unchanged(&cloud_before, &shop.cloud_ledger()?)?;
    let left = target_before.difference(&shop.target_ledger()?);
    ensure!(left.is_empty(), "left on the full target: {left:?}");
    Ok(())
}

#[test]
fn a_missing_qemu_nbd_is_named() -> Result<()> {
    let spec = Spec { qemu_nbd: Some("/nonexistent/qemu-nbd".into()), ..Spec::default() };
    let shop = Shop::open(spec)?;
    let (cloud_before, target_before) = (shop.cloud_ledger()?, shop.target_ledger()?);
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.error_code.as_deref() == Some("QEMU_NBD_MISSING"), "{:?}", snapshot.summary);
    ensure!(snapshot.summary.error_msg.unwrap_or_default().contains("/nonexistent/qemu-nbd"));
    assert_unchanged(&cloud_before, &shop.cloud_ledger()?)?;
    assert_unchanged(&target_before, &shop.target_ledger()?)?;
    Ok(())
}

#[test]
fn a_wrong_broker_password_and_a_broken_config_line_are_named() -> Result<()> {
    let shop = Shop::open(Spec { timing: Timing::quick(), ..Spec::default() })?;
    let etc = shop.world.places.etc();
    for (name, user) in [
        ("controller", "holdfast-controller"),
        ("dmapi", "holdfast-dmapi"),
        ("datamover", "holdfast-mover-host-a"),
    ] {
        let config = if name == "datamover" { "datamover-host-a" } else { name };
        let good = std::fs::read_to_string(etc.join(format!("{config}.toml")))?;
        let password = etc.join("wrong.password");
        std::fs::write(&password, "hunter2\n")?;
        // Its own database and state, since the real one runs beside it.
        let state = shop.world.places.root.join(format!("wrong-{name}"));
        std::fs::create_dir(&state)?;
        let bad = good
            .replace(
                &etc.join(format!("{config}.password")).display().to_string(),
                &password.display().to_string(),
            )
            .replace(&shop.world.places.state().display().to_string(), &state.display().to_string());
        let path = etc.join(format!("wrong-{name}.toml"));
        std::fs::write(&path, bad)?;
        let log = shop.world.places.logs().join(format!("wrong-{name}.log"));
        let program = Program {
            name: name.to_owned(),
            binary: binary(&format!("holdfast-{name}"))?,
            args: vec!["--config".to_owned(), path.display().to_string()],
            envs: Vec::new(),
            run_as: None,
            log,
        };
        let mut process = program.start()?;
        let status = process.wait_for_end(END_DEADLINE)?;
        let text = process.log();
        ensure!(status.code() == Some(69), "{name} ended with {status}: {text}");
        ensure!(text.contains(user) && !text.contains("hunter2"), "{text}");

        std::fs::write(&path, good.replace("[bus]", "[bus]\nbrokerz = 1"))?;
        let mut process = program.start()?;
        let status = process.wait_for_end(END_DEADLINE)?;
        let text = process.log();
        ensure!(status.code() == Some(2), "{name} ended with {status}: {text}");
        ensure!(text.contains("brokerz") && text.contains(&path.display().to_string()), "{text}");
    }
    Ok(())
}

#[test]
fn a_planted_symlink_is_not_followed() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let outside = shop.world.places.root.join("outside");
    std::fs::create_dir(&outside)?;
    // Where records and lineages would be made, somebody planted links that lead away.
    for name in ["w", "l"] {
        symlink(&outside, shop.world.places.target().join(name))?;
    }
    let cloud_before = shop.cloud_ledger()?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.error_code.as_deref() == Some("TARGET_UNSAFE_NAME"), "{:?}", snapshot.summary);
    ensure!(std::fs::read_dir(&outside)?.next().is_none(), "a link on the target was followed");
    assert_unchanged(&cloud_before, &shop.cloud_ledger()?)?;
    Ok(())
}
