//! A volume of storage that is not Ceph: protected through a temporary volume, an attachment and os-brick, twice; then the
//! datamover dies while it reads. The test's own Cinder driver stands for such storage (`lib/loop_volumes.py`), its connections
//! are os-brick's and Nova's `local`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::disks::copy_sparse;
use integration_tests::readback::{TargetReader, assert_kept};
use integration_tests::wait;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::{Pace, Site};
use rest_api::{Snapshot, SnapshotDisk};

const CONNECTED_MAX: Duration = Duration::from_secs(120);
/// The whole volume of 1 GiB is read each time: it takes sixteen seconds.
const PACE: Pace = Pace::Slow { rate_mib_per_s: 64 };

fn disk<'a>(snapshot: &'a Snapshot, id: &str) -> Result<&'a SnapshotDisk> {
    let instance = snapshot.instances.first().context("there is an instance")?;
    instance.vdisks.iter().find(|disk| disk.id.as_str() == id).with_context(|| format!("{instance:?}"))
}

/// All that Cinder has of the project.
fn listing(project: &Project) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for noun in [&["volume"][..], &["volume", "snapshot"], &["volume", "attachment"]] {
        let version = ["--os-volume-api-version", "3.59"]; // of attachments
        let rows = project.json(&[&version, noun, &["list"]].concat())?;
        let rows = rows.as_array().into_iter().flatten();
        lines.extend(rows.map(|row| format!("{}: {} {}", noun.join(" "), row["ID"], row["Status"])));
    }
    lines.sort();
    Ok(lines)
}

/// What a stopped guest's volume holds: the file behind the loop device.
fn witness(lab: &Lab, volume: &str, to: &std::path::Path) -> Result<()> {
    let state = lab.instances_dir.parent().and_then(std::path::Path::parent).context("Nova's folder")?;
    copy_sparse(&state.join("cinder/loop-volumes").join(format!("volume-{volume}")), to)
}

/// Where a datamover keeps what it has connected.
fn connections(site: &Site) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(site.world.places.state())? {
        let folder = entry?.path().join("connections");
        if folder.is_dir() {
            for entry in std::fs::read_dir(folder)? {
                found.push(entry?.path());
            }
        }
    }
    Ok(found)
}

#[test]
fn a_volume_of_other_storage_is_protected_twice_and_a_killed_datamover_leaves_nothing() -> Result<()> {
    let (lab, folder) = (Lab::from_env()?, tempfile::tempdir()?);
    let volume_type = lab.volume_type_other.as_deref().context("the cloud has a second storage")?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("other storage: a server with a local disk and such a volume, and a Holdfast");
    let server = project.create_local_server("other")?;
    let guest = Guest::wait_for(&server)?;
    let volume = project.attach_new_volume_of(&server, "data", Some(volume_type))?;
    guest.run("dd if=/dev/urandom of=/dev/vdb bs=1M count=32; sync")?;
    let site = Site::open_at(&lab, &project, PACE)?;
    let workload = site.world.create_workload("other", &[server.parse()?])?;
    let before = listing(&project)?;
    drop(phase);

    let phase = Phase::begin("other storage: full, bytes compared, listing as before");
    let first = site.world.take_snapshot(workload, true)?;
    let copy = folder.path().join("witness");
    witness(&lab, &volume, &copy)?;
    assert_kept(&site.world, &first, disk(&first, &volume)?, &copy)?;
    let instance = first.instances.first().context("there is an instance")?;
    ensure!(
        instance.consistency.as_deref() == Some("filesystem") && instance.vdisks.len() == 2,
        "{instance:?}"
    );
    ensure!(listing(&project)? == before, "{before:?}, then {:?}", listing(&project)?);
    drop(phase);

    let phase = Phase::begin("other storage: 2 MiB changed, read whole, only these stored, bytes compared");
    guest.run("dd if=/dev/urandom of=/dev/vdb bs=1M count=2 seek=5 conv=notrunc; sync")?;
    let second = site.world.take_snapshot(workload, false)?;
    witness(&lab, &volume, &copy)?;
    assert_kept(&site.world, &second, disk(&second, &volume)?, &copy)?;
    let (read, stored) = (disk(&second, &volume)?.bytes_read, disk(&second, &volume)?.bytes_stored);
    ensure!(read >= 1 << 30, "it is read whole: {read}");
    ensure!((2 << 20..4 << 20).contains(&stored), "2 MiB changed, {stored} bytes are stored");
    ensure!(listing(&project)? == before, "{before:?}, then {:?}", listing(&project)?);
    drop(phase);

    let phase = Phase::begin("other storage: the datamover is killed while it reads; listing as before");
    let mut site = site;
    let id = site.world.start_snapshot(workload, true)?;
    wait::until(CONNECTED_MAX, "the volume is connected", || Ok(connections(&site)?.pop()))?;
    site.world.datamovers.values_mut().try_for_each(|one| one.kill_and_start_again())?;
    let third = site.world.wait_for_snapshot(id)?;
    ensure!(third.summary.status == "available", "{:?}\n{}", third.summary.error_msg, site.world.logs());
    let reader = TargetReader::open(&site.world)?;
    let (one, other) = (disk(&second, &volume)?.lineage_id, third.summary.id);
    let same = |snapshot| site.world.block_on(reader.digest(one, snapshot));
    ensure!(same(other)? == same(second.summary.id)?, "nothing changed since the second");
    ensure!(connections(&site)?.is_empty(), "{:?}", connections(&site)?);
    ensure!(listing(&project)? == before, "{before:?}, then {:?}", listing(&project)?);
    drop(phase);
    site.close()?;
    project.close()
}
