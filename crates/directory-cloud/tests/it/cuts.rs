//! Local disks: cut while their instance runs, read as they are while it does not, and lost when that changes.

use cloud::{Base, ChangeRecord, Cloud as _, Host as _, Moment, SourceQuery};
use model::{DiskFormat, DiskLocation, Extent, VolumeSnapshotId};

use crate::toy::{IMAGE_SIZE, Toy, at_volume_snapshot, make_cut, owner, snapshot, tag};

fn local(toy: &Toy, moment: Moment) -> SourceQuery {
    let disk_id = "vdc".parse().unwrap();
    SourceQuery { instance_id: toy.web.id, disk_id, snapshot_id: snapshot(1), moment, base: None }
}

/// As a user would, behind our back.
fn set_running(toy: &Toy, running: bool) {
    let record = toy.path().join("instances/web/instance.toml");
    let text = std::fs::read_to_string(&record).unwrap();
    let (before, after) = (format!("running = {}", !running), format!("running = {running}"));
    assert!(text.contains(&before), "{text}");
    std::fs::write(&record, text.replace(&before, &after)).unwrap();
}

fn cuts(toy: &Toy) -> usize {
    let folder = std::fs::read_dir(toy.path().join("cuts"));
    folder.map_or(0, |entries| entries.filter(|it| it.as_ref().unwrap().file_name() != ".lock").count())
}

#[tokio::test]
async fn a_running_instance_is_cut_once_and_its_bytes_stay_until_the_cut_ends() {
    let toy = Toy::new();
    let host = toy.host("host-a");
    for _ in 0..2 {
        assert_eq!(host.cut(&make_cut(toy.web.id, snapshot(1))).await.unwrap(), Moment::Cut);
    }
    let live = toy.path().join("instances/web/disk2.raw");
    std::fs::write(&live, vec![9; 4096]).unwrap();
    let source = host.source_disk(&local(&toy, Moment::Cut)).await.unwrap();
    let DiskLocation::File(image) = &source.location else { panic!("{:?}", source.location) };
    assert!(std::fs::read(&image.path).unwrap().starts_with(b"beginning"));
    host.check_moment(&local(&toy, Moment::Cut)).await.unwrap();
    for _ in 0..2 {
        host.end_cut(toy.web.id, snapshot(1), true).await.unwrap();
    }
    assert_eq!(cuts(&toy), 0);
    let lost = host.source_disk(&local(&toy, Moment::Cut)).await.unwrap_err();
    assert_eq!(lost.code, "POINT_IN_TIME_LOST");
    assert_eq!(toy.effect_names(), ["cut", "end_cut"]);
}

#[tokio::test]
async fn a_cut_is_lost_when_its_instance_stops() {
    let toy = Toy::new();
    let host = toy.host("host-a");
    host.cut(&make_cut(toy.web.id, snapshot(1))).await.unwrap();
    set_running(&toy, false);
    let lost = host.check_moment(&local(&toy, Moment::Cut)).await.unwrap_err();
    assert_eq!(lost.code, "POINT_IN_TIME_LOST");
    assert!(lost.message.contains("the instance was stopped"), "{lost}");
}

#[tokio::test]
async fn a_stopped_instance_is_read_as_it_is_until_it_starts() {
    let toy = Toy::new();
    let host = toy.host("host-a");
    set_running(&toy, false);
    assert_eq!(host.cut(&make_cut(toy.web.id, snapshot(1))).await.unwrap(), Moment::AsIs);
    let source = host.source_disk(&local(&toy, Moment::AsIs)).await.unwrap();
    let live = toy.path().join("instances/web/disk2.raw");
    assert_eq!(source.location, DiskLocation::file(live, DiskFormat::Raw));
    host.check_moment(&local(&toy, Moment::AsIs)).await.unwrap();
    set_running(&toy, true);
    let lost = host.check_moment(&local(&toy, Moment::AsIs)).await.unwrap_err();
    assert!(lost.message.contains("the instance was started"), "{lost}");
    assert_eq!(cuts(&toy), 0);
}

#[tokio::test]
async fn only_local_disks_are_cut_and_only_on_their_host() {
    let toy = Toy::new();
    let mut request = make_cut(toy.web.id, snapshot(1));
    let elsewhere = toy.host("host-b");
    assert_eq!(elsewhere.cut(&request).await.unwrap_err().code, "FOREIGN_INSTANCE");
    elsewhere.end_cut(toy.web.id, snapshot(1), false).await.expect("nothing is there");
    request.disks = vec![toy.volume(0).to_string().parse().unwrap()];
    assert_eq!(toy.host("host-a").cut(&request).await.unwrap_err().code, "NO_SUCH_DISK");
    let by_volume_snapshot =
        local(&toy, Moment::VolumeSnapshot(VolumeSnapshotId::from_uuid(toy.web.id.uuid())));
    assert_eq!(toy.host("host-a").source_disk(&by_volume_snapshot).await.unwrap_err().code, "NO_SUCH_DISK");
}

#[tokio::test]
async fn a_kept_volume_snapshot_tells_what_changed_and_a_vanished_one_why_not() {
    let toy = Toy::new();
    let (cloud, host) = (toy.cloud(), toy.host("host-a"));
    let settings = std::fs::read_to_string(toy.path().join("cloud.toml")).unwrap();
    toy.write("cloud.toml", &format!("{settings}\nkeeps_changes = true\n"));
    let first = cloud.create_volume_snapshot(&owner(), toy.volume(0), &tag("first")).await.unwrap();
    let live = std::fs::File::options().write(true).open(toy.path().join("instances/web/disk0.raw")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&live, &[9; 10], 1 << 20).unwrap();
    let second = cloud.create_volume_snapshot(&owner(), toy.volume(0), &tag("second")).await.unwrap();
    let disk = toy.volume(0).to_string().parse().unwrap();
    let base = Some(Base { snapshot_id: snapshot(1), volume_snapshot_id: Some(first) });
    let query = SourceQuery { base, ..at_volume_snapshot(toy.web.id, &disk, second) };
    let source = host.source_disk(&query).await.unwrap();
    assert!(source.keeps_changes && source.full_read_reason.is_none());
    let changes = source.changes.unwrap();
    assert_eq!(changes.since, snapshot(1));
    assert_eq!(changes.record, ChangeRecord::Extents(vec![Extent { offset: 1 << 20, length: 64 << 10 }]));
    const { assert!(IMAGE_SIZE > 2 << 20, "or the change is not in the middle") };
    host.forget_changes(&SourceQuery { base: None, ..query.clone() }).await.unwrap();
    assert!(
        host.source_disk(&query).await.unwrap().changes.is_some(),
        "of no base there is nothing to forget"
    );
    host.forget_changes(&query).await.unwrap();
    host.forget_changes(&query).await.unwrap();
    let source = toy.host("host-a").source_disk(&query).await.unwrap();
    assert_eq!(source.changes, None);
    assert!(source.full_read_reason.unwrap().contains("found to be false"));
    cloud.delete_volume_snapshots(&owner(), &tag("first")).await.unwrap();
    let source = host.source_disk(&query).await.unwrap();
    assert_eq!(source.changes, None);
    assert!(source.full_read_reason.unwrap().contains("is gone"));
    cloud.delete_volume_snapshots(&owner(), &tag("second")).await.unwrap();
    assert_eq!(host.check_moment(&query).await.unwrap_err().code, "POINT_IN_TIME_LOST");
}
