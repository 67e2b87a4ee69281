//! An instance with a local disk, a swap disk and a volume: the first and the last are cut at one point in time.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use integration_tests::readback::{TargetReader, assert_kept};
use openstack_tests::flavor::Flavor;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;
use openstack_tests::site::Site;
use rest_api::{Snapshot, SnapshotDisk};

/// What begins each number that the guest writes.
const MARK: &str = "holdfast-number-";
/// Of any file system a file begins with one of its blocks. Units: bytes.
const BLOCK: usize = 512;

/// Writes number after number, each first to a file on the local disk, where a freeze holds it up, then to the volume: on a
/// point in time of both the volume has the same number as the local disk, or the one before.
const COUNT: &str = "i=100000; while :; do i=$((i+1)); \
    printf 'holdfast-number-%s' $i | dd of=/var/lib/number conv=notrunc,fsync 2>/dev/null; \
    printf 'holdfast-number-%s' $i | dd of=/dev/vdc conv=notrunc,fsync 2>/dev/null; done > /dev/null 2>&1 &";

/// The only number on a disk.
fn number_on(disk: &Path) -> Result<u32> {
    let mut found = Vec::new();
    let (mut file, mut block) = (BufReader::new(File::open(disk)?), [0; BLOCK]);
    loop {
        match file.read_exact(&mut block) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let text = block.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.get(..6));
        found.extend(text.and_then(|digits| std::str::from_utf8(digits).ok()).map(str::to_owned));
    }
    let [one] = found.as_slice() else { anyhow::bail!("one number is on a disk, and not {found:?}") };
    Ok(one.parse()?)
}

/// A disk of the snapshot's only instance.
fn disk<'a>(snapshot: &'a Snapshot, id: &str) -> Result<&'a SnapshotDisk> {
    let instance = snapshot.instances.first().context("there is an instance")?;
    let found = instance.vdisks.iter().find(|disk| disk.id.as_str() == id);
    found.with_context(|| format!("no disk {id}: {instance:?}"))
}

#[test]
fn a_local_disk_and_a_volume_of_one_instance_are_cut_at_one_point_in_time() -> Result<()> {
    let (lab, folder) = (Lab::from_env()?, tempfile::tempdir()?);
    let (project, flavor) =
        (Project::create(&lab)?, Flavor::create(&lab, &["--ram", "256", "--swap", "64"])?);
    let phase = Phase::begin("mixed disks: a server from an image, a volume attached, and a Holdfast");
    let server = project.create_local_server_of("mixed", flavor.name())?;
    let guest = Guest::wait_for(&server)?;
    let volume = project.attach_new_volume(&server, "data")?;
    guest.run("printf 'holdfast-number-100000' > /var/lib/number; sync; test -b /dev/vdc")?;
    guest.run(COUNT)?;
    let site = Site::open(&lab, &project)?;
    let workload = site.world.create_workload("mixed", &[server.parse()?])?;
    drop(phase);

    let mut last = 0;
    for (is_full, name) in
        [(true, "mixed disks: full, one point"), (false, "mixed disks: by changes, one point")]
    {
        let phase = Phase::begin(name);
        let snapshot = site.world.take_snapshot(workload, is_full)?;
        let instance = snapshot.instances.first().context("there is an instance")?;
        ensure!(instance.consistency.as_deref() == Some("filesystem"), "{instance:?}");
        ensure!(instance.vdisks.len() == 2, "what is on a swap disk is not saved: {instance:?}");
        let number = |id: &str| {
            let (lineage, copy) = (disk(&snapshot, id)?.lineage_id, folder.path().join("copy"));
            let reader = TargetReader::open(&site.world)?;
            site.world.block_on(reader.copy(lineage, snapshot.summary.id, &copy))?;
            let found = number_on(&copy)?;
            std::fs::remove_file(&copy)?;
            Ok::<_, anyhow::Error>(found)
        };
        let (local, on_volume) = (number("vda")?, number(&volume)?);
        ensure!(
            on_volume == local || on_volume + 1 == local,
            "{on_volume} on the volume, {local} on the disk"
        );
        ensure!(local > last, "the guest wrote between two snapshots");
        last = local;
        drop(phase);
    }
    let now = guest.run("sed 's/.*-//' /var/lib/number")?;
    ensure!(now.trim().parse::<u32>()? > last, "the guest went on: {now}");

    let phase = Phase::begin("mixed disks: stopped, bytes compared");
    project.stop(&server)?;
    let stopped = site.world.take_snapshot(workload, false)?;
    let witness = folder.path().join("witness");
    rbd::export(&lab.volume_image(&volume, None), &witness)?;
    assert_kept(&site.world, &stopped, disk(&stopped, &volume)?, &witness)?;
    project.start(&server)?;
    Guest::wait_for(&server)?;
    drop(phase);
    site.close()?;
    project.close()
}
