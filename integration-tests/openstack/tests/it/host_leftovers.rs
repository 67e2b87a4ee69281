//! What earlier work left on a real compute host and in its cloud is told, removed on request, and removed without a person once it
//! is old; the guest runs on, thawed, and its user may stop and start it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cloud::{CutRequest, Host as _, Moment};
use integration_tests::wait;
use libvirt_host::{HostSettings, LibvirtHost, Scratch};
use model::{ByteCount, InstanceId, SnapshotId, WorkloadId};
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{self, LocalDisk, bitmaps_in, checkpoints, virsh};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::Site;
use rest_api::Snapshot;
use serde_json::Value;

/// Turns come every three seconds; a volume snapshot takes some more to go.
const SWEEP_MAX: Duration = Duration::from_secs(180);

fn name_of(snapshot: &Snapshot) -> String {
    format!("holdfast-{}", snapshot.summary.id)
}

/// The rows of `holdfast doctor --leftovers` that are of `server`, of its snapshots' sagas, or in the cloud; by kind.
fn leftovers(site: &Site, more: &[&str], outcome: &str) -> Result<Vec<(String, Value)>> {
    let arguments = [&["doctor", "--leftovers", "--older-than", "0s", "-f", "json"], more].concat();
    let output = site.world.cli(&arguments).output()?;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{}", String::from_utf8_lossy(&output.stderr)))?;
    let of = rows.into_iter().filter(|row| row["outcome"].as_str().is_some_and(|it| it.starts_with(outcome)));
    let mut of: Vec<_> = of.map(|row| (row["kind"].as_str().unwrap_or_default().to_owned(), row)).collect();
    of.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(of)
}

fn kinds(rows: &[(String, Value)]) -> Vec<&str> {
    rows.iter().map(|(kind, _)| kind.as_str()).collect()
}

/// As a datamover whose state folder was lost after it: a real backup job with a real bitmap stands, and nobody knows of it.
async fn plant_cut(lab: &Lab, site: &Site, server: &str, snapshot: SnapshotId) -> Result<()> {
    let state = tempfile::tempdir()?;
    let host = LibvirtHost::open(HostSettings {
        state_dir: state.path().to_owned(),
        libvirt_uri: "qemu:///system".to_owned(),
        instances_path: lab.instances_dir.clone(),
        scratch: Scratch {
            dir: site.scratch_path().to_owned(),
            used_max: None,
            room_min: Some(ByteCount::mib(64)),
        },
        clusters: Vec::new(),
    })
    .await?;
    let instance_id: InstanceId = server.parse()?;
    let request = CutRequest { instance_id, snapshot_id: snapshot, disks: vec!["vda".parse()?], base: None };
    ensure!(host.cut(&request).await? == Moment::Cut, "it runs");
    Ok(())
}

/// A journal of a job of the saga that no datamover knows.
fn plant_journal(site: &Site, snapshot: &Snapshot) -> Result<PathBuf> {
    let saga = site.world.block_on(site.world.client.show_saga(snapshot.summary.saga_id))?;
    let job = saga.jobs.first().context("a saga has jobs")?;
    let host = site.world.datamovers.keys().next().context("there is a host")?;
    let journal = site
        .world
        .places
        .state()
        .join(format!("datamover-{host}"))
        .join("transfers")
        .join(format!("{}.journal", job.id));
    std::fs::write(&journal, b"what was durable")?;
    Ok(journal)
}

/// A volume snapshot that Cinder made after its saga had ended.
fn plant_late(project: &Project, volume: &str, snapshot: &Snapshot, name: &str) -> Result<String> {
    let mark = format!("holdfast:tag={}/create_volume_snapshots/8", snapshot.summary.saga_id);
    let what = ["volume", "snapshot", "create", "--volume", volume, "--property", &mark, name];
    let late = project.create_one(&what)?;
    project.wait_for_status(&["volume", "snapshot"], &late, "available")?;
    Ok(late)
}

fn is_gone(project: &Project, volume_snapshot: &str) -> bool {
    project.run(&["volume", "snapshot", "show", volume_snapshot]).is_err()
}

/// With the guest running.
fn sweep_running(
    (lab, project, site): (&Lab, &Project, &Site),
    server: &str,
    guest: &Guest,
    (volume, [first, second]): (&str, [&Snapshot; 2]),
) -> Result<()> {
    let phase =
        Phase::begin("host leftovers: a checkpoint, a cut, a frozen guest, a journal, a late snapshot");
    virsh(&["checkpoint-create-as", server, "--name", &name_of(second)])?;
    site.world.block_on(plant_cut(lab, site, server, first.summary.id))?;
    ensure!(site.scratch_files()?.len() == 1 && guest.freeze()? > 0, "they are there");
    let journal = plant_journal(site, first)?;
    let late = plant_late(project, volume, first, "late")?;
    let expected = ["checkpoint", "cut", "frozen_guest", "journal", "volume_snapshot"];
    let found = leftovers(site, &[], "may be removed")?;
    ensure!(kinds(&found) == expected, "{found:#?}");
    for (kind, row) in &found {
        ensure!(row["project_id"].is_string() && row["user_id"].is_string(), "{row:#?}");
        ensure!(
            row["age_seconds"].is_u64() && (kind == "volume_snapshot") == (row["host"] == ""),
            "{row:#?}"
        );
    }
    ensure!(guest.frozen_status()? == "frozen" && site.scratch_files()?.len() == 1, "a look changes nothing");
    drop(phase);

    let phase = Phase::begin("host leftovers: removed, and the guest runs");
    let removed = leftovers(site, &["--remove"], "removed")?;
    ensure!(kinds(&removed) == expected, "{removed:#?}");
    ensure!(
        guest.frozen_status()? == "thawed" && hypervisor::state(server)?.starts_with("running"),
        "it runs"
    );
    ensure!(checkpoints(server)?.is_empty() && site.scratch_files()?.is_empty(), "{}", checkpoints(server)?);
    ensure!(virsh(&["backup-dumpxml", server]).is_err(), "no backup job stands");
    ensure!(!journal.try_exists()? && is_gone(project, &late), "{removed:#?}");
    guest.write_file("/var/lib/after", 1)?;
    drop(phase);
    Ok(())
}

/// With the guest stopped: its bitmaps are in its file now.
fn sweep_stopped(
    (project, site, lab): (&Project, &Site, &Lab),
    server: &str,
    workload: WorkloadId,
    (left, base): (&Snapshot, &Snapshot),
) -> Result<()> {
    let phase = Phase::begin("host leftovers: a bitmap in the file of a stopped instance, beside the base");
    project.stop(server)?;
    let disk = LocalDisk::of(lab, server)?;
    let mut there = bitmaps_in(&disk)?;
    there.sort();
    let mut expected = vec![name_of(left), name_of(base)];
    expected.sort();
    ensure!(there == expected, "{there:?}");
    let removed = leftovers(site, &["--remove"], "removed")?;
    ensure!(kinds(&removed) == ["bitmap"], "{removed:#?}");
    ensure!(
        bitmaps_in(&disk)? == [name_of(base)],
        "the next snapshot goes on from it: {:?}",
        bitmaps_in(&disk)?
    );
    let shown = site.world.block_on(site.world.client.show_workload(workload))?;
    ensure!(shown.summary.status == "available", "{shown:?}");
    drop(phase);

    let phase =
        Phase::begin("host leftovers: what is kept of a stopped instance goes with the workload's reset");
    let id = workload.to_string();
    let reset = site.world.cli(&["workload", "reset", &id, "--wait"]).output()?;
    ensure!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    ensure!(bitmaps_in(&disk)?.is_empty(), "{:?}", bitmaps_in(&disk)?);
    project.start(server)?;
    Guest::wait_for(server)?.checksum("/var/lib/after")?;
    drop(phase);
    Ok(())
}

#[test]
fn what_was_left_on_a_host_is_removed_while_its_guest_runs_and_while_it_is_stopped() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("host leftovers: a local server, a volume, a Holdfast, three snapshots");
    let server = project.create_local_server("db")?;
    let volume = project.create_one(&["volume", "create", "--size", "1", "data"])?;
    project.wait_for_status(&["volume"], &volume, "available")?;
    let guest = Guest::wait_for(&server)?;
    project.give_role("admin")?;
    let mut site = Site::open(&lab, &project)?;
    let workload = site.world.create_workload("db", &[server.parse()?])?;
    let first = site.world.take_snapshot(workload, true)?;
    let second = site.world.take_snapshot(workload, false)?;
    let base = site.world.take_snapshot(workload, false)?;
    ensure!(leftovers(&site, &[], "may be removed")?.is_empty(), "a healthy site has none");
    drop(phase);
    sweep_running((&lab, &project, &site), &server, &guest, (&volume, [&first, &second]))?;
    sweep_stopped((&project, &site, &lab), &server, workload, (&first, &base))?;

    let phase = Phase::begin("host leftovers: what comes late goes without a person");
    let config = site.world.places.etc().join("controller.toml");
    let text = std::fs::read_to_string(&config)?;
    let quick = |line: &str| match line.split_once(" = ") {
        Some(("sweep_look_ms", _)) => "sweep_look_ms = 3000".to_owned(),
        Some(("sweep_age_min_ms", _)) => "sweep_age_min_ms = 1000".to_owned(),
        _ => line.to_owned(),
    };
    std::fs::write(&config, text.lines().map(quick).collect::<Vec<_>>().join("\n"))?;
    let late = plant_late(&project, &volume, &first, "late again")?;
    site.world.block_on(plant_cut(&lab, &site, &server, first.summary.id))?;
    site.world.restart_controller()?;
    wait::until(SWEEP_MAX, "both are gone", || {
        Ok((is_gone(&project, &late) && site.scratch_files()?.is_empty()).then_some(()))
    })?;
    ensure!(site.world.controller.log().contains("a leftover was removed"), "each is in the log");
    ensure!(hypervisor::state(&server)?.starts_with("running"), "{}", hypervisor::state(&server)?);
    drop(phase);
    site.close()?;
    project.close()
}
